"""The measurements: each takes a running server and returns figures by their names."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

from .crowd import Crowd
from .dialects import CHANNEL, Pusher
from .messages import make_data
from .peers import Redis
from .poller import Poller
from .processes import Measured
from .publishers import HttpPublisher, Publisher
from .samples import percentile
from .servers import Server

DATA_SIZE = 100
PUBLISHERS = 8


@dataclass(frozen=True, slots=True)
class Load:
    """
    A way to publish.

    Attributes:
        connections: How many there are to publish over.
        under_way: Messages that may not have reached everybody yet.
        at_once: Whether new ones wait until all before them have.
    """

    connections: int
    under_way: int
    at_once: bool = False


LOADS = {
    "single": Load(1, 1),
    "queue": Load(PUBLISHERS, 8),
    "burst": Load(16, 16, at_once=True),
}

MESSAGES_PER_S = 3
PATIENCE = 20.0  # Seconds until a message that has not come counts as lost.
SETTLE = 1.5  # Seconds after which a server has done what it does for new or lost sockets.
SLOW_MESSAGES = 330  # Of 10 kB: more than sockets' buffers hold, some of it waits in the server.

_numbers = count(1)


@dataclass
class Run:
    """
    One server that runs, and what is found of it.

    Attributes:
        figures: By name; the unit is part of the name.
        faults: Messages lost, out of order, refused, sockets closed: all must be 0.
    """

    server: Server
    running: Measured
    redis: Redis | None
    poller: Poller = field(default_factory=Poller)
    figures: dict[str, float] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    _crowds: list[Crowd] = field(default_factory=list)

    def crowd(self) -> Crowd:
        """Return clients that have yet to connect; `close` ends them."""
        crowd = Crowd(self.poller, *self.running.address)
        self._crowds.append(crowd)
        return crowd

    def close(self) -> None:
        """Leave the server, which may have to serve another run."""
        for crowd in self._crowds:
            crowd.close()
        self.poller.run_for(0.1)
        self.poller.close()

    def fault(self, name: str, number: int) -> None:
        """Count what must not happen."""
        self.faults[name] = self.faults.get(name, 0) + number


class _Meter:
    """CPU seconds of the server, of ourselves, and of the clock, since it was made."""

    def __init__(self, running: Measured) -> None:
        self._running = running
        self._start = running.cpu(), time.process_time(), time.monotonic()

    def read(self) -> tuple[float, float, float]:
        server, own, clock = self._start
        return (
            self._running.cpu() - server,
            time.process_time() - own,
            time.monotonic() - clock,
        )


def connect(run: Run, number: int, name: str, channel: str = CHANNEL) -> Crowd:
    """Connect and subscribe `number` sockets; the figures bear `name`."""
    crowd = run.crowd()
    meter = _Meter(run.running)
    crowd.connect(run.server.subscriber(channel), number)
    cpu, own, clock = meter.read()
    run.figures[f"{name}_per_s"] = number / clock
    run.figures[f"{name}_cpu_ms"] = cpu / number * 1e3
    run.figures[f"{name}_generator"] = own / clock
    return crowd


def fan_out(run: Run, crowd: Crowd, seconds: float, loads: Iterable[str] = LOADS) -> None:
    """Publish to all of `crowd` one by one, queued, and in bursts, each for `seconds`."""
    for load in loads:
        measure_load(run, crowd, load, seconds, f"fanout_{load}")


def measure_load(
    run: Run, crowd: Crowd, load: str, seconds: float, name: str, channel: str = CHANNEL
) -> None:
    """Publish in one of the ways of `LOADS` for `seconds`, after a short warm-up."""
    way = LOADS[load]
    publisher = run.server.publisher(
        run.poller, run.running, run.redis, connections=way.connections, channel=channel
    )
    try:
        drive(run, crowd, publisher, way, min(0.5, seconds))
        meter = _Meter(run.running)
        deliveries = drive(run, crowd, publisher, way, seconds)
        cpu, own, clock = meter.read()
    finally:
        publisher.close()
    if deliveries:
        run.figures[f"{name}_cpu_s_per_m"] = cpu / deliveries * 1e6
        run.figures[f"{name}_per_s"] = deliveries / clock
        run.figures[f"{name}_generator"] = own / clock


def drive(run: Run, crowd: Crowd, publisher: Publisher, load: Load, seconds: float) -> int:
    """
    Publish in the way of `load` for `seconds`, and wait for the last message.

    Returns the deliveries; what was lost or came out of order is counted as a fault.
    """
    before = _Faults(crowd, publisher)
    crowd.restart()
    sent = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        under_way = sent - crowd.completed
        if not (load.at_once and under_way):
            while under_way < load.under_way and publisher.is_free:
                publisher.publish(make_data(next(_numbers), DATA_SIZE))
                under_way += 1
                sent += 1
        run.poller.turn(0.05)
    return _finish(run, crowd, publisher, sent, before)


def latency(run: Run, crowd: Crowd, seconds: float, name: str = "latency") -> None:
    """Publish three messages a second, and see how long they take to each socket."""
    publisher = run.server.publisher(run.poller, run.running, run.redis, connections=1)
    before = _Faults(crowd, publisher)
    crowd.restart()
    crowd.is_timing = True
    sent = 0
    start = time.monotonic()
    try:
        while (now := time.monotonic()) < start + seconds:
            if publisher.is_free and now >= start + sent / MESSAGES_PER_S:
                publisher.publish(make_data(next(_numbers), DATA_SIZE))
                sent += 1
            run.poller.turn(0.005)
        _finish(run, crowd, publisher, sent, before)
    finally:
        crowd.is_timing = False
        publisher.close()
    if values := crowd.latencies():
        run.figures[f"{name}_p50_ms"] = percentile(values, 50) * 1e3
        run.figures[f"{name}_p99_ms"] = percentile(values, 99) * 1e3


class _Faults:
    """What had gone wrong before a measurement."""

    def __init__(self, crowd: Crowd, publisher: Publisher) -> None:
        self.closed = sum(crowd.closed.values())
        self.refused = publisher.refused
        self.subscribers = len(crowd.members)


def _finish(run: Run, crowd: Crowd, publisher: Publisher, sent: int, before: _Faults) -> int:
    run.poller.run_until(lambda: publisher.is_idle and crowd.completed >= sent, PATIENCE)
    deliveries = crowd.deliveries
    numbers = [number for number, _ in crowd.stamps]
    run.fault("lost", max(sent * before.subscribers - deliveries, 0))
    run.fault("out_of_order", crowd.strays)
    run.fault("overtaken", len(numbers) - _rising(numbers) if publisher.keeps_order else 0)
    run.fault("doubled", len(numbers) - len(set(numbers)))
    run.fault("closed", sum(crowd.closed.values()) - before.closed)
    run.fault("refused", publisher.refused - before.refused)
    return deliveries


def _rising(numbers: Sequence[int]) -> int:
    """Return how many of `numbers` are larger than all before them."""
    highest = rising = 0
    for number in numbers:
        rising += number > highest
        highest = max(highest, number)
    return rising


def publish(run: Run, seconds: float) -> None:
    """Post signed events to a channel with one subscriber, as fast as they are taken."""
    crowd = run.crowd()
    crowd.connect(run.server.subscriber("one"), 1)
    publisher = HttpPublisher(
        run.poller, run.running.address, run.server.keys, connections=PUBLISHERS, channel="one"
    )
    try:
        load = Load(PUBLISHERS, 10 * PUBLISHERS)
        drive(run, crowd, publisher, load, min(0.5, seconds))
        meter = _Meter(run.running)
        before = publisher.published
        drive(run, crowd, publisher, load, seconds)
        cpu, own, clock = meter.read()
    finally:
        publisher.close()
        crowd.close()
    requests = publisher.published - before
    run.figures["post_cpu_ms"] = cpu / requests * 1e3
    run.figures["post_per_s"] = requests / clock
    run.figures["post_per_core_s"] = requests / cpu
    run.figures["post_generator"] = own / clock


def memory(run: Run, number: int, name: str = "memory", *, own_channels: bool = False) -> Crowd:
    """Connect `number` sockets that say nothing more, and see what each costs."""
    crowd = run.crowd()
    # What the first connection ever makes is not theirs.
    crowd.connect(run.server.subscriber(), 10)
    run.poller.run_for(SETTLE)
    before = run.running.memory()
    dialect = run.server.subscriber((lambda n: f"own-{n}") if own_channels else CHANNEL)
    crowd.connect(dialect, number)
    run.poller.run_for(SETTLE)
    run.figures[f"{name}_kb"] = (run.running.memory() - before) / number / 1024
    return crowd


def churn(run: Run, crowd: Crowd, rounds: int) -> None:
    """Measure the memory after all sockets have left and reconnected; it must not grow."""
    number = len(crowd.members)
    with_crowd = []
    for _ in range(rounds + 1):
        with_crowd.append(run.running.memory())
        crowd.close()
        run.poller.run_for(SETTLE)
        crowd.connect(run.server.subscriber(), number)
        run.poller.run_for(SETTLE)
    # The first time still fills the allocator's gaps.
    run.figures["churn_growth_percent"] = (with_crowd[-1] / with_crowd[1] - 1) * 100


def growth(run: Run, numbers: Sequence[int], seconds: float) -> None:
    """See what one delivery costs to ever more subscribers."""
    crowd = run.crowd()
    for number in numbers:
        crowd.connect(run.server.subscriber(), number - len(crowd.members))
        # One by one, as how many messages are written together depends on their number.
        measure_load(run, crowd, "single", seconds, f"growth_{number}")


def presence(run: Run, number: int, seconds: float) -> None:
    """Measure a presence channel of 100 users, who all see each other come."""
    channel = "presence-bench"
    crowd = run.crowd()

    def member(n: int) -> str:
        return json.dumps({"user_id": str(n % 100), "user_info": {"name": f"User {n % 100}"}})

    crowd.connect(Pusher(run.server.keys, lambda n: channel, member), number)
    measure_load(run, crowd, "burst", seconds, "presence_burst", channel)


def unheard(run: Run, messages: int) -> None:
    """Publish over Redis where nobody listens: that must cost a server process nothing."""
    publisher = run.server.publisher(
        run.poller, run.running, run.redis, connections=1, channel="nobody"
    )
    meter = _Meter(run.running)
    for _ in range(messages):
        publisher.publish(make_data(next(_numbers), DATA_SIZE))
    cpu, _, _ = meter.read()
    run.figures["unheard_cpu_us"] = cpu / messages * 1e6


def slow_reader(run: Run, crowd: Crowd, seconds: float) -> None:
    """See what one socket that does not read does to the latency of all others."""
    latency(run, crowd, seconds, "without_slow_reader")
    slow = run.crowd()
    (member,) = slow.connect(Pusher(run.server.keys, lambda n: "slow"), 1, receive_buffer=4096)
    member.pause()
    publisher = HttpPublisher(
        run.poller, run.running.address, run.server.keys, connections=1, channel="slow"
    )
    for _ in range(SLOW_MESSAGES):
        run.poller.run_until(lambda: publisher.is_free, PATIENCE)
        publisher.publish(make_data(next(_numbers), 10_000))
    run.poller.run_until(lambda: publisher.is_idle, PATIENCE)
    publisher.close()
    latency(run, crowd, seconds, "with_slow_reader")
    slow.close()
    with_it, without = (run.figures[f"{w}_slow_reader_p99_ms"] for w in ("with", "without"))
    run.figures["slow_reader_p99_ratio"] = with_it / without
