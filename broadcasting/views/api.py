"""
The Pusher HTTP API, as far as publishing: ``POST /apps/<id>/events``.

`handle` is pure but for the broker it publishes through: it knows no framework, so
that the same code answers behind Django's view and in front of Django.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from ..conf import get_settings
from ..credentials import Application, find_application
from ..drivers import close_broker, get_broker
from ..drivers.base import is_serving_here
from ..exceptions import BroadcastError
from ..protocol.messages import Message, decode
from ..protocol.names import is_channel_name, is_event_name, is_socket_id, is_utf8
from ..protocol.signatures import body_md5, request_text, verify

MAX_CHANNELS = 100
TIMESTAMP_WINDOW = 600  # Seconds, in both directions.
# Beside its data a request names at most a hundred channels of two hundred characters.
# A character of data may take six bytes of JSON (\\u0000).
ENVELOPE = 40_000
BYTES_PER_CHARACTER = 6


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered: a JSON object on success, a plain text reason otherwise."""

    status: int
    body: str
    allow: str | None = None

    @property
    def content_type(self) -> str:
        """The media type of `body`."""
        return "application/json" if self.status == 200 else "text/plain; charset=utf-8"


class ApiError(Exception):
    """A request that is answered with `status` and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@csrf_exempt  # Requests are signed and carry no cookie.
async def api(request: HttpRequest, rest: str) -> HttpResponse:
    """Answer a request below ``/apps/``."""
    try:
        body = request.body
    except RequestDataTooBig:
        return HttpResponse("Payload too large", status=413, content_type="text/plain")
    # Absent under WSGI; ASGI servers may leave it out, or set it to None.
    raw_path = (getattr(request, "scope", {}).get("raw_path") or b"").decode("latin-1")
    answer = await handle(
        request.method or "",
        raw_path.partition("?")[0] or quote(request.path),
        request.META.get("QUERY_STRING", ""),
        body,
    )
    response = HttpResponse(answer.body, status=answer.status, content_type=answer.content_type)
    if answer.allow:
        response["Allow"] = answer.allow
    return response


async def handle(method: str, raw_path: str, query: str, body: bytes) -> Response:
    """
    Answer one request of the HTTP API.

    Args:
        method: As it came.
        raw_path: The path before percent-decoding, without the query.
        query: The query string before decoding.
        body: The whole body.
    """
    parts = unquote(raw_path).partition("/apps/")[2].split("/")
    if len(parts) != 2 or parts[1] != "events":
        return Response(404, "Unknown route")
    if method != "POST":
        return Response(405, "Method not allowed", allow="POST")
    try:
        app = find_application(get_settings().apps, app_id=parts[0])
        if app is None:
            raise ApiError(404, f"There is no application {parts[0]!r}")
        _authenticate(app, method, raw_path, query, body)
        if len(body) > app.max_event_size * BYTES_PER_CHARACTER + ENVELOPE:
            raise ApiError(413, "Payload too large")
        messages = _messages(app, body)
        await _publish(messages)
    except ApiError as error:
        return Response(error.status, str(error))
    except BroadcastError as error:
        return Response(503, str(error))
    return Response(200, "{}")


async def _publish(messages: list[Message]) -> None:
    broker, is_serving = get_broker(), is_serving_here()
    try:
        if not (is_serving or broker.is_shared):
            raise ApiError(
                503,
                "This process serves no sockets, so nobody would hear of it. Serve the site's "
                "ASGI application: with daphne first in INSTALLED_APPS, runserver does.",
            )
        # The tasks begin in this order, and so do their messages.
        await asyncio.gather(*(broker.publish(message) for message in messages))
    finally:
        if not is_serving:
            await close_broker()  # Under WSGI each request has a loop of its own.


def _authenticate(app: Application, method: str, raw_path: str, query: str, body: bytes) -> None:
    """Raise `ApiError` unless the request is `app`'s, fresh and unaltered."""
    pairs = parse_qsl(query, keep_blank_values=True)
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise ApiError(400, "A query parameter is given twice")
    signature = parameters.get("auth_signature", "")
    if parameters.get("auth_key") != app.key or parameters.get("auth_version") != "1.0":
        raise ApiError(401, "Unknown auth_key or auth_version")
    _check_time(parameters.get("auth_timestamp", ""))
    expected = parameters.get("body_md5")
    if (body or expected is not None) and expected != body_md5(body):
        raise ApiError(401, "body_md5 does not match the body")
    # SDKs sign the path that they wrote; a server on the way may have escaped it, and
    # a prefix under which the API is mounted is not part of it.
    inner = raw_path[raw_path.index("/apps/") :] if "/apps/" in raw_path else raw_path
    for path in dict.fromkeys((inner, unquote(inner), raw_path, unquote(raw_path))):
        if verify(app.secrets, request_text(method, path, parameters), signature):
            return
    raise ApiError(401, "Invalid signature")


def _check_time(timestamp: str) -> None:
    now = int(time.time())
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 20):
        raise ApiError(401, "auth_timestamp is not a number of seconds")
    if abs(int(timestamp) - now) > TIMESTAMP_WINDOW:
        raise ApiError(
            401,
            f"Timestamp expired: {timestamp} is not within {TIMESTAMP_WINDOW} s of "
            f"server time {now}",
        )


def _messages(app: Application, body: bytes) -> list[Message]:
    """Return what the request publishes, all of it valid."""
    try:
        value = decode(body)
    except ValueError:
        raise ApiError(400, "The body is not JSON") from None
    if not isinstance(value, Mapping):
        raise ApiError(400, "The body is not a JSON object")
    event, data, socket_id = value.get("name"), value.get("data"), value.get("socket_id")
    if not is_event_name(event):
        raise ApiError(400, "name is not a valid event name")
    if not isinstance(data, str) or not is_utf8(data):
        raise ApiError(400, "data is not a string")
    if len(data.encode()) > app.max_event_size:
        raise ApiError(
            413,
            f"The data content of this event exceeds the allowed maximum "
            f"({app.max_event_size} bytes)",
        )
    if socket_id is not None and not is_socket_id(socket_id):
        raise ApiError(400, "socket_id is not valid")
    if "info" in value:
        raise ApiError(400, "info is not supported")
    return [Message(app.id, name, event, data, socket_id) for name in _channels(value)]


def _channels(value: Mapping[str, object]) -> list[str]:
    channels = value.get("channels", [value.get("channel")])
    if not isinstance(channels, list) or not 1 <= len(channels) <= MAX_CHANNELS:
        raise ApiError(400, f"channels must be a list of 1 to {MAX_CHANNELS} names")
    for name in channels:
        if not is_channel_name(name):
            raise ApiError(400, f"{name!r} is not a valid channel name")
    return list(dict.fromkeys(channels))
