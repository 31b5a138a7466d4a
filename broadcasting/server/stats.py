"""
The counters of one hub: plain numbers, raised where things happen.

What reads them stands above the hub, in `metrics`.
"""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping

from ..protocol.names import is_encrypted, is_guarded, is_presence, is_reserved, is_user_channel

KINDS = ("public", "private", "encrypted", "presence", "user")


class HubStats:
    """What one hub has done."""

    def __init__(self) -> None:
        self.opened = 0  # Connections that were accepted.
        # Connections that have ended, by the server's close code; None where the client left.
        self.closed: Counter[int | None] = Counter()
        self.slow_readers = 0  # Sockets closed because they did not read.
        self.refused: Counter[str] = Counter()  # Clients without a connection, by reason.
        self.errors: Counter[str] = Counter()  # Sent to clients, by class of PusherError.
        self.delivered = 0  # Messages handed to sockets, counted once for each socket.
        self.delivered_bytes = 0
        self.published: Counter[str] = Counter()  # Messages, from "client" or "api".
        # Requests of the HTTP API: messages that the bus has not taken yet, how long it
        # took for each request, and the requests by status.
        self.publishing = 0
        self.publish_seconds = Histogram()
        self.answered: Counter[int] = Counter()
        self.loop_lag = 0.0  # Seconds by which the last sweep was late.
        self.bus_lag = 0.0  # Seconds of the last round trip to the bus.
        self.census = Census()


class Histogram:
    """
    How many observations took how long.

    Attributes:
        counts: Observations up to each of `BOUNDS`, and above the last, each counted once.
        total: The seconds of all observations.
    """

    BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

    def __init__(self) -> None:
        self.counts = [0] * (len(self.BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.BOUNDS, seconds)] += 1
        self.total += seconds


class Census:
    """
    How many channels of each kind there are, and subscriptions to them.

    Counting looks at every topic, so it is repeated only after a thousand times as long
    as it took, and at the latest after a minute. CPU time is what counts: on a busy
    machine the numbers would otherwise become old for no reason.
    """

    MAX_AGE = 60.0  # Seconds.

    def __init__(self) -> None:
        self.channels: Counter[str] = Counter()
        self.subscriptions: Counter[str] = Counter()
        self._due = 0.0

    def take(self, count_sockets: Callable[[], Mapping[str, int]]) -> None:
        """Count again if it is time. `count_sockets` returns the sockets of each topic."""
        now = time.monotonic()
        if now < self._due:
            return
        begin = time.thread_time()
        self.channels = Counter(dict.fromkeys(KINDS, 0))
        self.subscriptions = Counter(dict.fromkeys(KINDS, 0))
        for topic, sockets in count_sockets().items():
            kind = kind_of(topic.partition(":")[2])
            if kind is not None:
                self.channels[kind] += 1
                self.subscriptions[kind] += sockets
        self._due = now + min(self.MAX_AGE, 1000 * (time.thread_time() - begin))


def kind_of(channel: str) -> str | None:
    """Return which of `KINDS` `channel` is, `None` for a channel of the server itself."""
    if is_user_channel(channel):
        return "user"
    if is_reserved(channel):
        return None
    if is_presence(channel):
        return "presence"
    if is_encrypted(channel):
        return "encrypted"
    return "private" if is_guarded(channel) else "public"
