"""
The Pusher HTTP API: what stands below ``/apps/<id>/``.

`handle` is pure but for the broker that it talks to: it knows no framework, so that
the same code answers behind Django's view and in front of Django.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from ..applications import Application
from ..drivers.base import is_serving_here
from ..drivers.registry import close_broker
from ..exceptions import BroadcastError
from ..protocol.messages import encode
from ..server.hubs import get_hub
from ..views.response import JSON, Response
from . import replay as api_replay
from .body import declared_length
from .channels import list_channels, list_users, show_channel
from .events import (
    max_batch_body,
    max_empty_body,
    max_event_body,
    post_batch,
    post_event,
    terminate,
)
from .request import ApiError, ReadBody, Request, find_address, read_request


@dataclass(frozen=True, slots=True)
class Route:
    """
    One call of the API.

    Attributes:
        path: What stands behind ``/apps/<id>/``; a star is a name.
        method: The only one it takes.
        answer: Returns what becomes JSON, or raises `ApiError`.
        max_body: Returns the bytes that a body may have.
    """

    path: str
    method: str
    answer: Callable[[Request], Awaitable[object]]
    max_body: Callable[[Application], int] = max_empty_body

    def fits(self, call: Sequence[str]) -> bool:
        """Tell whether `call`, the parts of a path, is this one."""
        parts = self.path.split("/")
        return len(parts) == len(call) and all(
            given == part or (part == "*" and given != "")
            for part, given in zip(parts, call, strict=True)
        )


ROUTES = (
    Route("events", "POST", post_event, max_event_body),
    Route("batch_events", "POST", post_batch, max_batch_body),
    Route("channels", "GET", list_channels),
    Route("channels/*", "GET", show_channel),
    Route("channels/*/users", "GET", list_users),
    Route("users/*/terminate_connections", "POST", terminate),
)


@csrf_exempt  # Requests are signed and carry no cookie.
async def api(request: HttpRequest, **captured: str) -> HttpResponse:
    """Answer a request of the API."""

    async def read(limit: int) -> bytes | None:
        # Not request.body: without a Content-Length that would take whatever comes.
        declared = declared_length(request.META.get("CONTENT_LENGTH") or "")
        if declared is not None and declared > limit:
            return None
        try:
            body = request.read(limit + 1)
        except UnreadablePostError as exc:  # The caller has gone.
            raise ApiError(400, "The body ended too early") from exc
        return body if len(body) <= limit else None

    # Absent under WSGI; ASGI servers may leave it out, or set it to None.
    raw_path = (getattr(request, "scope", {}).get("raw_path") or b"").decode(errors="replace")
    answer = await handle(
        request.method or "",
        raw_path.partition("?")[0] or quote(request.path, errors="replace"),
        request.META.get("QUERY_STRING", ""),
        read,
    )
    return answer.for_django()


async def handle(method: str, raw_path: str, query: str, body: bytes | ReadBody) -> Response:
    """
    Answer one request of the HTTP API.

    Args:
        method: As it came.
        raw_path: The path before percent-decoding, without the query.
        query: The query string before decoding.
        body: The whole body, or a function that is given a number of bytes and returns
            the body, or `None` if it has more than that. It is called once at most,
            and only for a caller whose signature is right.
    """
    try:
        response = await _response(method, raw_path, query, body)
    finally:
        if not is_serving_here():
            await close_broker()  # Under WSGI each request has a loop of its own.
    if is_serving_here():
        get_hub().stats.answered[response.status] += 1
    return response


async def _response(method: str, raw_path: str, query: str, body: bytes | ReadBody) -> Response:
    try:
        return Response(200, encode(await _answer(method, raw_path, query, body)), JSON)
    except ApiError as error:
        return Response(error.status, str(error), allow=error.allow)
    except BroadcastError as error:
        return Response(503, str(error))


async def _answer(method: str, raw_path: str, query: str, body: bytes | ReadBody) -> object:
    address = find_address(raw_path, lambda call: any(route.fits(call) for route in ROUTES))
    if address is None:
        raise ApiError(404, "Unknown route")
    route = next(route for route in ROUTES if route.fits(address.call))
    if method != route.method:
        raise ApiError(405, "Method not allowed", allow=route.method)
    read = _reader(body) if isinstance(body, bytes) else body
    request = await read_request(method, address, query, route.max_body, read)
    await api_replay.admit(request)
    try:
        return await route.answer(request)
    except (ApiError, BroadcastError):  # It has come to nothing.
        await api_replay.forget(request)
        raise


def _reader(body: bytes) -> ReadBody:
    async def read(limit: int) -> bytes | None:
        return body

    return read
