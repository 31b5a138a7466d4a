"""
A client's socket under any ASGI server.

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
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..drivers.registry import warn_of_other_address
from ..protocol.errors import OverCapacity, PathNotFound
from ..protocol.messages import PING, Frame
from ..server.admission import get_admission
from .handshake import begin_session

logger = logging.getLogger("broadcasting.server")

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def serve_client(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """
    Serve one client at ``app/<key>``, as an ASGI application below Channels' router.

    It is no consumer of Channels: with a mailbox per socket each message would cost a
    queue, a task and an encoding per socket.
    """
    if scope.get("server") and scope["server"][1]:
        warn_of_other_address(scope["server"][1])
    socket = await _accept(receive, send)
    address = scope["client"][0] if scope.get("client") else None
    session = begin_session(scope, scope["url_route"]["kwargs"]["key"], socket, address)
    try:
        if session is not None:
            socket.on_slow = session.close_slow_reader
        while (message := await receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            # Binary frames are not part of the protocol.
            if text is not None and session is not None:
                session.receive(text)
                socket.acknowledge(session.connection.pongs)
    finally:
        if session is not None:
            session.closed()
            get_admission().release(address)
        await socket.stop()


async def refuse_path(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Refuse whoever comes, in a way that pusher-js understands as final."""
    socket = await _accept(receive, send)
    socket.close(PathNotFound.code, "Path not found")
    try:
        while (await receive())["type"] != "websocket.disconnect":
            pass
    finally:
        await socket.stop()


async def _accept(receive: Receive, send: Send) -> "AsgiSocket":
    # Whoever comes: a refusal must follow the handshake to be understood.
    await receive()
    await send({"type": "websocket.accept"})
    return AsgiSocket(send)


class AsgiSocket:
    """
    The outbox of one socket and the task that empties it.

    Attributes:
        on_slow: Called when the client reads too slowly.
    """

    LIMIT = 1024 * 1024  # Bytes that may wait in the outbox.
    PATIENCE = 10.0  # Seconds that a frame may wait in it.
    PING_EVERY = 64 * 1024
    WINDOW = 256 * 1024
    FAREWELL = 5.0  # Seconds between an error of `send` and the news that the client has gone.

    def __init__(self, send: Send) -> None:
        self.on_slow: Callable[[], object] | None = None
        self._send = send
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
        self._task = asyncio.create_task(self._write())

    def send(self, frame: Frame) -> None:
        """Queue `frame`, or close with 4100 when too much waits."""
        if self._closing is not None:
            return
        self._frames.append((frame, self._clock()))
        self._waiting += frame.size
        if self._waiting > self.LIMIT:
            self._close_slow_reader()
        self._wake.set()

    def close(self, code: int, reason: str) -> None:
        """Close after what waits was sent."""
        if self._closing is None:
            self._closing = (code, reason)
            self._wake.set()

    def tick(self, now: float) -> None:
        """Close with 4100 when the oldest frame has waited too long."""
        if self._frames and now - self._frames[0][1] > self.PATIENCE:
            self._close_slow_reader()

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

    def _close_slow_reader(self) -> None:
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
            await asyncio.sleep(self.FAREWELL)
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
