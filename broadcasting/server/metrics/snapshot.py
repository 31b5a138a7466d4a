"""
What a process has done, in numbers.

Counting is cheap and happens where things happen; a `snapshot` is taken when somebody
asks, and once a second for the other workers of the host, any of which may be asked.
"""

import json
import logging
import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ...protocol.names import is_encrypted, is_guarded, is_presence, is_reserved, is_user_channel
from .workers import get_worker

if TYPE_CHECKING:
    from ..hub import Hub

logger = logging.getLogger("broadcasting.server")

MAX_AGE = 60.0  # Seconds that a count of channels may be old.
FRESH = 10.0  # Seconds after which a worker that says nothing is taken for gone.

# Of one family of metrics: the values of its labels, and a number or a histogram's list.
Sample = tuple[Sequence[str], float | list[float]]
Snapshot = Mapping[str, Sequence[Sample]]


class Delivery(Protocol):
    """What is told of a webhook."""

    sent: int
    failed: int
    dropped: int

    @property
    def waiting(self) -> int: ...


class HubStats:
    """
    The counters of one hub: plain numbers, raised where things happen.

    Attributes:
        opened: Connections admitted.
        closed: Connections that ended, by the code with which the server closed them;
            `None` where the client left by itself.
        delivered: Frames handed to sockets, one for each message and socket.
        delivered_bytes: Their size.
        errors: What clients were told, by class of `PusherError`.
        refused: Sockets and requests turned away before they had a connection, by reason.
        slow_readers: Sockets closed since they did not read.
        published: Messages sent to the bus, by where they came from: ``client``, ``api``.
        publishing: Messages of the HTTP API that the bus has not taken yet.
        publish_seconds: How long the bus took, by request of the HTTP API.
        answered: Requests of the HTTP API, by status.
        loop_lag: Seconds by which the last sweep came late.
        bus_lag: Seconds of the last round trip to the bus.
        deliveries: The webhooks.
        census: Which channels there are.
    """

    __slots__ = (
        "answered",
        "bus_lag",
        "census",
        "closed",
        "delivered",
        "delivered_bytes",
        "deliveries",
        "errors",
        "loop_lag",
        "opened",
        "publish_seconds",
        "published",
        "publishing",
        "refused",
        "slow_readers",
    )

    def __init__(self) -> None:
        self.opened = 0
        self.closed: Counter[int | None] = Counter()
        self.delivered = 0
        self.delivered_bytes = 0
        self.errors: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.slow_readers = 0
        self.published: Counter[str] = Counter()
        self.publishing = 0
        self.publish_seconds = Histogram()
        self.answered: Counter[int] = Counter()
        self.loop_lag = 0.0
        self.bus_lag = 0.0
        self.deliveries: Sequence[Delivery] = ()
        self.census = Census()


class Histogram:
    """
    How often something took how long.

    Attributes:
        counts: Observations up to each of `BOUNDS`, and above the last, each counted once.
        total: The seconds of all.
    """

    BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(self.BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count something that took `seconds`."""
        self.counts[bisect_left(self.BOUNDS, seconds)] += 1
        self.total += seconds


class Census:
    """
    How many channels there are of each kind, and subscriptions to them.

    Looking at all topics costs a moment of the loop, so it is done again only after a
    thousand times as long, and within a minute. It is the work that counts: on a busy
    machine a moment may take long, and the numbers would be old for no reason.

    Attributes:
        channels: How many have sockets of this process.
        subscriptions: How many sockets are in, or are joining, these.
    """

    __slots__ = ("_due", "channels", "subscriptions")

    def __init__(self) -> None:
        self.channels: Counter[str] = Counter()
        self.subscriptions: Counter[str] = Counter()
        self._due = 0.0

    def take(self, hub: "Hub") -> None:
        """Count again, unless that was done just now."""
        now = time.monotonic()
        if now < self._due:
            return
        begin = time.thread_time()
        self.channels = Counter(dict.fromkeys(KINDS, 0))
        self.subscriptions = Counter(dict.fromkeys(KINDS, 0))
        for topic, sockets in hub.topics.items():
            kind = kind_of(topic.partition(":")[2])
            if kind is not None:
                self.channels[kind] += 1
                self.subscriptions[kind] += sockets
        self._due = now + min(MAX_AGE, 1000 * (time.thread_time() - begin))


KINDS = ("public", "private", "encrypted", "presence", "user")


def kind_of(channel: str) -> str | None:
    """Return which of `KINDS` `channel` is of, `None` if it is the server's own."""
    if is_user_channel(channel):
        return "user"
    if is_reserved(channel):
        return None
    if is_presence(channel):
        return "presence"
    if is_encrypted(channel):
        return "encrypted"
    return "private" if is_guarded(channel) else "public"


# By the close code. The codes of one reason are those of its `ClosingError`s.
_REASONS = {
    None: "client",
    4000: "insecure",
    4001: "unknown_application",
    4003: "disabled",
    4004: "over_quota",
    4005: "path",
    4006: "version",
    4007: "version",
    4009: "unauthorized",
    4100: "over_capacity",
    4200: "reconnect",
    4201: "pong_timeout",
    4202: "inactive",
}
# By class of `PusherError`.
_AUTH_FAILURES = {
    "Unauthorized": "signature",
    "ForbiddenOrigin": "origin",
    "UnknownApplication": "key",
    "ApplicationDisabled": "disabled",
    "InsecureTransport": "insecure",
    "NeverAuthorized": "timeout",
}
_LIMITS = {
    "ClientEventRejected": "client_events",
    "OverQuota": "connections",
    "TooManyChannels": "subscriptions",
    "TooManyMembers": "members",
    "WatchlistTooLong": "watchlist",
}


def snapshot(hub: "Hub") -> Snapshot:
    """Return every number of `hub`, by family. No label tells of a channel or a user."""
    stats, broker = hub.stats, hub.broker
    stats.census.take(hub)
    deliveries = stats.deliveries
    return {
        "connections": _by(hub.connections),
        "connections_opened": [((), stats.opened)],
        "connections_closed": [
            (("none" if code is None else str(code), _REASONS.get(code, "other")), count)
            for code, count in stats.closed.items()
        ],
        "channels": _by(stats.census.channels),
        "subscriptions": _by(stats.census.subscriptions),
        "errors": _by(stats.errors),
        "auth_failures": [
            *(((reason,), stats.errors[name]) for name, reason in _AUTH_FAILURES.items()),
            (("api",), stats.answered[401]),
        ],
        "rate_limited": [((what,), stats.errors[name]) for name, what in _LIMITS.items()],
        "refused": _by(stats.refused),
        "api_requests": [((str(status),), count) for status, count in stats.answered.items()],
        "messages_published": _by(stats.published),
        "messages_delivered": [((), stats.delivered)],
        "bytes_sent": [((), stats.delivered_bytes)],
        "publish_seconds": [((), [*stats.publish_seconds.counts, stats.publish_seconds.total])],
        "slow_consumers": [((), stats.slow_readers)],
        "outbox_pending": [((), stats.publishing)],
        "bus_up": [((), int(hub.has_bus))],
        "bus_reconnects": [((), broker.reconnects)],
        "bus_lag_seconds": [((), stats.bus_lag)],
        "webhook_deliveries": [
            (("sent",), sum(delivery.sent for delivery in deliveries)),
            (("failed",), sum(delivery.failed for delivery in deliveries)),
            (("dropped",), sum(delivery.dropped for delivery in deliveries)),
        ],
        "webhook_pending": [((), sum(delivery.waiting for delivery in deliveries))],
        "loop_lag_seconds": [((), stats.loop_lag)],
        "draining": [((), int(hub.is_draining))],
    }


def _by(numbers: Mapping[str, int]) -> list[Sample]:
    return [((label,), number) for label, number in numbers.items()]


# Workers of one host


def publish_to_siblings(hub: "Hub") -> None:
    """
    Let the other workers of this host tell what this one has done. Call it once a second.

    Where there is one worker, or no command that made a place for it, nothing is done.
    """
    worker = get_worker()
    if worker.directory is None or worker.count < 2:
        return
    path = worker.directory / f"metrics-{worker.number}.json"
    text = json.dumps({"pid": os.getpid(), "worker": worker.number, "families": snapshot(hub)})
    try:
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(path)
    except OSError as exc:  # The command has gone, and its directory with it; or a full disk.
        logger.debug("Cannot tell other workers what this one has done: %s", exc)


def siblings() -> list[tuple[int, int, Snapshot]]:
    """Return number, process id and snapshot of each other worker that is alive. It blocks."""
    worker = get_worker()
    found: list[tuple[int, int, Snapshot]] = []
    if worker.directory is None:
        return found
    for path in sorted(worker.directory.glob("metrics-*.json")):
        try:
            if time.time() - path.stat().st_mtime > FRESH:
                continue
            said = json.loads(path.read_text())
            if said["worker"] != worker.number:
                found.append((said["worker"], said["pid"], said["families"]))
        except (OSError, ValueError, KeyError, TypeError) as exc:  # It may go at any moment.
            logger.debug("Cannot read %s: %s", path.name, exc)
    return found
