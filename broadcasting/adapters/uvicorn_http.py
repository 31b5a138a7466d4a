"""
uvicorn's HTTP protocol class, with an end to what a client may do before it has asked.

A connection is *young* while the head of a request is awaited: from the moment when it
is open, and again from the first byte of each further request. All young connections
stand in one list, in the order in which they became so, and one look a second at its
front finds those that took too long: no timer for each.
"""

import asyncio
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from uvicorn.config import Config

MAX_HEAD = 64 * 1024  # Bytes. httptools would take any number.


class State(ServerState):
    """
    What the connections of one server share.

    Args:
        max_open: Connections of all kinds, `None` for no limit.
        head_timeout: Seconds for the head of a request.

    Attributes:
        refused: Counts what was turned away, by reason.
    """

    def __init__(self, max_open: int | None, head_timeout: float) -> None:
        super().__init__()
        self.max_open = max_open
        self.head_timeout = head_timeout
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


class HttpProtocol(HttpToolsProtocol):
    """One client's connection, until it asks for a WebSocket."""

    server_state: State

    def __init__(
        self,
        config: "Config",
        server_state: State,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the client, or turn it away where all places are taken."""
        if self.server_state.is_full:
            self.server_state.refused["too_many"] += 1
            self.transport = transport  # `connection_lost` is called all the same.
            transport.abort()
            return
        super().connection_made(transport)
        self.server_state.young[self] = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self.server_state.young.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on. The head of a request must not be longer than `MAX_HEAD`."""
        young = self.server_state.young
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        if self not in young and (cycle is None or cycle.response_complete):
            young[self] = self.loop.time()
            self._head_size = 0
        super().data_received(data)
        if self in young:  # Still: the head goes on.
            self._head_size += len(data)
            if self._head_size > MAX_HEAD and not self.transport.is_closing():
                self.server_state.refused["head_too_large"] += 1
                self._refuse(431)

    def on_headers_complete(self) -> None:
        """Begin with the request: its head is there."""
        self.server_state.young.pop(self, None)
        self._head_size = 0
        super().on_headers_complete()

    def expire(self) -> None:
        """End the connection: the head of a request took too long."""
        if self.transport.is_closing():
            self.transport.abort()
            return
        self.server_state.refused["handshake_timeout"] += 1
        # A browser opens connections in advance, and shows its user what comes unasked.
        if self._head_size:
            self._refuse(408)
        else:
            self.transport.close()

    def _refuse(self, status: int) -> None:
        self.transport.write(
            STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()
