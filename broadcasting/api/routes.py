"""
The Pusher HTTP API: the calls below ``/apps/<id>/``, and the dispatch to them.

`answer` knows neither Django nor ASGI, so the same code answers behind a Django view and
in front of Django.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ..applications import Application
from ..drivers.registry import close_broker
from ..exceptions import BroadcastError
from ..protocol.messages import encode
from ..server.hubs import find_hub
from . import replay
from .channels import list_channels, list_users, show_channel
from .events import (
    PartlyPublished,
    max_batch_body,
    max_event_body,
    post_batch,
    post_event,
    terminate,
)
from .request import ApiError, Request, SignedRequest, find_address
from .response import JSON, Response
from .signature import check_signature

MAX_EMPTY_BODY = 1_000  # Bytes of a body that has no meaning, usually "{}".


@dataclass(frozen=True, slots=True)
class Route:
    """
    One call of the API.

    Attributes:
        path: What follows ``/apps/<id>/``; a star stands for a name.
        method: The only method that is allowed.
        answer: Returns what is answered as JSON, or raises `ApiError`.
        max_body: Returns the number of bytes that a body may have.
    """

    path: str
    method: str
    answer: Callable[[SignedRequest], Awaitable[object]]
    max_body: Callable[[Application], int] = lambda app: MAX_EMPTY_BODY

    def matches(self, call: Sequence[str]) -> bool:
        """Whether `call`, the parts of a path, is this one."""
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


async def answer(request: Request) -> Response:
    """Return the answer to one request of the HTTP API. `Gone` passes through."""
    hub = find_hub()
    try:
        response = await _response(request)
    finally:
        if hub is None:
            await close_broker()  # Under WSGI each request has a loop of its own.
    if hub is not None:
        hub.stats.answered[response.status] += 1
    return response


async def _response(request: Request) -> Response:
    try:
        return Response(200, encode(await _dispatch(request)), JSON)
    except ApiError as error:
        return Response(error.status, str(error), allow=error.allow)
    except PartlyPublished as error:
        return Response(503, encode(error.answer), JSON)
    except BroadcastError as error:
        return Response(503, str(error))


async def _dispatch(request: Request) -> object:
    address = find_address(request.raw_path, lambda call: _find_route(call) is not None)
    route = _find_route(address.call) if address is not None else None
    if address is None or route is None:
        raise ApiError(404, "Unknown route")
    if request.method != route.method:
        raise ApiError(405, "Method not allowed", allow=route.method)
    signed = await check_signature(request, address, route.max_body)
    await replay.admit(signed)
    try:
        return await route.answer(signed)
    except (ApiError, BroadcastError):  # Nothing was published, unlike with PartlyPublished.
        await replay.forget(signed)
        raise


def _find_route(call: Sequence[str]) -> Route | None:
    return next((route for route in ROUTES if route.matches(call)), None)
