"""
The WebSocket side as a protocol class for uvicorn, its ``ws=`` option.

Theory of operation
-------------------

uvicorn reads the head of a request and hands its connection over. What is addressed to
``app/<key>`` is served here; every other path goes to uvicorn's own class, and through
it to the project's ASGI application.

Inbound, `websockets` parses. Outbound, a frame is bytes already: it is put on the
socket's list, and the lists of all sockets are written at the end of the loop's turn,
one write each, however many frames the turn brought. A socket at rest has no list, no
task, no timer and no queue.

A socket is *stalled* while the transport holds more than it should. Then frames go to a
`_Backlog` instead, which knows its size, and nothing more is read from the client, whose
requests would only make more to send. A backlog that grows too large, or a stall that
lasts too long, ends the connection with 4100.

Rules of this file: `send` and `close` do not await, block or raise, and change nothing
that the hub may be looking through at the moment.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from socket import SO_SNDBUF, SOL_SOCKET
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol
from websockets.exceptions import PayloadTooBig
from websockets.frames import CloseCode, Opcode
from websockets.frames import Frame as InboundFrame
from websockets.http11 import Request, Response
from websockets.protocol import OPEN, SERVER, Protocol
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

from ...applications import find_application
from ...conf import get_settings
from ...protocol.errors import FrameTooLarge, OverCapacity, Reconnect
from ...protocol.messages import Frame
from ...server.admission import get_admission
from ...server.hubs import open_session
from ...server.session import Session
from ..handshake import is_secure, protocol_version, refusal

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

logger = logging.getLogger("broadcasting.server")
# Each connection would be two lines of it, and each bad one. Not `getLogger`: LOGGING, whenever
# it is applied, would take the level off.
_websockets_logger = logging.Logger("broadcasting.websockets", logging.WARNING)
_websockets_logger.parent = logger

# None only where no library is installed, and this module needs one itself.
_OtherProtocol: Any = AutoWebSocketsProtocol
_DEFAULT_MAX_FRAME_SIZE = 16_384  # For a client that is about to be refused.
_MAX_ADDRESS_LENGTH = 45  # As text, IPv6 has no longer ones.
_VERSION = "13"  # Of WebSockets (RFC 6455, section 4.1).


class PusherProtocol(asyncio.Protocol):
    """
    One client's connection, from the moment when it asks for a WebSocket.

    uvicorn makes it, calls `connection_made` and `data_received` with the whole head of
    the request, and puts it in its own place. It is the session's `Socket`.
    """

    LIMIT = 1024 * 1024  # Bytes that may wait for a client.
    PATIENCE = 10.0  # Seconds that they may wait.
    HIGH_WATER = 64 * 1024  # Bytes in the transport from which on a socket is stalled.
    KERNEL_BUFFER = 128 * 1024  # Bytes; Linux takes twice as many.
    FAREWELL = 5.0  # Seconds that a client may take to answer a close.
    SLICE = 4096  # Bytes of one client that are looked at in one turn of the loop.

    __slots__ = (
        "_address",
        "_app_state",
        "_config",
        "_connections",
        "_farewell",
        "_frames",
        "_inbound",
        "_is_closing",
        "_other",
        "_partial",
        "_server_state",
        "_session",
        "_stalled_at",
        "_transport",
        "_turn",
        "_unread",
    )

    def __init__(
        self,
        config: "Config",
        server_state: "ServerState",
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        # What uvicorn waits for when it stops. It knows its own classes only.
        self._connections: set[Any] = server_state.connections
        self._turn = _get_turn(_loop or asyncio.get_running_loop())
        self._transport: asyncio.Transport
        self._other: Any = None  # uvicorn's own class, where that serves the connection.
        self._inbound: _Inbound | None = None
        self._session: Session | None = None
        self._address: str | None = None  # Where the client is, once it has been admitted.
        # What is to be written at the end of this turn; None when nothing is.
        self._frames: list[bytes] | _Backlog | None = None
        self._partial: bytearray | None = None  # A text message whose end has not come.
        self._unread: bytes | None = None  # What was read, and not yet looked at.
        self._stalled_at: float | None = None
        self._is_closing = False
        self._farewell: asyncio.TimerHandle | None = None

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass.
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        if self._other is not None:
            self._other.connection_lost(exc)
            return
        self._connections.discard(self)
        self._is_closing = True
        self._frames = self._unread = self._stalled_at = None
        if self._farewell is not None:
            self._farewell.cancel()
        if self._session is not None:
            self._session.closed()
            self._session = None
        if self._address is not None:
            get_admission().release(self._address)

    def data_received(self, data: bytes) -> None:
        """Take the head of the request, and from then on frames."""
        if self._other is not None:
            self._other.data_received(data)
        elif self._inbound is None:
            self._begin(data)
        elif self._unread is not None:  # Reading has stopped, but it may have been too late.
            self._unread += data
        elif len(data) > self.SLICE:
            self._unread = data
            self._read_on()
        else:
            self._take(self._inbound, data)

    def eof_received(self) -> None:
        """Let the transport close: a client that says no more is gone."""
        if self._other is not None:
            self._other.eof_received()
        else:
            self._leave()

    def pause_writing(self) -> None:
        """Keep what comes from now on, and listen to nothing."""
        if self._other is not None:
            self._other.pause_writing()
        elif not self._is_closing:
            self._stalled_at = self._turn.loop.time()
            self._listen(False)
            frames = self._frames if isinstance(self._frames, list) else ()
            self._frames = _Backlog(self, self._transport.get_write_buffer_size(), frames)

    def resume_writing(self) -> None:
        """Send what was kept, and listen again."""
        if self._other is not None:
            self._other.resume_writing()
        elif isinstance(self._frames, _Backlog) and self._stalled_at is not None:
            kept, self._frames = self._frames.kept, None
            self._stalled_at = None
            self._transport.write(b"".join(kept))  # It may stall again.
            self._read_on()

    # What the session calls

    def send(self, frame: Frame) -> None:
        """Send `frame` at the end of this turn of the loop, joined with the others."""
        frames = self._frames
        if frames is not None:
            frames.append(frame.websocket)
        elif not self._is_closing:
            self._frames = [frame.websocket]
            self._turn.add(self)

    def close(self, code: int, reason: str) -> None:
        """Close after what waits was sent; of a stalled client, instead of what waits."""
        if self._is_closing:
            return
        self._leave()
        if self._inbound is not None and self._inbound.state is OPEN:
            self._inbound.send_close(code, reason)
            self._transport.write(b"".join(self._inbound.data_to_send()))

    def tick(self, now: float) -> None:
        """Give up a client that has been stalled too long."""
        if self._stalled_at is not None and now - self._stalled_at > self.PATIENCE:
            self.give_up()

    # What uvicorn calls

    def shutdown(self) -> None:
        """Leave: the process is about to end."""
        if self._other is not None:
            self._other.shutdown()
        elif self._is_closing or self._inbound is None:
            self._transport.close()
        else:
            self.close(Reconnect.code, "Server is going away")

    # Writing

    def flush(self) -> None:
        """Write what this turn has brought."""
        frames = self._frames
        if isinstance(frames, list):  # Neither written already, nor stalled.
            self._frames = None
            self._transport.write(frames[0] if len(frames) == 1 else b"".join(frames))

    def give_up(self) -> None:
        """End, in a moment, the session of a client that does not read."""
        self._stalled_at = None  # Once is enough.
        if self._session is not None:
            self._session.give_up()

    def _leave(self) -> None:
        """Send what waits, but not to a stalled client, and end the session; once."""
        if self._is_closing:
            return
        self._is_closing = True
        self.flush()
        if self._frames is not None:
            self._frames = self._stalled_at = None
            # It may answer, behind what was read of it already.
            self._turn.loop.call_soon(self._read_on)
        if self._session is not None:
            # Not now: the hub may be looking through the sockets of a topic.
            self._turn.loop.call_soon(self._session.closed)
        # A transport that closes waits for its reader, and there may be none.
        self._farewell = self._turn.loop.call_later(self.FAREWELL, self._transport.abort)

    # Reading

    def _begin(self, head: bytes) -> None:
        path, _, query = head.split(b" ", 2)[1].decode("latin-1").partition("?")
        key = _key_in(path)
        if key is None:
            self._hand_over(head)
            return
        request = self._shake_hands(head)
        if request is None:
            self._transport.close()
            return
        app = find_application(get_settings().apps, key=key)
        self._inbound = _Inbound(app.max_frame_size if app else _DEFAULT_MAX_FRAME_SIZE)
        self._bound_buffers()
        peer = _Peer.of(self._transport, self._config, request)
        if (reason := refusal(peer.address)) is not None:
            self.close(OverCapacity.code, reason)
            return
        self._address = peer.address
        self._session = open_session(
            key=key,
            version=protocol_version(query),
            origin=request.headers.get("Origin"),
            socket=self,
            is_secure=is_secure(peer.scheme, lambda name: ",".join(request.headers.get_all(name))),
        )

    def _bound_buffers(self) -> None:
        self._transport.set_write_buffer_limits(high=self.HIGH_WATER)
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            # Left to itself the kernel keeps megabytes for a client that does not read.
            sock.setsockopt(SOL_SOCKET, SO_SNDBUF, self.KERNEL_BUFFER)

    def _shake_hands(self, head: bytes) -> Request | None:
        """Answer the request; return it, or `None` where it is no proper one."""
        handshake = ServerProtocol(logger=_websockets_logger)
        request = _read_request(head)
        if request is None:
            handshake.receive_data(head)  # It knows what to answer, but for a body.
            answer = b"".join(handshake.data_to_send())
            bad = handshake.reject(HTTPStatus.BAD_REQUEST, "No request for a WebSocket.\n")
            self._transport.write(answer or bad.serialize())
            return None
        response = _refuse(handshake, request) or handshake.accept(request)
        if response.status_code != 101:
            self._transport.write(response.serialize())
            return None
        # Together with the greeting it is one write.
        self._frames = [response.serialize()]
        self._turn.add(self)
        return request

    def _hand_over(self, head: bytes) -> None:
        """Let uvicorn's own class serve the connection."""
        self._connections.discard(self)
        self._other = _OtherProtocol(
            config=self._config, server_state=self._server_state, app_state=self._app_state
        )
        self._other.connection_made(self._transport)
        self._other.data_received(head)
        # uvicorn is about to set this object. Until then it passes on what it is told.
        self._turn.loop.call_soon(self._transport.set_protocol, self._other)

    def _listen(self, wanted: bool) -> None:
        if self._transport.is_closing():
            return
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _read_on(self) -> None:
        """Look at the next piece of what was read: one client's flood must not hold up others."""
        if self._stalled_at is not None:
            return  # `resume_writing` calls again.
        inbound, data, self._unread = self._inbound, self._unread, None
        if inbound is not None and data is not None:
            self._unread = data[self.SLICE :] or None
            self._take(inbound, data[: self.SLICE])
        if self._unread is not None:
            self._listen(False)
            self._turn.loop.call_soon(self._read_on)
        elif self._stalled_at is None:
            self._listen(True)

    def _take(self, inbound: "_Inbound", data: bytes) -> None:
        inbound.receive_data(data)
        if self._is_closing:
            self._take_farewell(inbound)
            return
        if inbound.state is OPEN and (pongs := inbound.data_to_send()):
            # Before the answers to messages, in the midst of which a ping may have been.
            self.flush()
            self._transport.write(b"".join(pongs))
        for frame in inbound.events_received():
            # `Request` is an event of handshakes.
            if isinstance(frame, InboundFrame) and not self._is_closing:
                self._take_frame(inbound, frame)
        if isinstance(inbound.parser_exc, PayloadTooBig) and self._session is not None:
            self._session.dismiss(FrameTooLarge("A frame is over the limit"))
        if answers := inbound.data_to_send():
            self.flush()  # The last of them is a close, after which nothing may come.
            self._transport.write(b"".join(answers))
        if inbound.close_rcvd is not None:
            self._leave()
            self._transport.close()
        elif inbound.eof_sent and not self._transport.is_closing():
            # The rules of WebSockets were broken, and the client is told which. With more
            # of its data unread, closing both ways could keep that from arriving.
            self.close(CloseCode.PROTOCOL_ERROR, "")
            if self._transport.can_write_eof():
                self._transport.write_eof()

    def _take_farewell(self, inbound: "_Inbound") -> None:
        # Behind a close nothing is said, no pong either: it would wait for a client that
        # floods and does not read, however much that comes to.
        inbound.data_to_send()
        inbound.events_received()
        if inbound.close_rcvd is not None:
            self._transport.close()

    def _take_frame(self, inbound: "_Inbound", frame: InboundFrame) -> None:
        if frame.opcode is Opcode.TEXT and frame.fin:
            self._say(inbound, frame.data)
            return
        # Any frame is a sign of life (Pusher, "Channels protocol", "Ping and pong messages").
        if self._session is not None:
            self._session.noticed()
        if frame.opcode is Opcode.TEXT:
            self._partial = bytearray(frame.data)
        elif frame.opcode is Opcode.CONT and self._partial is not None:
            self._partial += frame.data
            if frame.fin:
                text, self._partial = self._partial, None
                self._say(inbound, text)
        # Binary messages are not part of the protocol, and pings are answered already.

    def _say(self, inbound: "_Inbound", data: Any) -> None:
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            inbound.fail(CloseCode.INVALID_DATA, "A text message that is not UTF-8")
        else:
            if self._session is not None:
                self._session.receive(text)


class _Inbound(Protocol):
    """The parser of one client's frames."""

    def __init__(self, max_size: int) -> None:
        super().__init__(SERVER, state=OPEN, max_size=max_size, logger=_websockets_logger)

    def fail(self, code: CloseCode | int, reason: str = "") -> None:
        """End the connection; for too big a frame with the code that every adapter gives."""
        if code == CloseCode.MESSAGE_TOO_BIG:
            code = FrameTooLarge.code
        super().fail(code, reason)

    def recv_frame(self, frame: InboundFrame) -> None:
        """Take a frame; a client may leave in the midst of a message, too."""
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)


class _Backlog:
    """
    The frames that wait for a stalled socket.

    Args:
        size: Bytes that wait in the transport already.
    """

    __slots__ = ("_size", "_socket", "kept")

    def __init__(self, socket: PusherProtocol, size: int, frames: Iterable[bytes]) -> None:
        self.kept: list[bytes] = []
        self._size = size
        self._socket: PusherProtocol | None = socket  # None once it was given up.
        for frame in frames:
            self.append(frame)

    def append(self, frame: bytes) -> None:
        """Keep `frame`, or give up the socket when too much waits."""
        if self._socket is None:
            return
        self.kept.append(frame)
        self._size += len(frame)
        if self._size > self._socket.LIMIT:
            self.kept.clear()
            socket, self._socket = self._socket, None
            socket.give_up()


class _Turn:
    """The sockets that have something to write at the end of this turn of the loop."""

    __slots__ = ("_sockets", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._sockets: list[PusherProtocol] = []

    def add(self, socket: PusherProtocol) -> None:
        """Have `socket` flushed."""
        if not self._sockets:
            self.loop.call_soon(self._end)
        self._sockets.append(socket)

    def _end(self) -> None:
        sockets, self._sockets = self._sockets, []
        for socket in sockets:
            try:
                socket.flush()
            except Exception:  # One socket must not cost the others their frames.
                logger.exception("Cannot write to a socket")


_get_turn = lru_cache(maxsize=8)(_Turn)


def _key_in(path: str) -> str | None:
    """Return the application key that `path` leads to, `None` if it leads elsewhere."""
    prefix = f"/{get_settings().server.path}/app/".replace("//", "/")
    path = unquote(path)
    key = path.removeprefix(prefix)
    return key if key and key != path and "/" not in key else None


def _refuse(handshake: ServerProtocol, request: Request) -> Response | None:
    """Return the answer to what `handshake` would bear, and the standards do not."""
    if request.headers.get_all("Sec-WebSocket-Version") != [_VERSION]:
        # RFC 6455, section 4.4: the client may come again with another one.
        text = f"This server speaks version {_VERSION} of WebSockets.\n"
        response = handshake.reject(HTTPStatus.UPGRADE_REQUIRED, text)
        response.headers["Upgrade"] = "websocket"
        response.headers["Sec-WebSocket-Version"] = _VERSION
        return response
    if len(request.headers.get_all("Host")) != 1:  # RFC 9112, section 3.2.
        return handshake.reject(HTTPStatus.BAD_REQUEST, "A request has one Host header.\n")
    return None


def _read_request(head: bytes) -> Request | None:
    # Beside a `ServerProtocol`, which can do the same, it takes half the time.
    reader = StreamReader()
    reader.feed_data(head)
    try:
        next(Request.parse(reader.read_line))
    except StopIteration as done:
        request: Request = done.value
        return request
    except Exception:
        logger.debug("A handshake that is no request", exc_info=True)
    return None


@dataclass(frozen=True, slots=True)
class _Peer:
    """
    The client, as told by the transport and, behind a proxy that is trusted, by the proxy.

    Attributes:
        address: The client's address; empty on a Unix socket without a proxy that tells.
        scheme: ``wss`` or ``ws``.
    """

    address: str
    scheme: str

    @classmethod
    def of(cls, transport: asyncio.Transport, config: "Config", request: Request) -> "_Peer":
        """Return who sent `request`."""
        name = transport.get_extra_info("peername")
        address = str(name[0]) if isinstance(name, tuple) else ""
        scheme = "ws" if transport.get_extra_info("sslcontext") is None else "wss"
        trusted = _trusted(config.forwarded_allow_ips if config.proxy_headers else [])
        if address in trusted:
            *_, told = ["", *request.headers.get_all("X-Forwarded-Proto")]
            if told.strip() in ("http", "ws", "https", "wss"):
                scheme = told.strip().replace("http", "ws")
            if told := ", ".join(request.headers.get_all("X-Forwarded-For")):
                address = trusted.get_trusted_client_address(told)[0] or address
        return cls(address[:_MAX_ADDRESS_LENGTH], scheme)


def _trusted(addresses: list[str] | str) -> Any:
    return _read_trusted(",".join(addresses) if isinstance(addresses, list) else addresses)


@lru_cache(maxsize=8)
def _read_trusted(addresses: str) -> Any:
    # uvicorn's own reading of --forwarded-allow-ips; the class behind it has no public name.
    return ProxyHeadersMiddleware(_no_application, addresses).trusted_hosts


async def _no_application(*args: object) -> None:
    raise NotImplementedError
