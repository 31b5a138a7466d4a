"""
A client that sends what it is told to, byte for byte, and the servers that bear it.

Libraries refuse to break the rules of WebSockets; what must be said about broken ones is
written here by hand (RFC 6455, section 5).
"""

import asyncio
import json
import re
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import cycle
from typing import Any

from broadcasting.applications import Application
from broadcasting.drivers.pusher import PusherBroadcaster
from broadcasting.protocol.names import is_guarded
from broadcasting.protocol.signatures import sign_channel
from tests.adapters import manners_settings
from tests.conftest import RunningServer
from tests.utils import decode, subscribe

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # The example of section 1.3, and the answer to it.
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
PATIENCE = 10.0  # Seconds that anything may take that does not wait for a timeout.


def application(raw: Mapping[str, Any]) -> Application:
    """Return an application of `manners_settings`."""
    return Application(id=raw["ID"], key=raw["KEY"], secret=raw["SECRET"])


USUAL, HASTY, SMALL, GRACE = map(
    application,
    (
        manners_settings.USUAL,
        manners_settings.HASTY,
        manners_settings.SMALL,
        manners_settings.GRACE,
    ),
)


def ws_frame(
    payload: bytes | str = b"",
    opcode: int = TEXT,
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\x12\x34\x56\x78",
) -> bytes:
    """Return a frame; `rsv` are the three reserved bits, as a number up to 7."""
    data = payload.encode() if isinstance(payload, str) else payload
    size, bit = len(data), 0 if mask is None else 0x80
    if size < 126:
        length = bytes([bit | size])
    elif size < 65_536:
        length = bytes([bit | 126]) + size.to_bytes(2)
    else:
        length = bytes([bit | 127]) + size.to_bytes(8)
    first = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if mask is None:
        return first + length + data
    return first + length + mask + bytes(a ^ b for a, b in zip(data, cycle(mask)))


def fragments(payload: bytes, size: int) -> list[bytes]:
    """Return a text message in frames of `size` bytes each."""
    pieces = [payload[i : i + size] for i in range(0, len(payload), size)]
    return [
        ws_frame(piece, TEXT if i == 0 else CONT, fin=i == len(pieces) - 1)
        for i, piece in enumerate(pieces)
    ]


def close_frame(code: int | None = None, reason: bytes = b"") -> bytes:
    """Return a client's close."""
    return ws_frame(b"" if code is None else code.to_bytes(2) + reason, CLOSE)


def request(
    site: RunningServer,
    app: Application = USUAL,
    *more: str,
    line: str | None = None,
    without: Sequence[str] = (),
) -> bytes:
    """Return the head of a handshake: `without` some headers, and with `more` of them."""
    lines = [
        f"Host: 127.0.0.1:{site.port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {KEY}",
    ]
    lines = [text for text in lines if text.partition(":")[0] not in without]
    line = line or f"GET /app/{app.key}?protocol=7 HTTP/1.1"
    return "\r\n".join([line, *lines, *more, "", ""]).encode()


class Wire:
    """
    One TCP connection to a server.

    Attributes:
        socket_id: What the server calls it, once it was greeted.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.socket_id = ""
        self._app = USUAL
        _wires.append(self)

    @classmethod
    async def connect(cls, site: RunningServer, address: str = "127.0.0.1") -> "Wire":
        """Open a connection from a local `address` and say nothing."""
        return cls(
            *await asyncio.open_connection(
                "127.0.0.1", site.port, limit=4 * 1024 * 1024, local_addr=(address, 0)
            )
        )

    @classmethod
    async def open(cls, site: RunningServer, app: Application = USUAL) -> "Wire":
        """Open a WebSocket and be greeted."""
        wire = await cls.connect(site)
        wire._app = app
        await wire.send(request(site, app))
        status, headers = await wire.head()
        assert (status, headers["sec-websocket-accept"]) == (101, ACCEPT)
        greeting = await wire.hear()
        assert greeting["event"] == "pusher:connection_established"
        wire.socket_id = greeting["data"]["socket_id"]
        return wire

    async def send(self, *data: bytes) -> None:
        """Send bytes. A server that has gone meanwhile is no failure."""
        with suppress(ConnectionError):
            self.writer.write(b"".join(data))
            await self.writer.drain()

    async def say(self, text: str) -> None:
        """Send a text frame."""
        await self.send(ws_frame(text))

    async def ask_for(self, channel: str, member: str | None = None) -> None:
        """Subscribe, as `member` to a presence channel, without waiting."""
        data = None if member is None else json.dumps({"user_id": member})
        auth = None
        if is_guarded(channel):
            auth = sign_channel(self._app, self.socket_id, channel, data)
        await self.say(subscribe(channel, auth=auth, channel_data=data))

    async def join(self, channel: str, member: str | None = None) -> dict[str, Any]:
        """Subscribe; return the confirmation."""
        await self.ask_for(channel, member)
        return await self.until("pusher_internal:subscription_succeeded")

    async def head(self) -> tuple[int, dict[str, str]]:
        """Return status and headers of the HTTP answer."""
        async with asyncio.timeout(PATIENCE):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").rstrip().split("\r\n")
        pairs = [line.partition(":")[::2] for line in lines]
        return int(first.split()[1]), {name.lower(): value.strip() for name, value in pairs}

    async def frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the server's next frame. Raise where there is none."""
        async with asyncio.timeout(PATIENCE):
            first, second = await self.reader.readexactly(2)
            assert first & 0x70 == 0, "No extension was agreed on"
            assert first & 0x80, "The server does not fragment"
            assert second & 0x80 == 0, "A server does not mask"
            size = second
            if size > 125:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
            return first & 0x0F, await self.reader.readexactly(size)

    async def hear(self) -> dict[str, Any]:
        """Return the next event; pings of Pusher's are answered."""
        while True:
            opcode, payload = await self.frame()
            assert opcode == TEXT, (opcode, payload)
            event = decode(payload.decode())
            if event["event"] != "pusher:ping":
                return event
            await self.say('{"event":"pusher:pong"}')

    async def until(self, name: str) -> dict[str, Any]:
        """Return the next event of a name, whatever comes before it."""
        while (event := await self.hear())["event"] != name:
            pass
        return event

    async def close_code(self) -> int | None:
        """
        Read on to the server's close, answer it, and see the connection end.

        Return its code, `None` where the connection ends without one.
        """
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                opcode, payload = await self.frame()
                if opcode == CLOSE:
                    await self.send(ws_frame(payload, CLOSE))
                    await self.end()
                    return int.from_bytes(payload[:2]) if payload else 1005
        return None

    async def end(self) -> bytes:
        """Return what still comes before the server ends the connection."""
        rest = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                rest = await self.reader.read()
        self.abort()
        return rest

    async def serves(self) -> None:
        """See that the server answers."""
        await self.say('{"event":"pusher:ping"}')
        await self.until("pusher:pong")

    def abort(self) -> None:
        """Break off."""
        self.writer.transport.abort()


_wires: list[Wire] = []


async def hang_up() -> None:
    """Break off whatever is open. A test that opens wires ends with this."""
    while _wires:
        wire = _wires.pop()
        wire.abort()
        with suppress(ConnectionError):
            await wire.writer.wait_closed()


def hurry(site: RunningServer) -> None:
    """End `site` as Ctrl+C does: nobody is there who would want it to take its time."""
    site.process.send_signal(signal.SIGINT)
    assert site.process.wait(PATIENCE) == 0, site.log_text()


async def serves(site: RunningServer, app: Application = USUAL) -> None:
    """See that `site` admits a newcomer, who joins a channel, within a second."""
    async with asyncio.timeout(1):
        wire = await Wire.open(site, app)
        await wire.join("newcomer")
    wire.abort()


def publisher(site: RunningServer, app: Application = USUAL) -> PusherBroadcaster:
    """Return a client of the site's HTTP API; close it."""
    return PusherBroadcaster(app=app, first_app_id=USUAL.id, url=site.url)


def metrics(site: RunningServer) -> dict[str, float]:
    """
    Return the numbers of all workers of `site`, added up.

    The key is the metric's name without its prefix, with its labels but for the worker:
    ``refused_total{reason="address"}``.
    """
    numbers: dict[str, float] = {}
    for line in site.fetch("/metrics", timeout=10).splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            name = re.sub(r'worker="\d+",?', "", name).replace("{}", "")
            name = name.replace(",}", "}").removeprefix("broadcasting_")
            numbers[name] = numbers.get(name, 0) + float(value)
    return numbers


def memory(site: RunningServer) -> float:
    """Return the resident memory of the largest worker of `site`, in MiB."""
    # Not of all: one that was held up is left out for a while by the others.
    text = site.fetch("/metrics", timeout=10)
    values = re.findall(r"^process_resident_memory_bytes\S* (\S+)$", text, re.M)
    return max(map(float, values)) / 2**20
