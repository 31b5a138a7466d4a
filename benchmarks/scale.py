"""
Two servers of two workers on one Redis, as a crowd sees them: as one.

Presence, exclusions, numbers and lists are compared with what must be true; then one server
is killed, and the other is drained. Ends with status 1 where something is wrong.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
import time
from asyncio import to_thread
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from .peers import SCRATCH, Redis
from .processes import Started, family
from .servers import KEYS, ROOT
from .visitors import Api, Visitor, metrics, open_many, until

ALL = "everybody"
USERS = 20  # Of one room, about.
GRACE = 5.0  # Seconds: PRESENCE_GRACE of `benchmarks.site.lively`.
DEATH = 35.0  # Seconds until a killed server's members have left: 20 and what is around them.
THROTTLE = 10.0  # Seconds until the last number of a large channel has been told.


@dataclass
class Findings:
    """
    What has come out.

    Attributes:
        wrong: What should not be.
        figures: What it took.
    """

    wrong: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def check(self, is_so: bool, what: str) -> None:
        """Note what is not so."""
        if not is_so:
            self.wrong.append(what)

    def expect(self, what: str, found: object, wanted: object) -> None:
        """Note what differs."""
        if found != wanted:
            self.wrong.append(f"{what}: {_short(found)}, and it should be {_short(wanted)}")


@dataclass(frozen=True)
class Seat:
    """Where a visitor belongs, whatever server it is on."""

    visitor: Visitor
    user: str
    room: str


class _Process(Started):
    @property
    def status(self) -> int | None:
        return self._process.poll()


class Server:
    """One ``broadcast_serve --workers 2``."""

    def __init__(self, name: str, redis: Redis, drain_seconds: float) -> None:
        self.log = SCRATCH / "logs" / f"scale-{name}.log"
        self._started = _Process(
            [
                *(sys.executable, "manage.py", "broadcast_serve", "--workers", "2"),
                *("--port", "{port}", "--drain-delay", "0.2"),
                *("--drain-seconds", str(drain_seconds)),
            ],
            {
                "DJANGO_SETTINGS_MODULE": "benchmarks.site.lively",
                "BENCH_CONNECTION": "redis",
                "BENCH_REDIS_URL": redis.url,
                "BENCH_URL": "http://127.0.0.1:{port}",
            },
            ROOT,
            self.log,
        )
        self.address = self._started.address
        self.api = Api(self.address, KEYS)

    def is_ready(self) -> bool:
        """Return whether both workers serve."""
        try:
            return len(metrics(self.address)) == 2
        except (OSError, RuntimeError):
            return False

    def sockets(self) -> list[float]:
        """Return how many sockets each worker has."""
        return [numbers["broadcasting_connections"] for numbers in metrics(self.address).values()]

    def memory(self) -> float:
        """Return the MiB of all its processes."""
        return self._started.memory() / 2**20

    def kill(self) -> None:
        """End all its processes, as a power cut would."""
        for pid in family(self._started.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to leave."""
        os.kill(self._started.pid, signal.SIGTERM)

    def status(self) -> int | None:
        """Return its exit status, `None` while it runs."""
        return self._started.status

    def stop(self) -> None:
        """End what is left."""
        self._started.stop()


class Scale:
    """
    The play.

    Args:
        number: Sockets in all.
        say: Is told what happens.
        stack: Ends what was started.
    """

    def __init__(self, number: int, say: Callable[[str], object], stack: ExitStack) -> None:
        self.findings = Findings()
        self._half = number // 2
        self._drain_seconds = max(1.5, number / 1000)
        self._say = say
        self._stack = stack
        self._redis = Redis()
        stack.callback(self._redis.stop)
        self._names = iter("abc")
        self._servers: list[Server] = []
        self._published = 0

    async def play(self) -> None:
        """Act."""
        a, b = await asyncio.gather(self._start(), self._start())
        on_a, on_b = await self._fill(a, b)
        await self._look(a, b, [*on_a, *on_b])
        await self._kill(a, b, on_a, on_b)
        await self._drain(await self._start(), b, on_b)
        for server in self._servers:
            log = server.log.read_text(errors="replace")
            self.findings.check("Traceback" not in log, f"A traceback in {server.log}")

    async def _start(self) -> Server:
        server = await to_thread(Server, next(self._names), self._redis, self._drain_seconds)
        self._servers.append(server)
        self._stack.callback(server.stop)
        while not await to_thread(server.is_ready):  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.1)
        return server

    # Acts

    async def _counted(self, server: Server) -> list[float]:
        """Return the sockets of each worker, once they are all there: a second or two behind."""
        deadline = time.monotonic() + 10
        while True:
            found = await to_thread(server.sockets)
            if sum(found) == self._half or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.2)

    async def _fill(self, a: Server, b: Server) -> tuple[list[Seat], list[Seat]]:
        """Open half of the sockets on each; half of the users have a tab on both."""
        self._say(f"Opening {2 * self._half} sockets on two servers of two workers")
        begin = time.monotonic()
        visitors = await open_many(
            [server.address for server in (a, b) for _ in range(self._half)], KEYS
        )
        self.findings.expect("Sockets", len(visitors), 2 * self._half)
        rooms = max(1, self._half // USERS)
        seats = []
        for number, visitor in enumerate(visitors):
            place = number % self._half
            is_both = place < self._half // 2
            user = f"both-{place}" if is_both else f"{'ab'[number // self._half]}-{place}"
            seats.append(Seat(visitor, user, f"presence-{place % rooms}"))
        await self._join(seats)
        self._took("opening and joining", begin)
        for server in (a, b):
            found = await self._counted(server)
            self.findings.expect("Sockets of a server", sum(found), self._half)
            self.findings.check(min(found) > 0, f"A worker has no socket: {found}")
            self.findings.figures[f"MiB of server {server.log.stem[-1]}"] = server.memory()
        return seats[: self._half], seats[self._half :]

    async def _look(self, a: Server, b: Server, seats: Sequence[Seat]) -> None:
        """Compare everything with what must be true."""
        await self._rooms("after joining", seats)
        for server in (a, b):
            await self._lists(server, seats)
            await self._publish("one message", server, seats)
        for server, seat in ((a, seats[0]), (b, seats[0]), (a, seats[-1]), (b, seats[-1])):
            await self._publish("to others", server, seats, but=seat)
        seats[0].visitor.say("client-hello", {"n": 1}, seats[0].room)
        others = [s.visitor for s in seats if s.room == seats[0].room and s is not seats[0]]
        room = seats[0].room
        whispered = await until(lambda: all(v.heard.get(room) for v in others), 20)
        self.findings.check(whispered, "A whisper did not reach the whole room")
        self.findings.expect("A whisper's echo", seats[0].visitor.heard.get(room), None)
        await self._counts("after joining", seats)

    async def _kill(self, a: Server, b: Server, on_a: Sequence[Seat], on_b: Sequence[Seat]) -> None:
        """Kill `a` while messages are published; its members leave, once."""
        for seat in on_b:
            seat.visitor.changes.clear()
        begin = time.monotonic()
        await to_thread(a.kill)
        for _ in range(20):
            await self._publish("during a death", b, on_b)
        gone = {seat.user for seat in on_a} - {seat.user for seat in on_b}
        self._say(f"A server was killed, and {len(gone)} users with it")
        await self._rooms("after a death", on_b, DEATH)
        self._took("noticing a death", begin)
        for seat in on_b:
            removed = Counter(seat.visitor.changes)
            wanted = Counter((s.room, "-", s.user) for s in on_a if s.user in gone)
            wanted = Counter({k: 1 for k in wanted if k[0] == seat.room})
            self.findings.expect(f"Changes that {seat.user} saw", removed, wanted)
        await self._lists(b, on_b)
        await self._counts("after a death", on_b)
        lost = sum(seat.visitor.is_open for seat in on_a)
        self.findings.expect("Sockets that survived", lost, 0)

    async def _drain(self, a: Server, b: Server, on_b: Sequence[Seat]) -> None:
        """Drain `b`. A member who reconnects to `a` at once has never been away."""
        rooms = sorted({seat.room for seat in on_b})
        watching = [
            Seat(visitor, f"watch-{room}", room)
            for visitor, room in zip(
                await open_many([a.address] * len(rooms), KEYS), rooms, strict=True
            )
        ]
        await self._join(watching)
        await self._rooms("before leaving", [*on_b, *watching])
        for seat in (*on_b, *watching):
            seat.visitor.changes.clear()
        self._say("The other server leaves")
        begin = time.monotonic()
        await to_thread(b.terminate)
        back = await asyncio.gather(*(self._come_back(seat, a) for seat in on_b))
        await self._wait_for(back)
        self._took("moving to another server", begin)
        codes = Counter(seat.visitor.close_code for seat in on_b)
        self.findings.expect("Close codes", codes, {4200: len(on_b)})
        ended = await until(lambda: b.status() is not None, 20)
        self.findings.check(ended, "The server did not leave")
        self.findings.expect("Exit status", b.status(), 0)
        # Beyond the grace of the last who came back.
        await asyncio.sleep(GRACE + 2)
        for seat in watching:
            self.findings.expect(f"Changes that {seat.user} saw", seat.visitor.changes, [])
        await self._rooms("after moving", [*back, *watching])
        await self._lists(a, [*back, *watching])
        await self._publish("after moving", a, [*back, *watching])

    async def _come_back(self, seat: Seat, server: Server) -> Seat:
        seconds = 20 + self._drain_seconds
        self.findings.check(
            await until(lambda: not seat.visitor.is_open, seconds), f"{seat.user} was not closed"
        )
        (visitor,) = await open_many([server.address], KEYS)
        # At once, as pusher-js does.
        visitor.join(ALL)
        visitor.join(seat.room, seat.user)
        return Seat(visitor, seat.user, seat.room)

    # What is compared

    async def _join(self, seats: Sequence[Seat]) -> None:
        for seat in seats:
            seat.visitor.join(ALL)
            seat.visitor.join(seat.room, seat.user)
        await self._wait_for(seats)

    async def _wait_for(self, seats: Sequence[Seat]) -> None:
        is_in = await until(lambda: all(len(s.visitor.joined) == 2 for s in seats), 60)
        self.findings.check(is_in, "Not all could join")
        errors = Counter(error for seat in seats for error in seat.visitor.errors)
        self.findings.expect("Errors", errors, {})

    async def _rooms(self, when: str, seats: Sequence[Seat], seconds: float = 20.0) -> None:
        """See that everybody in a room knows who is in it."""
        rooms: dict[str, set[str]] = {}
        for seat in seats:
            rooms.setdefault(seat.room, set()).add(seat.user)

        def wrong() -> list[Seat]:
            return [s for s in seats if s.visitor.members.get(s.room) != rooms[s.room]]

        await until(lambda: not wrong(), seconds)
        for seat in wrong()[:5]:
            found = seat.visitor.members.get(seat.room)
            self.findings.expect(f"{when}, {seat.room} for {seat.user}", found, rooms[seat.room])

    async def _counts(self, when: str, seats: Sequence[Seat]) -> None:
        """See that everybody is told the number of all."""

        def told() -> Counter[int]:
            return Counter(seat.visitor.counts.get(ALL, 0) for seat in seats)

        await until(lambda: set(told()) == {len(seats)}, THROTTLE)
        self.findings.expect(f"Subscribers as told {when}", told(), {len(seats): len(seats)})

    async def _lists(self, server: Server, seats: Sequence[Seat]) -> None:
        """See that the HTTP API tells the same."""
        rooms: dict[str, set[str]] = {}
        for seat in seats:
            rooms.setdefault(seat.room, set()).add(seat.user)
        answer = await to_thread(
            server.api.get, "/channels", filter_by_prefix="presence-", info="user_count"
        )
        found = {name: info["user_count"] for name, info in answer["channels"].items()}
        self.findings.expect("GET /channels", found, {r: len(u) for r, u in rooms.items()})
        one = await to_thread(server.api.get, f"/channels/{ALL}", info="subscription_count")
        self.findings.expect("GET /channels/NAME", one["subscription_count"], len(seats))
        room = seats[0].room
        users = await to_thread(server.api.get, f"/channels/{room}/users")
        self.findings.expect("GET users", {u["id"] for u in users["users"]}, rooms[room])

    async def _publish(
        self, what: str, server: Server, seats: Sequence[Seat], but: Seat | None = None
    ) -> None:
        """See that a message reaches everybody once, but for one who is left out."""
        self._published += 1
        number = self._published
        begin = time.monotonic()
        socket_id = None if but is None else but.visitor.socket_id
        await to_thread(server.api.publish, ALL, number, socket_id)
        waiting = [seat.visitor for seat in seats if seat is not but]

        def is_there() -> bool:
            return all(v.heard.get(ALL, [None])[-1] == number for v in waiting)

        if not await until(is_there, 20):
            missing = sum(v.heard.get(ALL, [None])[-1] != number for v in waiting)
            self.findings.check(False, f"{what}: {missing} did not hear number {number}")
        self._took(f"{what}, at most", begin)
        if but is not None:
            await self._publish("after it", server, seats)
            self.findings.check(number not in but.visitor.heard[ALL], f"{what}: an echo")
        for visitor in waiting:
            heard = visitor.heard[ALL]
            self.findings.check(heard == sorted(set(heard)), f"{what}: out of order, or twice")

    def _took(self, what: str, begin: float) -> None:
        seconds = time.monotonic() - begin
        name = f"s for {what}"
        self.findings.figures[name] = max(seconds, self.findings.figures.get(name, 0.0))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 300 else text[:300] + "..."


async def run(number: int, say: Callable[[str], object]) -> Findings:
    """Play with so many sockets."""
    with ExitStack() as stack:
        scale = Scale(number, say, stack)
        await scale.play()
        return scale.findings


def main() -> None:
    """Play as the command line asks for, and print what has come out."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sockets", type=int, default=10_000, help="in all (10000)")
    parser.add_argument("--json", type=Path, help="where figures go, too")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    findings = asyncio.run(run(arguments.sockets, lambda text: print(text, flush=True)))
    print(f"\n{arguments.sockets} sockets")
    for what, figure in findings.figures.items():
        print(f"  {what}: {figure:.2f}")
    for what in findings.wrong:
        print(f"WRONG: {what}")
    print(f"{len(findings.wrong)} things are wrong." if findings.wrong else "All is right.")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(findings.figures, indent=2))
    sys.exit(bool(findings.wrong))


if __name__ == "__main__":
    main()
