"""The socket id and the guest of a request, with sync and async handlers and views."""

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path
from pytest_django import Settings

from broadcasting.guests import COOKIE_NAME, get_guest
from broadcasting.middleware import SocketIdMiddleware, current_socket_id


def sync_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(repr(current_socket_id()))


async def async_view(request: HttpRequest) -> HttpResponse:
    below = await sync_to_async(current_socket_id)()
    assert below == current_socket_id()
    return HttpResponse(repr(below))


def sync_guest(request: HttpRequest) -> HttpResponse:
    return HttpResponse(get_guest(request).id)


async def async_guest(request: HttpRequest) -> HttpResponse:
    return HttpResponse(get_guest(request).id)


urlpatterns = [
    path("sync", sync_view),
    path("async", async_view),
    path("sync-guest", sync_guest),
    path("async-guest", async_guest),
]

pytestmark = pytest.mark.urls(__name__)


class Browser:
    """A client of a WSGI or an ASGI site that keeps its cookies."""

    def __init__(self, is_async: bool) -> None:
        self._client = AsyncClient() if is_async else Client()

    async def get(self, path: str, **headers: str) -> Any:
        """Return the response to a GET."""
        if isinstance(self._client, AsyncClient):
            return await self._client.get(path, headers=headers)
        return await sync_to_async(self._client.get)(path, headers=headers)


@pytest.fixture(params=[False, True], ids=["wsgi", "asgi"])
def browser(request: pytest.FixtureRequest, settings: Settings) -> Browser:
    """Return a browser of a site with both middlewares."""
    names = [f"broadcasting.middleware.{name}Middleware" for name in ("SocketId", "Guest")]
    settings.MIDDLEWARE = [*(n for n in settings.MIDDLEWARE if n not in names), *names]
    return Browser(request.param)


@pytest.mark.parametrize("view", ["/sync", "/async"])
async def test_a_request_has_the_socket_id_of_its_header(browser: Browser, view: str) -> None:
    """During the request only, and only a valid one."""
    response = await browser.get(view, **{"X-Socket-ID": "12.34"})
    assert response.content == b"'12.34'"
    assert current_socket_id() is None
    assert (await browser.get(view)).content == b"None"
    for value in ("", "12", "a.b", "1.2,3.4", "1.2\n", "undefined"):
        assert (await browser.get(view, **{"X-Socket-ID": value})).content == b"None"


def test_the_id_is_reset_when_the_view_raises() -> None:
    """Otherwise the thread's next request would have it."""

    def get_response(request: HttpRequest) -> HttpResponse:
        raise LookupError(current_socket_id())

    with pytest.raises(LookupError, match=r"1\.2"):
        SocketIdMiddleware(get_response)(RequestFactory().get("/", HTTP_X_SOCKET_ID="1.2"))
    assert current_socket_id() is None


def test_a_request_inside_a_request_has_its_own_id() -> None:
    """The outer request's id comes back after it."""
    seen: list[str | None] = []

    def inner(request: HttpRequest) -> HttpResponse:
        seen.append(current_socket_id())
        return HttpResponse()

    def outer(request: HttpRequest) -> HttpResponse:
        SocketIdMiddleware(inner)(RequestFactory().get("/"))
        return inner(request)

    SocketIdMiddleware(outer)(RequestFactory().get("/", HTTP_X_SOCKET_ID="1.2"))
    assert seen == [None, "1.2"]


@pytest.mark.parametrize("view", ["/sync", "/async"])
async def test_a_guest_comes_back(browser: Browser, view: str) -> None:
    """The first page sets the cookie, and the next one reads it. Other pages set none."""
    assert COOKIE_NAME not in (await browser.get(view)).cookies
    first, second = [await browser.get(f"{view}-guest") for _ in range(2)]
    assert first.content == second.content
    assert COOKIE_NAME in first.cookies
    assert COOKIE_NAME not in second.cookies
