"""
uvicorn's HTTP protocol class, with limits to what a client may put off.

A connection is *awaiting a head* from the moment when it is open, and again from the
first byte of each further request. It is *awaiting its peer* while a body or the reading
of an answer is to go on. How many bytes may come that are not of a body is limited at all
times: a client may send the next head while the last request is being answered, or end a
body with fields that do not end.
"""

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from .opening import answer, app_key, trust_proxy
from .protocol import PusherProtocol
from .state import State

# Seconds that a client which has just come has for its request while the server leaves.
FIRST_REQUEST_GRACE = 1.0
MAX_HEAD = 64 * 1024  # Bytes. httptools would take any number.


class HttpProtocol(HttpToolsProtocol):
    """One client's connection, until it asks for a WebSocket."""

    server_state: State

    def __init__(
        self,
        config: Config,
        server_state: State,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_size = 0
        self._is_head = False  # Whether the parser is in the midst of one.
        self._is_served = False  # Whether what came just now brought a request on its way.
        self._has_more = False  # Whether a body is to go on.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the client, or refuse it where all places are taken."""
        if self.server_state.is_full:
            self.server_state.refused["too_many"] += 1
            self.transport = transport  # `connection_lost` is called all the same.
            transport.abort()
            return
        super().connection_made(transport)
        self.server_state.awaiting_head[self] = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.awaiting_head.pop(self, None)
        self.server_state.awaiting_peer.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; refuse a head that is longer than `MAX_HEAD`."""
        awaiting = self.server_state.awaiting_head
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        if self not in awaiting and (cycle is None or cycle.response_complete):
            awaiting[self] = self.loop.time()
        self._is_served = False
        super().data_received(data)
        self._head_size = 0 if self._is_served else self._head_size + len(data)
        if self._head_size > MAX_HEAD and not self.transport.is_closing():
            self.server_state.refused["head_too_large"] += 1
            if self in awaiting:
                self._refuse(431)
            else:  # In the midst of an answer there is no place for another.
                self.transport.abort()

    def on_message_begin(self) -> None:
        self._is_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of a head; behind a body it could pass for one that a proxy has set."""
        if self._is_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin with the request."""
        self.server_state.awaiting_head.pop(self, None)
        self._is_head, self._is_served, self._has_more = False, True, True
        self._await_peer()
        super().on_headers_complete()
        cycle: RequestResponseCycle | None = self.cycle
        if self.server_state.is_leaving and cycle is not None:
            cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._is_served = True
        self._await_peer()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_served, self._has_more = True, False
        self._peer_done()
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_peer()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._peer_done()

    def handle_websocket_upgrade(self) -> None:
        """Open a WebSocket; no other version of HTTP has any (RFC 6455, section 4.1)."""
        self.server_state.awaiting_peer.pop(self, None)
        url = self.url.decode("latin-1")
        path, _, query = url.partition("?")
        if self.scope["http_version"] != "1.1":
            self._refuse(505)
        elif (key := app_key(path)) is None:
            super().handle_websocket_upgrade()
        else:
            self._open_socket(key, url, query)

    def _open_socket(self, key: str, url: str, query: str) -> None:
        response = answer(self.scope["method"], url, self.headers)
        if response.status_code != 101:
            self.transport.write(response.serialize())
            self.transport.close()
            return
        self.connections.discard(self)
        scope = {
            "type": "websocket",
            "scheme": "wss" if self.scheme == "https" else "ws",
            "client": self.client,
            "query_string": query.encode("latin-1"),
            "headers": self.headers,
        }
        trust_proxy(scope, self.config.forwarded_allow_ips)
        PusherProtocol(self.transport, self.server_state).open(key, scope, response.serialize())
        self.parser = None  # type: ignore[assignment]  # It leads back: all of it is garbage.

    def shutdown(self) -> None:
        """Close after the answer under way, and not before one whose request may be."""
        cycle: RequestResponseCycle | None = self.cycle
        if self in self.server_state.awaiting_head and cycle is None:
            self.loop.call_later(FIRST_REQUEST_GRACE, super().shutdown)
        else:
            super().shutdown()

    def head_is_late(self) -> None:
        if self.transport.is_closing():
            self.transport.abort()
            return
        self.server_state.refused["handshake_timeout"] += 1
        # A browser opens connections in advance, and shows its user what comes unasked.
        if self._head_size:
            self._refuse(408)
        else:
            self.transport.close()

    def peer_is_late(self) -> None:
        if self.flow.read_paused and not self.flow.write_paused:
            return  # It is the application that does not take what was sent.
        self.server_state.refused["request_timeout"] += 1
        self.transport.abort()

    def _await_peer(self) -> None:
        self.server_state.awaiting_peer[self] = self.loop.time()
        self.server_state.awaiting_peer.move_to_end(self)

    def _peer_done(self) -> None:
        if not self._has_more and not self.flow.write_paused:
            self.server_state.awaiting_peer.pop(self, None)

    def _refuse(self, status: int) -> None:
        self.transport.write(
            STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()
