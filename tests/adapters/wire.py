"""
A client that sends what it is told to, byte for byte.

Libraries refuse to break the rules of WebSockets; what must be said about broken ones is
written here by hand (RFC 6455, section 5).
"""

import asyncio
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from broadcasting.applications import Application
from broadcasting.drivers.pusher import PusherBroadcaster
from broadcasting.protocol.names import is_guarded
from broadcasting.protocol.signatures import sign_channel
from tests.adapters import site_settings
from tests.conftest import RunningServer
from tests.utils import decode, subscribe

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # The example of section 1.3.
PATIENCE = 60.0  # Seconds that anything may take, on however busy a machine.
APP = Application(
    id=site_settings.APP["ID"], key=site_settings.APP["KEY"], secret=site_settings.APP["SECRET"]
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


def request(path: str = f"/app/{APP.key}?protocol=7", **fields: str | None) -> bytes:
    """Return the head of a handshake; `fields` are headers in other words than usual."""
    headers: Mapping[str, str | None] = {
        "Host": "127.0.0.1:1",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        **fields,
    }
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


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
        _wires.append(self)

    @classmethod
    async def connect(cls, site: RunningServer) -> "Wire":
        """Open a connection and say nothing."""
        return cls(*await asyncio.open_connection("127.0.0.1", site.port, limit=2**22))

    @classmethod
    async def open(cls, site: RunningServer) -> "Wire":
        """Open a WebSocket and be greeted."""
        wire = await cls.connect(site)
        await wire.send(request())
        assert (await wire.head())[0] == 101
        await wire.greeted()
        return wire

    async def greeted(self) -> None:
        """Hear the greeting."""
        greeting = await self.hear()
        assert greeting["event"] == "pusher:connection_established"
        assert greeting["data"]["activity_timeout"] == 30
        self.socket_id = greeting["data"]["socket_id"]

    async def send(self, *data: bytes) -> None:
        """Send bytes. A server that has gone meanwhile is no failure."""
        with suppress(ConnectionError):
            self.writer.write(b"".join(data))
            await self.writer.drain()

    async def say(self, text: str) -> None:
        """Send a text frame."""
        await self.send(ws_frame(text))

    async def join(self, channel: str) -> None:
        """Subscribe, and hear that."""
        auth = sign_channel(APP, self.socket_id, channel) if is_guarded(channel) else None
        await self.say(subscribe(channel, auth=auth))
        await self.until("pusher_internal:subscription_succeeded")

    async def head(self) -> tuple[int, bytes]:
        """Return status and head of the HTTP answer."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1]), head

    async def frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the server's next frame. Raise where there is none."""
        async with asyncio.timeout(PATIENCE):
            first, second = await self.reader.readexactly(2)
            assert first & 0xF0 == 0x80, "No extension was agreed on, and nothing is fragmented"
            assert second & 0x80 == 0, "A server does not mask"
            size = second
            if size > 125:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
            return first & 0x0F, await self.reader.readexactly(size)

    async def text(self) -> str:
        """Return the next text frame; pings of Pusher's are answered."""
        while True:
            opcode, payload = await self.frame()
            assert opcode == TEXT, (opcode, payload)
            if b'"pusher:ping"' not in payload:
                return payload.decode()
            await self.say('{"event":"pusher:pong"}')

    async def hear(self) -> dict[str, Any]:
        """Return the next event."""
        return decode(await self.text())

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

    async def end(self) -> None:
        """See the server end the connection."""
        with suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while await self.reader.read(65_536):
                    pass
        self.abort()

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


def publisher(site: RunningServer) -> PusherBroadcaster:
    """Return a client of the site's HTTP API; close it."""
    return PusherBroadcaster(app=APP, first_app_id=APP.id, url=site.url)


def metrics(port: int) -> dict[str, float]:
    """
    Return the numbers of all workers of a site, added up.

    The key is the metric's name without its prefix, with its labels but for the worker:
    ``refused_total{reason="address"}``.
    """
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as response:
        lines = response.read().decode().splitlines()
    numbers: dict[str, float] = {}
    for line in lines:
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            name = re.sub(r'worker="\d+",?', "", name).replace("{}", "")
            name = name.replace(",}", "}").removeprefix("broadcasting_")
            numbers[name] = numbers.get(name, 0) + float(value)
    return numbers


def memory(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
