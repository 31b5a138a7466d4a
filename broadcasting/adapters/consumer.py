"""
The WebSocket side as a Channels consumer, for any ASGI server.

``await send(...)`` of an ASGI server may take as long as the client likes, or, under
daphne, return at once and let the process grow. So every socket has an outbox and one
task that empties it, and the outbox knows what the client has read: after every
`PING_EVERY` bytes it puts a ``pusher:ping`` into the stream, and it never has more
than `WINDOW` bytes beyond the last answered one under way. Clients answer these pings
by themselves (Pusher, "Ping and pong messages"); a socket with little traffic never
sees one.

A pong says nothing of which ping it answers. A client that lies, by sending pongs
without reading, is held back by servers whose ``send`` waits, uvicorn for one, but
not by daphne, which is a server for development.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer

from ..drivers.registry import warn_of_other_address
from ..protocol.errors import OverCapacity, PathNotFound
from ..protocol.messages import PING, Frame
from ..server.admission import get_admission
from ..server.session import Session
from .handshake import begin_session

logger = logging.getLogger("broadcasting.server")

Send = Callable[[dict[str, Any]], Awaitable[None]]


class PusherConsumer(AsyncConsumer):  # type: ignore[misc]  # channels ships no types
    """
    Serve one client at ``app/<key>``.

    The consumer takes no part in a channel layer: with a mailbox per socket each
    message would cost a queue, a task and an encoding per socket.
    """

    channel_layer_alias = None

    socket: "AsgiSocket"
    address: str | None  # Where the client is.
    session: Session | None = None  # There is none where the client may not stay.

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the handler, without the database housekeeping that hops to a thread."""
        match message["type"]:
            case "websocket.connect":
                await self.connect()
            case "websocket.receive":
                self.receive(message.get("text"))
            case "websocket.disconnect":
                await self.disconnect()
                raise StopConsumer

    async def connect(self) -> None:
        """Accept whoever comes; a refusal must follow the handshake to be understood."""
        await self.send({"type": "websocket.accept"})
        if self.scope.get("server") and self.scope["server"][1]:
            warn_of_other_address(self.scope["server"][1])
        self.socket = AsgiSocket(self.base_send)
        self.address = self.scope["client"][0] if self.scope.get("client") else None
        key = self.scope["url_route"]["kwargs"]["key"]
        self.session = begin_session(self.scope, key, self.socket, self.address)
        if self.session is not None:
            self.socket.on_slow = self.session.close_slow_reader

    def receive(self, text: str | None) -> None:
        """Pass on a text frame. Binary frames are not part of the protocol."""
        if text is not None and self.session is not None:
            self.session.receive(text)
            self.socket.acknowledge(self.session.connection.pongs)

    async def disconnect(self) -> None:
        """Forget the client."""
        if self.session is not None:
            self.session.closed()
            get_admission().release(self.address)
        await self.socket.stop()


class UnknownPathConsumer(AsyncConsumer):  # type: ignore[misc]  # channels ships no types
    """Refuse whoever comes, in a way that pusher-js understands as final."""

    channel_layer_alias = None

    socket: "AsgiSocket"

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Accept and close at once; whatever is said meanwhile is not heard."""
        match message["type"]:
            case "websocket.connect":
                await self.send({"type": "websocket.accept"})
                self.socket = AsgiSocket(self.base_send)
                self.socket.close(PathNotFound.code, "Path not found")
            case "websocket.disconnect":
                await self.socket.stop()
                raise StopConsumer


class AsgiSocket:
    """
    The outbox of one socket and the task that empties it.

    Args:
        send: The ASGI ``send`` of an accepted WebSocket.
        limit: Bytes that may wait in the outbox.
        patience: Seconds that a frame may wait in the outbox.
        farewell: Seconds between an error of `send` and the news that the client has gone.
    """

    PING_EVERY = 64 * 1024
    WINDOW = 256 * 1024

    def __init__(
        self,
        send: Send,
        *,
        limit: int = 1024 * 1024,
        patience: float = 10.0,
        farewell: float = 5.0,
    ) -> None:
        self._send = send
        self._limit = limit
        self._patience = patience
        self._farewell = farewell
        self._clock = asyncio.get_running_loop().time
        self._frames: deque[tuple[Frame, float]] = deque()  # With the time of queueing.
        self._waiting = 0  # Bytes in `_frames`.
        self._closing: tuple[int, str] | None = None
        self._wake = asyncio.Event()
        # Positions in the stream, in bytes from its beginning.
        self._sent = 0
        self._acknowledged = 0
        self._pings: deque[int] = deque()  # Where pings without an answer were sent.
        self._pongs = 0
        # Called when the client is given up.
        self.on_slow: Callable[[], object] | None = None
        self._task = asyncio.create_task(self._write())

    def send(self, frame: Frame) -> None:
        """Queue `frame`, or close with 4100 when too much waits."""
        if self._closing is not None:
            return
        self._frames.append((frame, self._clock()))
        self._waiting += frame.size
        if self._waiting > self._limit:
            self._give_up()
        self._wake.set()

    def close(self, code: int, reason: str) -> None:
        """Close after what waits was sent."""
        if self._closing is None:
            self._closing = (code, reason)
            self._wake.set()

    def tick(self, now: float) -> None:
        """Close with 4100 when the oldest frame has waited too long."""
        if self._frames and now - self._frames[0][1] > self._patience:
            self._give_up()

    def acknowledge(self, pongs: int) -> None:
        """Note that the client has answered `pongs` pings since it connected."""
        while self._pongs < pongs:
            self._pongs += 1
            if self._pings:  # A client may send pongs that nobody asked for.
                self._acknowledged = self._pings.popleft()
                self._wake.set()

    async def stop(self) -> None:
        """End the task: the client is gone."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _give_up(self) -> None:
        """Close without sending what waits: the client would not read it."""
        if self.on_slow is not None:
            self.on_slow()
        self._frames.clear()
        self._waiting = 0
        self._acknowledged = self._sent
        if self._closing is None:
            self._closing = (OverCapacity.code, "Too slow a reader")
        self._wake.set()

    async def _write(self) -> None:
        try:
            while True:
                await self._write_frames()
                if self._closing is not None and not self._frames:
                    code, reason = self._closing
                    await self._send({"type": "websocket.close", "code": code, "reason": reason})
                    return
                self._wake.clear()
                await self._wake.wait()
        except OSError:
            return  # The client has gone; the server will say so.
        except Exception:  # Servers have errors of their own; nobody else awaits this task.
            # uvicorn has one for a client that broke the rules of WebSockets, and says a
            # moment later that it has gone: `stop` then ends the wait.
            await asyncio.sleep(self._farewell)
            logger.exception("Cannot write to a socket")

    async def _write_frames(self) -> None:
        while self._frames and self._sent - self._acknowledged <= self.WINDOW:
            frame, _ = self._frames.popleft()
            self._waiting -= frame.size
            await self._write_frame(frame)
            if not self._pings and self._sent - self._acknowledged >= self.PING_EVERY:
                await self._write_frame(PING)

    async def _write_frame(self, frame: Frame) -> None:
        self._sent += frame.size
        if frame is PING:
            self._pings.append(self._sent)
        await self._send({"type": "websocket.send", "text": frame.text})
