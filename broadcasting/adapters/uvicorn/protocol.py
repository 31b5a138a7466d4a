"""
The WebSocket of one client, written straight to uvicorn's transport.

Theory of operation
-------------------

`HttpProtocol` reads the request, and makes a `PusherProtocol` of what is addressed to
``app/<key>``. Inbound, `websockets` parses. Outbound, a frame is bytes already: it is put
on the socket's list, and the lists of all sockets are written at the end of the loop's
turn, one write each. A socket at rest has no list, no task, no timer and no queue.

A socket is *stalled* while the transport holds more than it should. Then frames go to a
`Backlog`, and nothing more is read from the client, whose requests would only make more
to send. A backlog that grows too large, or a stall that lasts too long, ends the
connection with 4100.

Rules of this file: `send` and `close` do not await, block or raise, and change nothing
that the hub may be looking through at the moment.
"""

import asyncio
from socket import SO_SNDBUF, SOL_SOCKET
from typing import TYPE_CHECKING, Any

from websockets.frames import CloseCode
from websockets.protocol import OPEN

from ...applications import find_application
from ...conf import get_settings
from ...protocol.errors import FrameTooLarge, Reconnect
from ...protocol.messages import Frame
from ...server.admission import get_admission
from ...server.session import Session
from ..handshake import begin_session
from .backlog import Backlog
from .inbound import Inbound
from .write_batch import get_write_batcher

if TYPE_CHECKING:
    from uvicorn.server import ServerState

_DEFAULT_MAX_FRAME_SIZE = 16_384  # For a client that is about to be refused.
_MAX_ADDRESS_LENGTH = 45  # As text, IPv6 has no longer ones.

HIGH_WATER = 64 * 1024  # Bytes in the transport from which on a socket is stalled.
KERNEL_BUFFER = 128 * 1024  # Bytes; Linux takes twice as many.
SLICE = 4096  # Bytes of one client that are looked at in one turn of the loop.


class PusherProtocol(asyncio.Protocol):
    """
    One client's connection, from the moment when its WebSocket is open.

    It is the session's `Socket`, and one of the connections that uvicorn's server counts.
    """

    FAREWELL = 5.0  # Seconds that a client may take to answer a close.

    __slots__ = (
        "_address",
        "_batcher",
        "_connections",
        "_farewell",
        "_frames",
        "_inbound",
        "_is_closing",
        "_session",
        "_unread",
        "transport",
    )

    def __init__(self, transport: asyncio.Transport, server_state: "ServerState") -> None:
        self.transport = transport  # Under the name that uvicorn's classes have for it.
        # uvicorn knows its own classes only.
        self._connections: set[Any] = server_state.connections
        self._batcher = get_write_batcher(asyncio.get_running_loop())
        self._inbound: Inbound
        self._session: Session | None = None
        self._address = ""
        # What is to be written at the end of this turn; None when nothing is.
        self._frames: list[bytes] | Backlog | None = None
        self._unread: bytes | None = None  # What was read, and not yet looked at.
        self._is_closing = False
        self._farewell: asyncio.TimerHandle | None = None

    def open(self, key: str, scope: dict[str, Any], answer: bytes) -> None:
        """
        Begin to serve the client.

        Args:
            key: The application key in the request's path.
            scope: The request, as ASGI describes it.
            answer: The response that opens the WebSocket.
        """
        self._connections.add(self)
        self.transport.set_protocol(self)
        self.transport.set_write_buffer_limits(high=HIGH_WATER)
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            # Left to itself the kernel keeps megabytes for a client that does not read.
            sock.setsockopt(SOL_SOCKET, SO_SNDBUF, KERNEL_BUFFER)
        app = find_application(get_settings().apps, key=key)
        self._inbound = Inbound(app.max_frame_size if app else _DEFAULT_MAX_FRAME_SIZE)
        # Together with the greeting it is one write.
        self._frames = [answer]
        self._batcher.add(self)
        if scope["client"] is not None:
            self._address = scope["client"][0][:_MAX_ADDRESS_LENGTH]
        self._session = begin_session(scope, key, self, self._address)

    # What the transport calls

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._is_closing = True
        self._frames = self._unread = None
        if self._farewell is not None:
            self._farewell.cancel()
        if self._session is not None:
            self._session.closed()
            self._session = None
            get_admission().release(self._address)

    def data_received(self, data: bytes) -> None:
        if self._unread is not None:  # Reading has stopped, but it may have been too late.
            self._unread += data
        elif len(data) > SLICE:
            self._unread = data
            self._read_on()
        else:
            self._take(data)

    def eof_received(self) -> None:
        # The transport closes by itself: a client that says no more is gone.
        self._begin_close()

    def pause_writing(self) -> None:
        if self._is_closing:
            return
        self._set_reading(False)
        frames = self._frames if isinstance(self._frames, list) else ()
        loop, size = self._batcher.loop, self.transport.get_write_buffer_size()
        self._frames = Backlog(loop.time(), size, frames, self._close_slow_reader)

    def resume_writing(self) -> None:
        backlog = self._frames
        if isinstance(backlog, Backlog) and not backlog.is_slow:
            self._frames = None
            self.transport.write(b"".join(backlog.frames))  # It may stall again.
            self._read_on()

    # What the session calls

    def send(self, frame: Frame) -> None:
        """Send `frame` at the end of this turn of the loop, joined with the others."""
        frames = self._frames
        if frames is not None:
            frames.append(frame.websocket)
        elif not self._is_closing:
            self._frames = [frame.websocket]
            self._batcher.add(self)

    def close(self, code: int, reason: str) -> None:
        """Close after what waits was sent; of a stalled client, instead of what waits."""
        if self._is_closing:
            return
        self._begin_close()
        if self._inbound.state is OPEN:
            self._inbound.send_close(code, reason)
            self.transport.write(b"".join(self._inbound.data_to_send()))

    def tick(self, now: float) -> None:
        if isinstance(self._frames, Backlog):
            self._frames.tick(now)

    # What the server calls

    def shutdown(self) -> None:
        """Close: the process is about to end."""
        if self._is_closing:
            self.transport.close()
        else:
            self.close(Reconnect.code, "Server is going away")

    # Writing

    def flush(self) -> None:
        """Write what this turn has brought."""
        frames = self._frames
        if isinstance(frames, list):  # Neither written already, nor stalled.
            self._frames = None
            self.transport.write(frames[0] if len(frames) == 1 else b"".join(frames))

    def _close_slow_reader(self) -> None:
        if self._session is not None:
            self._session.close_slow_reader()

    def _begin_close(self) -> None:
        """Send what waits, but not to a stalled client, and end the session; once."""
        if self._is_closing:
            return
        self._is_closing = True
        self.flush()
        loop = self._batcher.loop
        if self._frames is not None:
            self._frames = None
            # It may answer, behind what was read of it already.
            loop.call_soon(self._read_on)
        if self._session is not None:
            # Not now: the hub may be looking through the sockets of a topic.
            loop.call_soon(self._session.closed)
        # A transport that closes waits for its reader, and there may be none.
        self._farewell = loop.call_later(self.FAREWELL, self.transport.abort)

    # Reading

    def _set_reading(self, wanted: bool) -> None:
        transport = self.transport
        if not transport.is_closing():
            (transport.resume_reading if wanted else transport.pause_reading)()

    def _read_on(self) -> None:
        """Look at the next piece of what was read: one client's flood must not hold up others."""
        if isinstance(self._frames, Backlog):
            return  # `resume_writing` or `_begin_close` calls again.
        data, self._unread = self._unread, None
        if data is not None:
            self._unread = data[SLICE:] or None
            self._take(data[:SLICE])
        if self._unread is not None:
            self._set_reading(False)
            self._batcher.loop.call_soon(self._read_on)
        elif not isinstance(self._frames, Backlog):
            self._set_reading(True)

    def _take(self, data: bytes) -> None:
        inbound = self._inbound
        inbound.receive_data(data)
        if self._is_closing:
            # Behind a close nothing is said, no pong either: it would wait for a client that
            # floods and does not read, however much that comes to.
            inbound.data_to_send()
            inbound.events_received()
            if inbound.has_closed:
                self.transport.close()
            return
        if inbound.state is OPEN and (pongs := inbound.data_to_send()):
            # Before the answers to messages, in the midst of which a ping may have been.
            self.flush()
            self.transport.write(b"".join(pongs))
        self._pass_on(inbound)
        if answers := inbound.data_to_send():
            self.flush()  # The last of them is a close, after which nothing may come.
            self.transport.write(b"".join(answers))
        if inbound.has_closed:
            self._begin_close()
            self.transport.close()
        elif inbound.has_failed and not self.transport.is_closing():
            # The rules of WebSockets were broken, and the client is told which. With more
            # of its data unread, closing both ways could keep that from arriving.
            self.close(CloseCode.PROTOCOL_ERROR, "")
            if self.transport.can_write_eof():
                self.transport.write_eof()

    def _pass_on(self, inbound: Inbound) -> None:
        if (session := self._session) is None:
            return
        for text in inbound.messages():
            if self._is_closing:
                return
            if text is not None:
                session.receive(text)
            else:
                # Any frame is a sign of life (Pusher, "Ping and pong messages").
                session.note_activity()
        if inbound.is_too_large:
            session.close(FrameTooLarge("A frame is over the limit"))
