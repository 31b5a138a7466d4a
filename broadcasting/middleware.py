"""What is known of the page that sent a request: its socket id, and the guest before it."""

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
    """Return the socket id that the current request carries, `None` if there is none."""
    return _socket_id.get()


class _Middleware:
    """What Django asks of a middleware that serves sync and async handlers alike."""

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
        raise NotImplementedError


class SocketIdMiddleware(_Middleware):
    """
    Remember the header ``X-Socket-ID`` while a request is served.

    Pages send it as `docs/frontend.md` says; ``to_others=True`` leaves that page's socket
    out. Any value that is not a socket id is ignored. Neither an address nor a form's
    field is looked at: another site can send those, but no header.
    """

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._acall(request)
        with _remembered(request):
            return self.get_response(request)

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        with _remembered(request):
            return await cast(Awaitable[HttpResponseBase], self.get_response(request))


class GuestMiddleware(_Middleware):
    """
    Send the cookie of a guest whom `get_guest` has made.

    Where it stands among the others does not matter, unless one of them asks for the
    guest: then above that one.
    """

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._acall(request)
        response = cast(HttpResponseBase, self.get_response(request))
        remember_guest(request, response)
        return response

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        response = await cast(Awaitable[HttpResponseBase], self.get_response(request))
        remember_guest(request, response)
        return response


@contextmanager
def _remembered(request: HttpRequest) -> Iterator[None]:
    value = request.headers.get("X-Socket-ID")
    token = _socket_id.set(value if is_socket_id(value) else None)
    try:
        yield
    finally:
        _socket_id.reset(token)
