"""The socket id of a request, through Django's two kinds of handler."""

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path

from broadcasting.middleware import SocketIdMiddleware, current_socket_id


def sync_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(repr(current_socket_id()))


async def async_view(request: HttpRequest) -> HttpResponse:
    below = await sync_to_async(current_socket_id)()
    assert below == current_socket_id()
    return HttpResponse(repr(below))


urlpatterns = [
    path("sync", sync_view),
    path("async", async_view),
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
