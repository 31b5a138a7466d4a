"""A client and the server's side of its connection, joined without a network."""

import asyncio
import json
from typing import Any

from uvicorn.config import Config
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.uri import parse_uri

from broadcasting.adapters.uvicorn.http import HttpProtocol
from broadcasting.adapters.uvicorn.protocol import PusherProtocol
from broadcasting.adapters.uvicorn.state import State
from broadcasting.conf import get_settings
from tests.server.fakes import settle
from tests.utils import subscribe


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Accept a WebSocket of the project's own, and wait for its end."""
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


CONFIG = Config(application, http=HttpProtocol, lifespan="off", log_config=None)
CONFIG.load()


class FakeTransport(asyncio.Transport):
    """
    Keeps what is written.

    Attributes:
        writes: What was written, one entry for each call.
        waiting: Bytes that count as not sent yet.
        is_read: Whether it would hand over what the client sends.
        is_half_closed: Whether the client has been told that nothing more comes.
        end: ``closed`` or ``aborted``, once it is.
    """

    def __init__(self, **extra: Any) -> None:
        super().__init__({"peername": ("192.0.2.1", 50_000), **extra})
        self.writes: list[bytes] = []
        self.waiting = 0
        self.is_read = True
        self.is_half_closed = False
        self.end: str | None = None
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_half_closed = True

    def is_closing(self) -> bool:
        return self.end is not None

    def close(self) -> None:
        self.end = self.end or "closed"

    def abort(self) -> None:
        self.end = "aborted"


class Knock:
    """A connection on which a client sends bytes, and what its transport knows of it."""

    def __init__(self, **extra: Any) -> None:
        self.state = State(None, 10)
        self.transport = FakeTransport(**extra)
        self.http = HttpProtocol(CONFIG, self.state, {}, asyncio.get_running_loop())
        self.http.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        """Hand `data` to whatever serves the connection by now."""
        (self.transport.protocol or self.http).data_received(data)

    def leave(self) -> None:
        """Break the connection off."""
        (self.transport.protocol or self.http).connection_lost(None)


class Visitor(Knock):
    """A client that has asked for a WebSocket."""

    def __init__(self, path: str | None = None, *headers: tuple[str, str], **extra: Any) -> None:
        super().__init__(**extra)
        path = path or f"/app/{get_settings().apps[0].key}?protocol=7"
        self.client = ClientProtocol(parse_uri(f"ws://testserver{path}"))
        request = self.client.connect()
        for name, value in headers:
            request.headers[name] = value
        self.client.send_request(request)
        self.pass_on()

    @property
    def protocol(self) -> PusherProtocol:
        """What serves the client."""
        assert isinstance(self.transport.protocol, PusherProtocol)
        return self.transport.protocol

    def say(self, text: str) -> None:
        """Send a text frame."""
        self.client.send_text(text.encode())
        self.pass_on()

    def pass_on(self) -> None:
        """Pass to the server what the client sends."""
        self.send(b"".join(self.client.data_to_send()))

    async def hear(self) -> list[Any]:
        """Return what was written since the last call: events, and the close."""
        await settle()
        data, self.transport.writes = b"".join(self.transport.writes), []
        self.client.receive_data(data)
        heard: list[Any] = []
        for frame in self.client.events_received():
            if isinstance(frame, Frame):
                if frame.opcode is Opcode.TEXT:
                    heard.append(json.loads(bytes(frame.data))["event"])
                elif frame.opcode is Opcode.CLOSE:
                    heard.append(Close.parse(frame.data))
                else:
                    heard.append((frame.opcode, bytes(frame.data)))
        return heard

    def is_heard(self) -> bool:
        """Whether the server reads what the visitor says."""
        return self.transport.is_read

    async def join(self, channel: str) -> None:
        """Subscribe, and forget what was said so far."""
        self.say(subscribe(channel))
        await settle()
        assert (await self.hear())[-1] == "pusher_internal:subscription_succeeded"
