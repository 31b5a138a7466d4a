"""
What the connections of one server share.

Young connections, whose clients have yet to send the head of a request, stand in one list
in the order in which they became so. One look a second at its front finds those that took
too long: no timer for each.
"""

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from uvicorn.server import ServerState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .http import HttpProtocol


OWING_TIMEOUT = 60.0  # Seconds without a byte that a client may owe something.


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
    """

    def __init__(self, max_open: int | None, head_timeout: float) -> None:
        super().__init__()
        self.max_open = max_open
        self.head_timeout = head_timeout
        self.is_leaving = False
        self.refused: Counter[str] = Counter()
        # -> since when.
        self.young: OrderedDict[HttpProtocol, float] = OrderedDict()
        self.owing: OrderedDict[HttpProtocol, float] = OrderedDict()

    @property
    def is_full(self) -> bool:
        """Whether one more connection is too many."""
        return self.max_open is not None and len(self.connections) >= self.max_open

    def sweep(self, now: float) -> None:
        """End the connections that were young, or owed something, too long. Call it each second."""
        for protocol in self._overdue(self.young, now, self.head_timeout):
            protocol.expire()
        for protocol in self._overdue(self.owing, now, OWING_TIMEOUT):
            protocol.cut_off()

    def _overdue(
        self, waiting: "OrderedDict[HttpProtocol, float]", now: float, seconds: float
    ) -> "Iterator[HttpProtocol]":
        while waiting:
            protocol, since = next(iter(waiting.items()))
            if now - since <= seconds:
                return
            # At the end of the list: one that does not take its answer is ended there.
            waiting[protocol] = now
            waiting.move_to_end(protocol)
            yield protocol
