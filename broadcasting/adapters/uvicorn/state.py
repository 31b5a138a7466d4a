"""
What the connections of one server share.

Two lists hold those whose clients have a deadline, in the order of the deadlines:
*awaiting a head*, of a request, and *awaiting the peer*, to go on with a body or to read an
answer. One look a second at the front of each finds the late ones: no timer for each.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Protocol

from uvicorn.server import ServerState

PEER_TIMEOUT = 60.0  # Seconds without a byte that a client may be awaited.


class Awaiting(Protocol):
    """A connection whose client has a deadline, and what is called behind it."""

    def head_is_late(self) -> None: ...
    def peer_is_late(self) -> None: ...


class State(ServerState):
    """
    The state of one server.

    Args:
        max_open: Connections of all kinds, `None` for no limit.
        head_timeout: Seconds for the head of a request.

    Attributes:
        is_leaving: Whether the server is about to stop, and each answer is the last of its
            connection.
        refused: Counts what was turned away, by reason.
        awaiting_head, awaiting_peer: Connections, with the time since when.
    """

    def __init__(self, max_open: int | None, head_timeout: float) -> None:
        super().__init__()
        self.max_open = max_open
        self.head_timeout = head_timeout
        self.is_leaving = False
        self.refused: Counter[str] = Counter()
        self.awaiting_head: OrderedDict[Awaiting, float] = OrderedDict()
        self.awaiting_peer: OrderedDict[Awaiting, float] = OrderedDict()

    @property
    def is_full(self) -> bool:
        """Whether one more connection is too many."""
        return self.max_open is not None and len(self.connections) >= self.max_open

    def sweep(self, now: float) -> None:
        """End the connections whose clients are late. Call it each second."""
        for connection in _late(self.awaiting_head, now, self.head_timeout):
            connection.head_is_late()
        for connection in _late(self.awaiting_peer, now, PEER_TIMEOUT):
            connection.peer_is_late()


def _late(awaiting: OrderedDict[Awaiting, float], now: float, seconds: float) -> Iterator[Awaiting]:
    while awaiting:
        connection, since = next(iter(awaiting.items()))
        if now - since <= seconds:
            return
        # To the end of the list: one that does not take its answer is ended there.
        awaiting[connection] = now
        awaiting.move_to_end(connection)
        yield connection
