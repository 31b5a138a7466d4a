"""Clients of a site behind a proxy: a socket, and signed requests."""

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPMessage, HTTPSConnection
from itertools import count
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from broadcasting.applications import Application
from broadcasting.protocol.names import is_guarded, is_presence
from broadcasting.protocol.signatures import sign_channel, sign_request
from tests.deploy.programs import Place
from tests.deploy.site import settings
from tests.utils import await_until, decode, pong, subscribe

PATIENCE = 20.0
MAIN = Application(id="1", key=settings.MAIN["KEY"], secret=settings.MAIN["SECRET"])
SECURE = Application(id="2", key=settings.SECURE["KEY"], secret=settings.SECURE["SECRET"])

_addresses = (f"127.{a}.{b}.1" for a in range(1, 255) for b in range(255))
marks = count(1)


def new_address() -> str:
    """Return an address of this machine that no client has come from yet."""
    return next(_addresses)


def trusting() -> ssl.SSLContext:
    """Return a context that believes the tests' certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    """
    A page with a socket. It reads all the time and answers pings.

    Attributes:
        frames: What the server has sent, but for pings.
        socket_id: What the server calls it; empty if it was refused.
    """

    def __init__(self, socket: ClientConnection, app: Application) -> None:
        self.frames: list[dict[str, Any]] = []
        self.socket_id = ""
        self._socket = socket
        self._app = app
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls,
        place: Place,
        app: Application = MAIN,
        *,
        address: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> "Client":
        """Connect, from an address of its own unless one is given; a refused one is returned."""
        is_tls = place.is_tls
        socket = await connect(
            f"{'wss' if is_tls else 'ws'}://127.0.0.1:{place.port}/app/{app.key}?protocol=7",
            ssl=trusting() if is_tls else None,
            additional_headers=headers,
            local_addr=(address or new_address(), 0),
        )
        client = cls(socket, app)
        await await_until(lambda: client.socket_id or not client.is_open, PATIENCE, "a greeting")
        return client

    @property
    def is_open(self) -> bool:
        """Whether the connection lives."""
        return not self._reader.done()

    async def send(self, text: str) -> None:
        """Send a frame."""
        await self._socket.send(text)

    async def join(self, channel: str, user: str = "", auth: str | None = None) -> None:
        """Subscribe, as `user` to a presence channel."""
        data = json.dumps({"user_id": user}) if is_presence(channel) else None
        if auth is None and is_guarded(channel):
            auth = sign_channel(self._app, self.socket_id, channel, data)
        await self.send(subscribe(channel, auth=auth, channel_data=data))
        await self.heard("pusher_internal:subscription_succeeded", channel)

    def log(self, event: str, channel: str) -> list[Any]:
        """Return the data of what came so far."""
        return [
            frame.get("data")
            for frame in self.frames
            if (frame["event"], frame.get("channel")) == (event, channel)
        ]

    async def heard(self, event: str, channel: str) -> Any:
        """Wait for an event; return its data."""
        await await_until(lambda: self.log(event, channel), PATIENCE, f"{event} on {channel}")
        return self.log(event, channel)[-1]

    async def close_code(self, timeout: float = PATIENCE) -> int | None:
        """Return the code with which the server ends the connection."""
        async with asyncio.timeout(timeout):
            await self._socket.wait_closed()
        return self._socket.close_code

    async def close(self) -> None:
        """Go, as a closed page does."""
        await self._socket.close()
        await self._reader

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            async for text in self._socket:
                frame = decode(str(text))
                if frame["event"] == "pusher:ping":
                    await self._socket.send(pong())
                elif frame["event"] == "pusher:connection_established":
                    self.socket_id = frame["data"]["socket_id"]
                else:
                    self.frames.append(frame)


def fetch(
    place: Place,
    method: str,
    target: str,
    *,
    body: bytes | str = b"",
    headers: Mapping[str, str] | None = None,
    address: str = "127.0.0.1",
    plain: bool = False,
) -> tuple[int, str, HTTPMessage]:
    """Return status, body and headers of an answer."""
    connection: HTTPConnection
    where: dict[str, Any] = {"timeout": PATIENCE, "source_address": (address, 0)}
    if place.is_tls and not plain:
        connection = HTTPSConnection("127.0.0.1", place.port, context=trusting(), **where)
    else:
        port = place.plain_port if plain else place.port
        connection = HTTPConnection("127.0.0.1", port, **where)
    try:
        connection.request(method, target, body or None, dict(headers or {}))
        response = connection.getresponse()
        answer = response.read().decode()
        return response.status, answer, response.headers
    finally:
        connection.close()


def call(
    place: Place, method: str, path: str, body: object = None, **query: str
) -> tuple[int, str]:
    """Make a signed request to the HTTP API; `path` is as it is to be sent, escaped."""
    data = b"" if body is None else json.dumps(body).encode()
    target = f"/apps/{MAIN.id}{path}"
    signed = sign_request(MAIN, method, target, data, int(time.time()), query)
    json_type = {"Content-Type": "application/json"}
    status, answer, _ = fetch(
        place, method, f"{target}?{urlencode(signed)}", body=data, headers=json_type
    )
    return status, answer


async def publish(
    place: Place, channel: str, event: str, *, but: Client | None = None, data: str = "{}"
) -> None:
    """Publish an event through the HTTP API."""
    body = {"name": event, "channel": channel, "data": data}
    if but is not None:
        body["socket_id"] = but.socket_id
    assert await asyncio.to_thread(call, place, "POST", "/events", body) == (200, "{}")
