"""What stands in front of Django, driven through ASGI as a server would."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import pytest_asyncio
from channels.routing import ProtocolTypeRouter
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import include, path

from broadcasting import asgi
from broadcasting.asgi import App, Front
from broadcasting.protocol.messages import Message
from broadcasting.server import stop_hub
from tests.views import conftest
from tests.views.api_calls import PATH, body_of, settle, signed

two_apps, heard = conftest.two_apps, conftest.heard
pytestmark = pytest.mark.usefixtures("two_apps")


def own_page(request: HttpRequest) -> HttpResponse:
    """Stand where the library's views would."""
    return HttpResponse()


async def project(scope: Any, receive: Any, send: Any) -> None:
    """Be the project: answer whatever comes with 299."""
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b""})


urlpatterns = [
    path("up", own_page),
    path("mounted/", include("broadcasting.urls")),
    path("apps/<path:rest>", own_page),
]


@pytest_asyncio.fixture
async def site() -> AsyncIterator[App]:
    """Yield the site as it is served."""
    yield asgi.application()
    await stop_hub()


@pytest_asyncio.fixture
async def sockets_only() -> AsyncIterator[App]:
    """Yield what is served without the project."""
    yield asgi.sockets_only_application()
    await stop_hub()


class Call:
    """
    One request, as a server hands it over.

    Attributes:
        status: That of the answer, `None` while there is none.
        headers: Those of the answer, names in lower case.
        body: That of the answer.
        unread: Messages that were not asked for.
    """

    def __init__(
        self, path: str, method: str, query: str, headers: dict[str, str], messages: Iterable[Any]
    ) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 40000),
            "server": ("127.0.0.1", 8000),
        }
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.unread = list(messages)

    async def receive(self) -> dict[str, Any]:
        """Hand over the next message; after the last one, wait as for a client that waits."""
        if not self.unread:
            await asyncio.Event().wait()
        message: dict[str, Any] = self.unread.pop(0)
        return message

    async def send(self, message: Any) -> None:
        """Take a part of the answer."""
        assert not self.ended
        if message["type"] == "http.response.start":
            assert self.status is None
            self.status = message["status"]
            for name, value in message["headers"]:
                assert name == name.lower()
                self.headers[name.decode()] = value.decode()
        else:
            assert self.status is not None
            self.body += message["body"]
            self.ended = not message.get("more_body", False)


def piece(body: bytes, *, more: bool = False) -> dict[str, Any]:
    """Return a part of a request's body."""
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}


async def call(
    app: App,
    path: str,
    *messages: dict[str, Any],
    method: str = "GET",
    query: str = "",
    **headers: str,
) -> Call:
    """Make a request and return it with its answer. ``content_length="3"`` is a header."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    made = Call(path, method, query, names, messages or [piece(b"")])
    await app(made.scope, made.receive, made.send)
    return made


async def test_an_event_is_published(site: App, heard: list[Message]) -> None:
    """A signed POST is answered without Django."""
    body = body_of()
    answer = await call(site, PATH, piece(body), method="POST", query=signed(body))
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == "2"
    await settle(heard, 1)


@pytest.mark.parametrize("address", ["/live", "/ready", "/up"])
async def test_health_needs_no_allowed_host(site: App, address: str) -> None:
    """Whoever checks uses the address of the machine."""
    assert (await call(site, address, host="10.0.0.1")).status == 200


@pytest.mark.parametrize("address", ["/up", "/apps/42/events", "/", "/nothing", "/mounted/up/"])
async def test_a_page_of_the_projects_own_is_kept(address: str) -> None:
    """Also where ours would stand."""
    with override_settings(ROOT_URLCONF=__name__):
        assert (await call(Front(project), address)).status == 299


async def test_what_is_mounted_below_a_prefix_is_found(site: App, heard: list[Message]) -> None:
    """The URLs say where."""
    body = body_of()
    with override_settings(ROOT_URLCONF=__name__):
        answer = await call(site, f"/mounted{PATH}", piece(body), method="POST", query=signed(body))
        assert (await call(site, "/mounted/ready", host="10.0.0.1")).status == 200
    assert answer.status == 200
    await settle(heard, 1)


async def test_sockets_alone_are_served_without_the_project(sockets_only: App) -> None:
    """Its pages are not there."""
    assert (await call(sockets_only, "/ready")).status == 200
    assert (await call(sockets_only, "/rt/apps/42/channels")).status == 401
    assert (await call(sockets_only, "/sub")).status == 404


@pytest.mark.parametrize("behind", [None, ASGIHandler(), ProtocolTypeRouter({"http": None})])
async def test_the_servers_beginning_and_end_are_answered(behind: App | None) -> None:
    """For a project that knows nothing of them."""
    sent: list[str] = []
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await Front(behind)({"type": "lifespan", "asgi": {}, "state": {}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
