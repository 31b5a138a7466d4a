"""
Work out how many server processes a site needs: capacity.py [--connections N ...].

Without options it prints the two tables of docs/capacity.md. The first shows the figures
that this file assumes. Replace them by those of your own machine, from `make bench`.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

# The costs of one process, measured on one core of a shared 2-core machine with events of
# 100 bytes. The letters are those of the formula.
MEMORY = 4.5  # m: kB for each connection.
DELIVERY = 6.5  # d: µs for each delivery. Less if several messages are under way.
MESSAGE = 45.0  # i: µs for each message from Redis. About 13 if several come together.
IDLE = 2.5  # p: µs a second for each idle connection, including its pings.
OPENING = 0.35  # h: ms to open a connection and subscribe to a channel.

BASE = 70.0  # MB of a process without clients.
SPARE_MEMORY = 1.3  # For fragmented memory and garbage.
LOAD = 0.6  # Of one core, of Redis and of the network. The rest is a reserve.
LIFETIME = 600.0  # s that a connection lasts: pages are closed, phones go to sleep.
STORM = 60.0  # s in which all clients must reconnect after all were cut off.
DRAIN = 10.0  # s over which a process closes its sockets: --drain-seconds.
LATENCY = 0.25  # s after which the last subscriber of a channel has the event.
# Clients of a process. More would fit, but in DRAIN seconds they move to the others.
MOST = 12_000
HISTORY_PUBLISHES = 60_000.0  # /s that one Redis accepts, and
NODE_DELIVERIES = 650_000.0  # /s that it passes on to processes.
SPARE_PROCESSES = 0.25  # At least one.


@dataclass(frozen=True)
class Load:
    """
    The load of a site.

    Attributes:
        connections: Open at once.
        rate: Events per second that are published.
        fanout: Subscribers of an event, on average.
        size: Bytes of an event.
    """

    connections: int
    rate: float
    fanout: float
    size: int = 200

    @property
    def deliveries(self) -> float:
        """Deliveries per second, in all processes."""
        return self.rate * self.fanout

    def cpu(self, processes: int) -> float:
        """Return which part of its core each of the processes uses."""
        inbound = self.rate * min(1.0, self.fanout / processes)
        each = self.connections / processes
        return (
            self.deliveries / processes * DELIVERY
            + inbound * MESSAGE
            + each * IDLE
            + each / LIFETIME * OPENING * 1000
        ) / 1_000_000

    def memory(self, processes: int) -> float:
        """Return the memory of each of the processes, in MB."""
        return BASE + self.connections / processes * MEMORY * SPARE_MEMORY / 1024

    def processes(self) -> int:
        """Return how many processes the load needs, without spare ones."""
        count = max(
            math.ceil(self.connections / MOST),
            # All of them open connections again.
            math.ceil(self.connections * OPENING / 1000 / STORM / LOAD),
            # One event to everybody.
            math.ceil(self.fanout * DELIVERY / 1_000_000 / LATENCY),
            1,
        )
        while self.cpu(count) > LOAD:
            count += 1
        return count

    def spare(self) -> int:
        """Return how many spare processes there should be, for when some fail."""
        return max(1, math.ceil(self.processes() * SPARE_PROCESSES))

    def redis(self) -> float:
        """Return which part of one Redis is used. Above `LOAD`, use several."""
        nodes = min(self.processes() + self.spare(), self.fanout)
        return self.rate / HISTORY_PUBLISHES + self.rate * nodes / NODE_DELIVERIES

    def network(self) -> float:
        """Return the megabits per second that are sent to clients."""
        return self.deliveries * (self.size + 40) * 8 / 1_000_000


class Example(NamedTuple):
    """A row of the table."""

    load: Load
    note: str = ""


EXAMPLES = [
    Example(Load(2_000, 20, 50)),
    Example(Load(10_000, 100, 50)),
    Example(Load(50_000, 200, 100)),
    Example(Load(100_000, 500, 200)),
    Example(Load(100_000, 5, 100_000), " (one hot channel)"),
    Example(Load(1_000_000, 2_000, 100)),
]


def constants() -> Iterator[str]:
    """Yield the table of measured figures."""
    yield "| | Measured | Meaning |"
    yield "|---|---|---|"
    yield f"| `m` | {MEMORY:g} kB | Memory of a connection with one subscription |"
    yield f"| `d` | {DELIVERY:g} µs | CPU time of a delivery, if messages come one by one |"
    yield f"| `i` | {MESSAGE:g} µs | CPU time of a message from Redis, in the same case |"
    yield f"| `p` | {IDLE:g} µs/s | CPU time of an idle connection, including its pings |"
    yield f"| `h` | {OPENING:g} ms | CPU time to open a connection and subscribe to a channel |"


def table() -> Iterator[str]:
    """Yield the table of examples."""
    yield (
        "| Connections | Events/s | Reach | Deliveries/s | Processes | Each has | CPU of each "
        "| Memory of each | Redis | Network |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for load, note in EXAMPLES:
        yield row(load, note)


def row(load: Load, note: str = "") -> str:
    """Return a line of the table."""
    count = load.processes()
    cells = [
        f"{_spaced(load.connections)}{note}",
        _spaced(load.rate),
        _spaced(load.fanout),
        _spaced(load.deliveries),
        f"{count} + {load.spare()}",
        _spaced(math.ceil(load.connections / count / 100) * 100),
        f"{load.cpu(count):.0%}",
        f"{load.memory(count):.0f} MB",
        "under 1%" if load.redis() < 0.01 else f"{load.redis():.0%}",
        f"{_spaced(math.ceil(load.network()))} Mbit/s",
    ]
    return f"| {' | '.join(cells)} |"


def _spaced(number: float) -> str:
    return f"{number:,.0f}".replace(",", " ")


def main() -> None:
    """Print the tables, or one row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, help="open at once")
    parser.add_argument("--rate", type=float, default=1.0, help="events per second")
    parser.add_argument("--reach", type=float, default=1.0, help="subscribers of an event")
    parser.add_argument("--size", type=int, default=200, help="bytes of an event")
    given = parser.parse_args()
    if given.connections is None:
        print("\n".join([*constants(), "", *table()]))
        return
    if min(given.connections, given.rate, given.reach, given.size) <= 0:
        parser.error("every number must be above 0")
    head, line, *_ = table()
    load = Load(given.connections, given.rate, given.reach, given.size)
    print("\n".join([head, line, row(load)]))


if __name__ == "__main__":
    main()
