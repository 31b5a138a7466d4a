"""
Minutes of coming, going and talking against one server, and what is left of it in memory.

Ends with status 1 where memory grows, or where channels, members or sockets stay behind.
"""

import argparse
import asyncio
import random
import resource
import sys
import time
from asyncio import to_thread
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from .peers import SCRATCH, Redis
from .processes import Started
from .servers import KEYS, ROOT
from .visitors import Api, Visitor, metrics, open_many, until

CROWD = 300  # Sockets at a time.
CHANNELS = 200
ROOMS = 20
WARM_UP = 0.3  # Of the time: caches fill, and allocators find their size.
MAX_SLOPE = 5.0  # MiB that memory may grow by in ten minutes, of each worker.
POOLED = 60  # Files that two workers may keep open.
GRACE = 5.0  # Seconds: PRESENCE_GRACE of `benchmarks.site.lively`.


@dataclass(frozen=True)
class Look:
    """What the server holds at one moment."""

    seconds: float
    mib: float
    sockets: float
    channels: float
    subscriptions: float
    files: float
    members: int

    @classmethod
    async def take(cls, address: tuple[str, int], begin: float) -> "Look":
        """Look now."""
        workers = (await to_thread(metrics, address)).values()
        channels = await to_thread(
            Api(address, KEYS).get, "/channels", filter_by_prefix="presence-", info="user_count"
        )

        def total(name: str) -> float:
            return sum(numbers.get(name, 0.0) for numbers in workers)

        return cls(
            time.monotonic() - begin,
            total("process_resident_memory_bytes") / 2**20,
            total("broadcasting_connections"),
            total("broadcasting_channels"),
            total("broadcasting_subscriptions"),
            total("process_open_fds"),
            sum(info["user_count"] for info in channels["channels"].values()),
        )

    def __str__(self) -> str:
        """Return it as a line of the table."""
        return (
            f"{self.seconds / 60:6.1f} {self.mib:8.1f} {self.sockets:8.0f} {self.channels:9.0f} "
            f"{self.subscriptions:14.0f} {self.members:8} {self.files:6.0f}"
        )


HEADER = "   min      MiB  sockets  channels  subscriptions  members  files"


@dataclass
class Tally:
    """What the crowd has done."""

    opened: int = 0
    joined: int = 0
    whispered: int = 0
    published: int = 0
    refused: list[str] = field(default_factory=list)


class Soak:
    """
    The crowd: each of its places is taken by one visitor after the other.

    Args:
        address: The server's.
        random: Decides what happens; the same seed gives the same choices.
    """

    def __init__(self, address: tuple[str, int], random: random.Random) -> None:
        self.tally = Tally()
        self._address = address
        self._random = random
        self._api = Api(address, KEYS)
        self._ends = False

    async def run(self, seconds: float) -> None:
        """Come and go for so long; then all leave."""
        async with asyncio.TaskGroup() as group:
            for place in range(CROWD):
                group.create_task(self._take_turns(place))
            group.create_task(self._publish())
            await asyncio.sleep(seconds)
            self._ends = True

    async def _take_turns(self, place: int) -> None:
        await asyncio.sleep(self._random.random() * 2)
        while not self._ends:
            opened = await open_many([self._address], KEYS)
            if not opened:
                self.tally.refused.append("no socket")
                await asyncio.sleep(1)
                continue
            self.tally.opened += 1
            try:
                await self._visit(opened[0], place)
            finally:
                # Some leave without a word, as a lost connection does.
                opened[0].close()
            self.tally.refused += opened[0].errors

    async def _visit(self, visitor: Visitor, place: int) -> None:
        choose = self._random
        room = f"presence-{choose.randrange(ROOMS)}"
        visitor.join(room, f"user-{place}")
        names = [f"channel-{choose.randrange(CHANNELS)}" for _ in range(choose.randrange(1, 6))]
        names.append(f"private-own-{choose.getrandbits(48):x}")  # One that never was.
        for name in set(names):
            visitor.join(name)
        wanted = {room, *names}
        if not await until(lambda: visitor.joined >= wanted, 10):
            self.tally.refused.append(f"not joined: {wanted - visitor.joined}")
        self.tally.joined += len(wanted)
        for _ in range(choose.randrange(1, 8)):
            if self._ends or not visitor.is_open:
                return
            if choose.random() < 0.5:
                visitor.say("client-word", {"n": choose.random()}, room)
                self.tally.whispered += 1
            if choose.random() < 0.2:
                visitor.leave(names[0])
                visitor.join(names[0])
            visitor.heard.clear()
            visitor.changes.clear()
            await asyncio.sleep(choose.random())

    async def _publish(self) -> None:
        while not self._ends:
            name = f"channel-{self._random.randrange(CHANNELS)}"
            with suppress(OSError):
                await to_thread(self._api.publish, name, "x" * self._random.randrange(2_000))
                self.tally.published += 1
            await asyncio.sleep(0.02)


def slope(looks: Sequence[Look]) -> float:
    """Return by how many MiB memory grows in ten minutes: the line of least squares."""
    if len(looks) < 2:
        return 0.0
    x = [look.seconds / 600 for look in looks]
    y = [look.mib for look in looks]
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    square = sum((a - middle_x) ** 2 for a in x)
    return sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True)) / square


async def run(
    minutes: float, redis: Redis | None, seed: int, say: Callable[[str], object], stack: ExitStack
) -> list[str]:
    """Soak a server; return what is wrong."""
    workers = 1 if redis is None else 2
    server = _start(redis, workers)
    stack.callback(server.stop)
    while not _has_workers(server.address, workers):  # noqa: ASYNC110  (another process)
        await asyncio.sleep(0.1)
    begin = time.monotonic()
    before = await Look.take(server.address, begin)
    say(HEADER)
    say(str(before))
    soak = Soak(server.address, random.Random(seed))  # noqa: S311  (no secret)
    running = asyncio.create_task(soak.run(minutes * 60))
    looks: list[Look] = []
    every = min(60.0, minutes * 60 / 10)
    due = begin + every
    while not running.done():
        await asyncio.wait({running}, timeout=max(0.0, due - time.monotonic()))
        if not running.done():
            looks.append(await Look.take(server.address, begin))
            say(str(looks[-1]))
            due += every
    await running
    say(f"{soak.tally.opened} sockets, {soak.tally.joined} subscriptions, ")
    say(f"{soak.tally.whispered} whispers, {soak.tally.published} events")
    after = await _rest(server.address, begin, before)
    say(str(after))
    growth = slope([look for look in looks if look.seconds >= minutes * 60 * WARM_UP])
    say(f"Memory grows by {growth:.1f} MiB in ten minutes")
    log = (SCRATCH / "logs" / "soak.log").read_text(errors="replace")
    wrong = [f"{len(soak.tally.refused)} refusals: {soak.tally.refused[:3]}"]
    return [
        *(wrong if soak.tally.refused else []),
        *_left(before, after),
        *(["A traceback in the log"] if "Traceback" in log else []),
        # Over a minute the line says more of the allocator than of the server.
        *([f"Memory grows: {growth:.1f} MiB"] if _grows(growth, minutes, workers) else []),
    ]


def _grows(growth: float, minutes: float, workers: int) -> bool:
    return growth > MAX_SLOPE * workers * max(1.0, 10 / minutes)


async def _rest(address: tuple[str, int], begin: float, before: Look) -> Look:
    """Wait until graces are over, and what is not wanted any more has been left."""
    deadline = time.monotonic() + GRACE + 60
    while True:
        after = await Look.take(address, begin)
        if not _left(before, after) or time.monotonic() > deadline:
            return after
        await asyncio.sleep(1)


def _left(before: Look, after: Look) -> list[str]:
    """Return what has stayed behind."""
    names = ("sockets", "channels", "subscriptions", "members")
    left = [(name, getattr(after, name) - getattr(before, name)) for name in names]
    # Connections to the bus are kept for the next time.
    left.append(("files", max(0, after.files - before.files - POOLED)))
    return [f"{number:g} {name} have stayed behind" for name, number in left if number]


def _start(redis: Redis | None, workers: int) -> Started:
    environment = {
        "DJANGO_SETTINGS_MODULE": "benchmarks.site.lively",
        "BENCH_URL": "http://127.0.0.1:{port}",
    }
    if redis is not None:
        environment |= {"BENCH_CONNECTION": "redis", "BENCH_REDIS_URL": redis.url}
    return Started(
        [
            *(sys.executable, "manage.py", "broadcast_serve", "--port", "{port}"),
            *("--workers", str(workers), "--drain-delay", "0", "--drain-seconds", "0"),
        ],
        environment,
        ROOT,
        SCRATCH / "logs" / "soak.log",
    )


def _has_workers(address: tuple[str, int], workers: int) -> bool:
    try:
        return len(metrics(address)) == workers
    except (OSError, RuntimeError):
        return False


def main() -> None:
    """Soak as the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="(10)")
    parser.add_argument("--redis", action="store_true", help="two workers on Redis")
    parser.add_argument("--seed", type=int, default=1, help="of what happens (1)")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        redis = Redis() if arguments.redis else None
        if redis is not None:
            stack.callback(redis.stop)

        def say(text: str) -> None:
            print(text, flush=True)

        wrong = asyncio.run(run(arguments.minutes, redis, arguments.seed, say, stack))
    for what in wrong:
        print(f"WRONG: {what}")
    if not wrong:
        print("Nothing has stayed behind.")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
