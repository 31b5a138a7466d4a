"""Middleware for the page that sent a request: its socket id, and its guest."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .guests import remember_guest
from .protocol.names import is_socket_id

_socket_id: ContextVar[str | None] = ContextVar("broadcasting.socket_id", default=None)


def current_socket_id() -> str | None:
    """Return the socket id of the current request, `None` if there is none."""
    return _socket_id.get()


class _Middleware:
    """A middleware for sync and async handlers alike."""

    sync_capable = True
    async_capable = True

    def __init__(
        self,
        get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]],
    ) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._acall(request)
        with self.around(request):
            response = cast(HttpResponseBase, self.get_response(request))
            self.finish(request, response)
            return response

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        with self.around(request):
            response = await cast(Awaitable[HttpResponseBase], self.get_response(request))
            self.finish(request, response)
            return response

    @contextmanager
    def around(self, request: HttpRequest) -> Iterator[None]:
        """Surround the request."""
        yield

    def finish(self, request: HttpRequest, response: HttpResponseBase) -> None:
        """Change the response."""


class SocketIdMiddleware(_Middleware):
    """
    Remembers the header ``X-Socket-ID`` during a request.

    Pages send it as `docs/frontend.md` describes, and ``to_others=True`` excludes that
    page's socket. A value that is not a socket id is ignored. The header alone is read:
    another site could send a query parameter or a field of a form.
    """

    @contextmanager
    def around(self, request: HttpRequest) -> Iterator[None]:
        """Set the socket id, and reset it after the request."""
        value = request.headers.get("X-Socket-ID")
        token = _socket_id.set(value if is_socket_id(value) else None)
        try:
            yield
        finally:
            _socket_id.reset(token)


class GuestMiddleware(_Middleware):
    """
    Sends the cookie of a guest that `get_guest` has made.

    If another middleware calls `get_guest`, put this one above it.
    """

    def finish(self, request: HttpRequest, response: HttpResponseBase) -> None:
        """Set the cookie of a new guest."""
        remember_guest(request, response)
