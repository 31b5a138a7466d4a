"""Clients of a site behind a proxy: a socket, and signed requests."""

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPMessage, HTTPSConnection
from itertools import count
from typing import Any
from urllib.parse import urlencode

from broadcasting.applications import Application
from broadcasting.protocol.signatures import sign_request
from tests.deploy.programs import Place
from tests.deploy.site import settings
from tests.e2e.client import Client
from tests.utils import PATIENCE

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


async def connect(
    place: Place,
    app: Application = MAIN,
    *,
    address: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Client:
    """Connect from an address of its own unless one is given; a refused client is returned."""
    tls = trusting() if place.is_tls else None
    origin = address or new_address()
    return await Client.open(place.port, app, tls=tls, headers=headers, address=origin)


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
