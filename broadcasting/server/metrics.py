"""What a process has done, in numbers."""

from collections import Counter


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
        loop_lag: Seconds by which the last sweep came late.
    """

    __slots__ = (
        "closed",
        "delivered",
        "delivered_bytes",
        "errors",
        "loop_lag",
        "opened",
        "published",
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
        self.loop_lag = 0.0
