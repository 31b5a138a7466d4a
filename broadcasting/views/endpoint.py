"""Django views around functions that answer without Django."""

from collections.abc import Awaitable, Callable
from functools import update_wrapper, wraps
from urllib.parse import quote

from asgiref.sync import markcoroutinefunction
from django.http import HttpRequest, HttpResponse, UnreadablePostError

from ..api.body import declared_length
from ..api.request import Gone, Request
from ..api.response import Response

Answer = Callable[[Request], Awaitable[Response]]

SAFE_METHODS = ("GET", "HEAD")


class Endpoint:
    """
    A Django view that returns what `answer` returns.

    `SiteApplication` calls `answer` without Django where a URL leads to such a view.
    """

    csrf_exempt = True  # Requests are signed, or change nothing; none is known by its cookie.

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        update_wrapper(self, answer)
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest, **captured: str) -> HttpResponse:
        """Answer a request of Django's."""
        try:
            response = await self.answer(_request(request))
        except Gone:
            response = Response(400, "The body ended too early")
        return HttpResponse(response.body, status=response.status, headers=response.headers)


def only_safe(answer: Answer) -> Answer:
    """Return `answer` for GET and HEAD, a refusal for other methods."""

    @wraps(answer)
    async def wrapped(request: Request) -> Response:
        if request.method not in SAFE_METHODS:
            return Response(405, "Method not allowed", allow=", ".join(SAFE_METHODS))
        return await answer(request)

    return wrapped


def raw_path_of(raw_path: bytes | None, path: str) -> str:
    """
    Return the path as it was sent, without the query.

    Args:
        raw_path: As of the ASGI scope; servers may leave it out or set it to `None`, and
            some add the query. WSGI has none.
        path: The decoded path.
    """
    sent = (raw_path or b"").decode(errors="replace").partition("?")[0]
    return sent or quote(path, errors="replace")


def _request(request: HttpRequest) -> Request:
    async def read(limit: int) -> bytes | None:
        # Not request.body: without a Content-Length that would read without end.
        declared = declared_length(request.META.get("CONTENT_LENGTH") or "")
        if declared is not None and declared > limit:
            return None
        try:
            body = request.read(limit + 1)
        except UnreadablePostError as exc:
            raise Gone from exc
        return body if len(body) <= limit else None

    return Request(
        method=request.method or "",
        raw_path=raw_path_of(getattr(request, "scope", {}).get("raw_path"), request.path),
        query=request.META.get("QUERY_STRING", ""),
        read=read,
        headers={name.lower(): value for name, value in request.headers.items()},
        address=request.META.get("REMOTE_ADDR"),
    )
