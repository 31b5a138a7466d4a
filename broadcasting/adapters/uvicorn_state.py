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
    from .uvicorn_http import HttpProtocol


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
        self.young: OrderedDict[HttpProtocol, float] = OrderedDict()  # -> since when.

    @property
    def is_full(self) -> bool:
        """Whether one more connection is too many."""
        return self.max_open is not None and len(self.connections) >= self.max_open

    def sweep(self, now: float) -> None:
        """End the connections that were young too long. Call it once a second."""
        while self.young:
            protocol, since = next(iter(self.young.items()))
            if now - since <= self.head_timeout:
                return
            # At the end of the list: one that does not take its answer is ended there.
            self.young[protocol] = now
            self.young.move_to_end(protocol)
            protocol.expire()
