"""Calls of the HTTP API as an SDK makes them: signed, and told apart from what it changes."""

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from broadcasting.api.request import Request
from broadcasting.api.response import Response
from broadcasting.api.routes import answer
from broadcasting.applications import Application
from broadcasting.conf import get_settings
from broadcasting.drivers.registry import get_broker
from broadcasting.protocol.members import Member
from broadcasting.protocol.messages import Message
from broadcasting.protocol.signatures import body_md5, request_text, sign
from broadcasting.views.endpoint import Endpoint
from tests.utils import await_until

PATH = "/apps/42/events"
TWO_APPS: dict[str, Any] = {
    "DEFAULT": "memory",
    "APPS": [
        {"ID": "42", "KEY": "key-42", "SECRET": "secret-żółw"},
        {"ID": "43", "KEY": "key-43", "SECRET": "secret-43"},
    ],
}


def one_app(**options: Any) -> dict[str, Any]:
    """Return settings with application 42 alone, and `options` of it."""
    return TWO_APPS | {"APPS": [TWO_APPS["APPS"][0] | options]}


def application(app_id: str = "42") -> Application:
    """Return an application of the settings."""
    (found,) = [app for app in get_settings().apps if app.id == app_id]
    return found


def body_of(**changes: Any) -> bytes:
    """Return the body of a good event, with `changes`; `None` leaves a key out."""
    return json.dumps(event_of(**({"channels": ["a"]} | changes))).encode()


def batch_of(*events: Any) -> bytes:
    """Return the body of a batch."""
    return json.dumps({"batch": events}).encode()


def event_of(**changes: Any) -> dict[str, Any]:
    """Return a good event without a channel, with `changes`; `None` leaves a key out."""
    event = {"name": "Hello", "data": "{}"} | changes
    return {name: value for name, value in event.items() if value is not None}


def signed(
    body: bytes = b"",
    path: str = PATH,
    *,
    method: str = "POST",
    at: int | None = None,
    secret: str | None = None,
    key: str = "key-42",
    **extra: str,
) -> str:
    """
    Return the query string of a request by application 42, `extra` parameters signed too.

    As in the SDK for Node, and no other, only a body that is there is hashed.
    """
    query = {
        "auth_key": key,
        "auth_timestamp": str(int(time.time()) if at is None else at),
        "auth_version": "1.0",
    }
    if body:
        query["body_md5"] = body_md5(body)
    query |= extra
    text = request_text(method, path, query)
    return urlencode(query | {"auth_signature": sign(secret or application().secret, text)})


async def handle(method: str, raw_path: str, query: str, body: bytes) -> Response:
    """Return the answer to one request."""

    async def read(limit: int) -> bytes | None:
        return body if len(body) <= limit else None

    return await answer(Request(method, raw_path, query, read))


async def ask(
    endpoint: Endpoint,
    method: str = "GET",
    address: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return what a health check or the metrics are answered with."""
    return await endpoint.answer(Request(method, "", "", read_nothing, headers or {}, address))


async def read_nothing(limit: int) -> bytes:
    """Return an empty body."""
    return b""


async def post(body: bytes, path: str = PATH, **options: Any) -> Response:
    """Send a signed POST."""
    return await handle("POST", path, signed(body, path, **options), body)


async def get(call: str, **parameters: Any) -> Response:
    """Send a signed GET for what is below ``/apps/42/``, with `parameters` in its query."""
    path = f"/apps/42/{call}"
    return await handle("GET", path, signed(b"", path, method="GET", **parameters), b"")


async def settle(heard: list[Message], count: int) -> None:
    """Wait until `count` messages have come, and see that no more come with them."""
    await await_until(lambda: len(heard) >= count)
    assert len(heard) == count


async def occupy() -> None:
    """Put three sockets on a and two users, one of them twice, on presence-p."""
    presence = get_broker().presence
    await presence.count({"42:a": 3, "42:presence-p": 3})
    for entry, user_id in (("1", "u"), ("2", "u"), ("3", "v")):
        await presence.join("42:presence-p", entry, Member(user_id), socket_id="1.1", limit=100)
