"""The socket id and the guest of a request, through Django's two kinds of handler."""

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path
from pytest_django import Settings

from broadcasting.guests import COOKIE_NAME, get_guest
from broadcasting.middleware import GuestMiddleware, SocketIdMiddleware, current_socket_id


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


@pytest.mark.parametrize("view", ["/sync", "/async"])
class TestHeader:
    def test_wsgi_sees_the_id_while_the_request_lasts(self, view: str) -> None:
        """The id is known below the view and forgotten after the response."""
        response = Client().get(view, headers={"X-Socket-ID": "12.34"})
        assert response.content == b"'12.34'"
        assert current_socket_id() is None

    async def test_asgi_sees_the_id_while_the_request_lasts(self, view: str) -> None:
        """The id reaches sync and async views under ASGI."""
        response = await AsyncClient().get(view, headers={"X-Socket-ID": "12.34"})
        assert response.content == b"'12.34'"
        assert current_socket_id() is None

    @pytest.mark.parametrize("value", ["", "12", "a.b", "1.2,3.4", "1.2\n", "undefined", "１.２"])
    def test_what_is_no_socket_id_is_ignored(self, view: str, value: str) -> None:
        """A header that the client made up does not reach a driver."""
        response = Client().get(view, HTTP_X_SOCKET_ID=value)
        assert response.content == b"None"

    def test_a_request_without_the_header_has_no_id(self, view: str) -> None:
        """No header, no socket id."""
        assert Client().get(view).content == b"None"


def test_the_id_is_forgotten_when_the_view_raises() -> None:
    """An exception does not leave the id behind for the thread's next request."""

    def get_response(request: HttpRequest) -> HttpResponse:
        raise LookupError(current_socket_id())

    with pytest.raises(LookupError, match=r"1\.2"):
        SocketIdMiddleware(get_response)(RequestFactory().get("/", HTTP_X_SOCKET_ID="1.2"))
    assert current_socket_id() is None


def test_a_request_inside_a_request_has_its_own_id() -> None:
    """A request without the header hides the outer one's id, and gives it back."""
    seen: list[str | None] = []

    def inner(request: HttpRequest) -> HttpResponse:
        seen.append(current_socket_id())
        return HttpResponse()

    def outer(request: HttpRequest) -> HttpResponse:
        SocketIdMiddleware(inner)(RequestFactory().get("/"))
        return inner(request)

    SocketIdMiddleware(outer)(RequestFactory().get("/", HTTP_X_SOCKET_ID="1.2"))
    assert seen == [None, "1.2"]


@pytest.fixture
def _guests(settings: Settings) -> None:
    # Once, whether the demo has it or not.
    name = "broadcasting.middleware.GuestMiddleware"
    settings.MIDDLEWARE = [*(n for n in settings.MIDDLEWARE if n != name), name]


@pytest.mark.usefixtures("_guests")
@pytest.mark.parametrize("view", ["/sync-guest", "/async-guest"])
class TestGuest:
    def test_wsgi_brings_a_guest_back(self, view: str) -> None:
        """The cookie of the first page tells the next one who it is, and stays."""
        client = Client()
        first, second = client.get(view), client.get(view)
        assert first.content == second.content
        assert COOKIE_NAME in first.cookies
        assert COOKIE_NAME not in second.cookies

    async def test_asgi_brings_a_guest_back(self, view: str) -> None:
        """Through sync and async views."""
        client = AsyncClient()
        first, second = await client.get(view), await client.get(view)
        assert first.content == second.content
        assert COOKIE_NAME in first.cookies
        assert COOKIE_NAME not in second.cookies

    def test_a_page_that_asks_for_no_guest_sets_no_cookie(self, view: str) -> None:
        """Most do not."""
        assert COOKIE_NAME not in Client().get(view.removesuffix("-guest")).cookies


def test_only_an_encrypted_request_gets_a_secure_cookie() -> None:
    """The browser would drop it otherwise."""
    for secure in (False, True):
        request = RequestFactory().get("/", secure=secure)
        response = GuestMiddleware(sync_guest)(request)
        assert isinstance(response, HttpResponse)
        assert bool(response.cookies[COOKIE_NAME]["secure"]) is secure
