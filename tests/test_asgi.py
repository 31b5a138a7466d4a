"""The site as it is served: requests, sockets and its lifespan, through ASGI."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import pytest_asyncio
from channels.routing import ProtocolTypeRouter
from channels.sessions import CookieMiddleware
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, override_settings
from django.urls import include, path

from broadcasting import asgi
from broadcasting.asgi import App, SiteApplication
from broadcasting.drivers.serving import is_serving_here
from broadcasting.protocol.messages import Message
from broadcasting.server.hubs import stop_hub
from tests.api.api_calls import PATH, batch_of, body_of, event_of, settle, signed
from tests.conftest import RedisServer
from tests.serving.site import served_sites
from tests.views import conftest

two_apps, heard = conftest.two_apps, conftest.heard
pytestmark = pytest.mark.usefixtures("two_apps")


def own_page(request: HttpRequest) -> HttpResponse:
    """Have an address of the library's."""
    return HttpResponse()


async def project(scope: Any, receive: Any, send: Any) -> None:
    """Be the project: answer with 299."""
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


class Call:
    """
    A request, as a server passes it on, and its answer.

    Attributes:
        status: That of the answer, `None` while there is none.
        headers: Those of the answer, names in lower case.
        unread: Messages that were not received.
    """

    def __init__(
        self, path: str, *messages: Any, method: str = "GET", query: str = "", **headers: str
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
            "headers": [
                (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
            ],
            "client": ("127.0.0.1", 40000),
            "server": ("127.0.0.1", 8000),
        }
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.unread: list[dict[str, Any]] = list(messages) or [piece(b"")]

    async def to(self, app: App) -> "Call":
        """Make the request, and return it with its answer."""
        await app(self.scope, self.receive, self.send)
        return self

    async def receive(self) -> dict[str, Any]:
        """Return the next message; after the last one, wait for ever."""
        if not self.unread:
            await asyncio.Event().wait()
        return self.unread.pop(0)

    async def send(self, message: Any) -> None:
        """Receive a part of the answer."""
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


async def call(app: App, path: str, *messages: Any, **options: str) -> Call:
    """Make a request and return it with its answer. ``content_length="3"`` is a header."""
    return await Call(path, *messages, **options).to(app)


async def send_event(app: App, path: str = PATH, **options: str) -> Call:
    """Make a signed POST of an event."""
    body = body_of()
    return await call(app, path, piece(body), method="POST", query=signed(body), **options)


# Requests


async def test_the_library_answers_before_django(site: App, heard: list[Message]) -> None:
    """The API, and health checks, which may use the address of the machine as their host."""
    answer = await send_event(site, host="10.0.0.1")
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == "2"
    await settle(heard, 1)
    for address in ("/live", "/ready", "/up"):
        assert (await call(site, address, host="10.0.0.1")).status == 200
    assert b"broadcasting_bus_up" in (await call(site, "/metrics", host="10.0.0.1")).body
    assert (await call(site, "/metrics", x_forwarded_for="8.8.8.8")).status == 403


@pytest.mark.parametrize("address", ["/up", "/apps/42/events", "/", "/nothing", "/mounted/up/"])
async def test_a_page_of_the_project_is_served_by_it(address: str) -> None:
    """Also at an address of the library's."""
    with override_settings(ROOT_URLCONF=__name__):
        assert (await call(SiteApplication(project), address)).status == 299


async def test_the_urls_of_the_project_may_have_a_prefix(site: App, heard: list[Message]) -> None:
    """Which they say."""
    with override_settings(ROOT_URLCONF=__name__):
        assert (await send_event(site, f"/mounted{PATH}")).status == 200
        assert (await call(site, "/mounted/ready", host="10.0.0.1")).status == 200
    await settle(heard, 1)


async def test_sockets_alone_need_nothing_of_the_project() -> None:
    """Neither its asgi.py nor its URLs are imported. A prefix is allowed."""
    with override_settings(ASGI_APPLICATION="no.such", ROOT_URLCONF="no.such"):
        app = asgi.sockets_only_application()
        for address, status in (
            ("/ready", 200),
            ("/apps/42/channels", 401),
            ("/rt/apps/42/channels", 401),
            ("/sub", 404),
            ("/static/broadcasting/echo.js", 404),
        ):
            assert (await call(app, address)).status == status
    await stop_hub()


async def test_django_gives_the_same_answer(site: App) -> None:
    """One request for each status of the API."""
    event, batch, users = body_of(), batch_of(event_of(channel="a")), "presence-x/users"
    for status, method, call_, body, signing in (
        (200, "POST", "events", event, {}),
        (200, "POST", "batch_events", batch, {}),
        (200, "GET", f"channels/{users}", b"", {}),
        (400, "POST", "events", b"{", {}),
        (401, "POST", "events", event, {"secret": "wrong"}),
        (404, "GET", "nothing", b"", {}),
        (405, "GET", "events", b"", {}),
        (405, "HEAD", "channels", b"", {}),
        (413, "POST", "events", body_of(data="x" * 10_241), {}),
        (413, "POST", "events", event.ljust(101_441), {}),
    ):
        address = f"/apps/42/{call_}"
        query = signed(body, address, method=method, secret=signing.get("secret"))
        made = await call(site, address, piece(body), method=method, query=query)
        view = await AsyncClient().generic(method, f"{address}?{query}", body)
        assert made.status == view.status_code == status
        assert made.body == (b"" if method == "HEAD" else view.content)
        for name in ("Content-Type", "Cache-Control", "Allow"):
            assert made.headers.get(name.lower()) == view.get(name)


async def test_a_refused_body_does_not_hold_up_the_answer(site: App) -> None:
    """The answer is sent before the body is read, and says whether the connection closes."""
    answer = await send_event(site, content_length="101441", expect="100-continue")
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert answer.unread
    answer = await call(site, PATH, piece(b"x"), method="POST", content_length="1048576")
    assert (answer.status, "connection" in answer.headers) == (401, False)
    pieces = [piece(b"x" * 50_000, more=True)] * 3
    made = Call(PATH, *pieces, piece(b""), method="POST", query=signed(b"x"), transfer_encoding="x")
    assert (await made.to(site)).headers["connection"] == "close"
    assert (made.status, made.ended, made.unread) == (413, True, [])


async def test_a_client_that_leaves_is_no_error(site: App, heard: list[Message]) -> None:
    """It gets no answer, and publishes nothing."""
    body = body_of()
    pieces = piece(body, more=True), GONE
    answer = await call(site, PATH, *pieces, method="POST", query=signed(body))
    assert answer.status is None
    await settle(heard, 0)

    async def send(message: Any) -> None:
        raise OSError("gone")

    made = Call("/live")
    await site(made.scope, made.receive, send)


async def test_a_head_is_answered_without_a_body(site: App) -> None:
    """But with its length."""
    for address in ("/live", "/ready", "/up", "/metrics"):
        answer = await call(site, address, method="HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize(
    "path", ["/apps/" + "x" * 1_000_000, "/" + "apps/" * 200_000, "/\n" * 9999]
)
async def test_a_very_long_path_is_the_projects(path: str) -> None:
    """No address of the library's is so long."""
    assert (await call(SiteApplication(project), path)).status == 299
    assert (await call(SiteApplication(None), path)).status == 404


async def test_a_script_name_is_removed(site: App) -> None:
    """That of the server or of the settings."""
    made = Call("/site/live")
    made.scope["root_path"] = "/site"
    assert (await made.to(site)).status == 200
    with override_settings(FORCE_SCRIPT_NAME="/site"):
        assert (await call(site, "/site/live")).status == 200


async def test_parts_of_a_scope_are_optional(site: App) -> None:
    """Those that ASGI allows a server to leave out."""
    body = body_of()
    made = Call(PATH, piece(body), method="POST", query=signed(body))
    del made.scope["raw_path"], made.scope["root_path"], made.scope["client"]
    assert (await made.to(site)).status == 200
    made = Call("/metrics")
    made.scope["client"] = None
    assert (await made.to(site)).status == 403


# Sockets


async def socket_of(app: App | None) -> list[Any]:
    """Return what a client receives that opens a socket at an unknown address."""
    made = Call("/x", {"type": "websocket.connect"})
    made.scope |= {"type": "websocket", "headers": []}
    sent: asyncio.Queue[Any] = asyncio.Queue()
    site = SiteApplication(app)(made.scope, made.receive, sent.put)
    task = asyncio.ensure_future(site)
    await asyncio.wait(
        [task, first := asyncio.ensure_future(sent.get())], return_when="FIRST_COMPLETED"
    )
    try:
        if task.done():
            task.result()
        return [await first, await sent.get()]
    finally:
        task.cancel()
        first.cancel()
        await asyncio.gather(task, first, return_exceptions=True)


@pytest.mark.parametrize(
    "behind",
    [
        None,
        ASGIHandler(),
        ASGIStaticFilesHandler(ASGIHandler()),
        ProtocolTypeRouter({"http": None}),
    ],
)
async def test_a_project_without_sockets_refuses_them_for_good(behind: App | None) -> None:
    """After an exception, pusher-js would try again for ever."""
    accepted, closed = await socket_of(behind)
    assert accepted["type"] == "websocket.accept"
    assert (closed["type"], closed["code"]) == ("websocket.close", 4005)


async def test_a_project_serves_its_own_sockets() -> None:
    """Their exceptions are raised."""

    async def own(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": scope["path"]})

    behind = ProtocolTypeRouter({"http": project, "websocket": own})
    for app in (behind, ASGIStaticFilesHandler(behind)):
        assert (await socket_of(app))[1]["text"] == "/x"
    for failing in (raising(ValueError("a bug")), raising(ValueError("websocket"), "")):
        with pytest.raises(ValueError, match=r"a bug|websocket"):
            await socket_of(failing)


# Lifespan


async def lifespan(app: App | None) -> list[dict[str, Any]]:
    """Return what the site answers to a server that starts and ends."""
    sent: list[Any] = []
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await SiteApplication(app)({"type": "lifespan", "asgi": {}, "state": {}}, receive, send)
    return sent


def raising(exc: Exception, *messages: str) -> App:
    """Return an application that raises `exc` once it has received and answered `messages`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await receive()
            if message:
                await send({"type": message})
        raise exc

    return app


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """Be a project that ignores what it does not know."""


async def test_a_project_with_a_lifespan_answers_for_itself() -> None:
    """It receives the messages of the server, and the server its answers."""

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["heard"] = (await receive())["type"]
        await send({"type": "lifespan.startup.complete", "state": scope["state"]})
        await send({"type": "lifespan.shutdown.complete", "after": (await receive())["type"]})

    assert await lifespan(behind) == [
        {"type": "lifespan.startup.complete", "state": {"heard": "lifespan.startup"}},
        {"type": "lifespan.shutdown.complete", "after": "lifespan.shutdown"},
    ]


@pytest.mark.parametrize(
    "behind",
    [
        *(None, silent, ASGIHandler(), ASGIStaticFilesHandler(ASGIHandler())),
        *(ProtocolTypeRouter({"http": None}), CookieMiddleware(ASGIHandler())),
        *(raising(exc) for exc in (NotImplementedError(), AssertionError(), KeyError("path"))),
        raising(RuntimeError("Unknown type: lifespan")),
    ],
)
async def test_a_project_without_a_lifespan_starts(behind: App | None) -> None:
    """It raises on the scope, before it receives a message, or ignores it."""
    types = [message["type"] for message in await lifespan(behind)]
    assert types == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize(("exc", "logged"), [(KeyError("path"), 1), (ValueError("lifespan"), 0)])
async def test_what_may_be_a_mistake_is_logged(
    exc: Exception, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception that does not name the lifespan may be one of a lifespan."""
    await lifespan(raising(exc))
    assert sum("no lifespan" in record.message for record in caplog.records) == logged


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], "startup"),
        ([""], "startup"),
        (["lifespan.startup.complete"], "shutdown"),
        (["lifespan.startup.complete", ""], "shutdown"),
    ],
)
async def test_a_lifespan_that_raises_fails(messages: list[str], expected: str) -> None:
    """Any server then ends its start, or shows at its end what was wrong."""
    last = (await lifespan(raising(OSError("boom"), *messages)))[-1]
    assert last["type"] == f"lifespan.{expected}.failed"
    assert "Traceback" in last["message"]
    assert "boom" in last["message"]


@pytest.mark.parametrize(
    "messages",
    [["lifespan.startup.failed"], ["lifespan.startup.complete", "lifespan.shutdown.complete"]],
)
async def test_a_lifespan_is_answered_once(messages: list[str]) -> None:
    """What frameworks raise after their answer is raised to the server."""
    with pytest.raises(RuntimeError, match="boom"):
        await lifespan(raising(RuntimeError("boom"), *messages))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_lifespan_that_raises_ends_the_start(
    workers: str, tmp_path: Path, redis_server: RedisServer
) -> None:
    """`broadcast_serve` shows the traceback, and its status is that of a failure."""
    with served_sites(tmp_path) as serve:
        site = serve(
            *("--workers", workers),
            wait=False,
            REDIS_URL=redis_server.url,
            ASGI_APPLICATION="tests.serving.failing.application",
        )
        assert site.status() != 0
        assert "Traceback" in site.log()
        assert "ConnectionError: the database is away" in site.log()
        assert "Serving" not in site.log()


@pytest.mark.parametrize("build", [asgi.application, asgi.sockets_only_application])
async def test_the_first_scope_starts_the_hub(build: Callable[[], asgi.App]) -> None:
    """Also where the project's asgi.py does not import our routes."""
    await stop_hub()
    with override_settings(ASGI_APPLICATION=None):
        site = build()
        assert not is_serving_here()
        assert (await call(site, "/live")).status == 200
        assert is_serving_here()
        await stop_hub()
    assert not is_serving_here()


@pytest.mark.parametrize("path", ["tests.nothing.application", "tests.test_asgi.nothing", "x"])
def test_a_wrong_application_is_named(path: str) -> None:
    """When the site is made, with the setting."""
    with (
        override_settings(ASGI_APPLICATION=path),
        pytest.raises(ImproperlyConfigured, match=f"ASGI_APPLICATION is '{path}'"),
    ):
        asgi.application()


async def test_static_files_are_the_task_of_others_in_production() -> None:
    """Of a proxy, or a middleware of the project."""
    with override_settings(DEBUG=False, ASGI_APPLICATION=f"{__name__}.project"):
        answer = await call(asgi.application(), "/static/broadcasting/echo.js")
    assert answer.status == 299


# A real server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Yield the port of a server."""
    with served_sites(tmp_path_factory.mktemp("served")) as serve:
        site = serve()
        yield site.port
        assert "Traceback" not in site.log()


def test_static_files_are_served_in_development(served: int) -> None:
    """As runserver does."""
    with urlopen(f"http://127.0.0.1:{served}/static/broadcasting/echo.js", timeout=10) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/javascript")


def test_a_server_and_its_clients_agree(served: int) -> None:
    """Whether a connection is kept or closed."""
    head = b"POST /apps/1/events HTTP/1.1\r\nHost: x\r\n"
    with socket.create_connection(("127.0.0.1", served), 10) as client:
        stream = client.makefile("rb")

        def answer() -> tuple[int, dict[str, str], bytes]:
            status = int(stream.readline().split()[1])
            headers = {}
            while line := stream.readline().strip().decode():
                name, _, value = line.partition(": ")
                headers[name] = value
            return status, headers, stream.read(int(headers["content-length"]))

        # A refused body is not taken for the next request.
        client.sendall(head + b"Content-Length: 900000\r\n\r\n" + b"GET / " * 150_000)
        assert answer()[0] == 401
        client.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer()[2] == b'{"status":"live"}'
        # A longer one is answered before it has come, and the answer can be read.
        client.sendall(head + b"Content-Length: 3000000\r\n\r\n")
        status, headers, _ = answer()
        assert (status, headers["connection"]) == (401, "close")
        client.sendall(b"x" * 3_000_000)
        assert stream.read() == b""
    with socket.create_connection(("127.0.0.1", served), 10) as client:
        client.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel")  # And goes.
