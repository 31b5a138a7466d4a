"""
The site as ``manage.py broadcast_serve`` runs it.

The signed HTTP API, health checks and metrics are answered before Django: no middleware
runs, no session is read, and ``ALLOWED_HOSTS`` does not matter. A signature says who the
caller is, and machines that check health use an address, not a name. This holds where
the project's URLs lead to the views of this library, below a prefix too; all other
requests go to the project.

Any ASGI server can run it: ``uvicorn --factory broadcasting.asgi:application``. WebSockets
then go through the project's ``asgi.py``, as they do without it.
"""

import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured
from django.urls import Resolver404, resolve
from django.utils.module_loading import import_string

from .adapters.consumer import refuse_path
from .api.body import Body
from .api.request import Gone, Request
from .api.response import Response
from .server.hubs import get_hub
from .views.api import api
from .views.endpoint import Endpoint, raw_path_of
from .views.health import live, ready, up
from .views.metrics import metrics

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Longer paths lead to none of these views, and would fill the memory of those that do.
LONGEST_PATH = 1_000

_NOT_FOUND = Response(404, "Not found: this process serves sockets and the HTTP API only")
_CHECKS = {"live": live, "ready": ready, "up": up, "metrics": metrics}
# What an application without a lifespan raises, beside exceptions that name the scope.
_REFUSALS = (AssertionError, KeyError, NotImplementedError)

logger = logging.getLogger("broadcasting.server")


def application() -> App:
    """Return the whole site: what this module answers, and the project behind it."""
    django.setup()
    site = SiteApplication(_project())
    site.find_endpoint("/")  # Imports the project's URLs: a mistake there is raised now.
    return site


def sockets_only_application() -> App:
    """
    Return the API, health and metrics alone; everything else is not found.

    Neither the project's ``asgi.py`` nor its URLs are imported, and no database is asked.
    The addresses are those of ``broadcasting.urls``, below any prefix.
    """
    django.setup()
    return SiteApplication(None)


class SiteApplication:
    """
    An ASGI application that answers for the library's endpoints, and else for the project.

    Args:
        project: The application behind, `None` where there is none.
    """

    def __init__(self, project: App | None) -> None:
        self._project = project
        self.find_endpoint = lru_cache(maxsize=512)(self._find_endpoint)
        self._has_begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, one socket, or the server's lifespan. The first starts the hub."""
        if not self._has_begun:
            self._has_begun = True
            get_hub().begin()
        match scope["type"]:
            case "http":
                await self._serve_request(scope, receive, send)
            case "lifespan":
                await self._serve_lifespan(scope, receive, send)
            case _:
                await self._serve_socket(scope, receive, send)

    async def _serve_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        endpoint = None
        if _endpoint_spelt(path) is not None:
            prefix = settings.FORCE_SCRIPT_NAME or scope.get("root_path") or ""
            endpoint = self.find_endpoint(path.removeprefix(prefix))
        if endpoint is not None:
            await _answer(endpoint, scope, receive, send)
        elif self._project is not None:
            await self._project(scope, receive, send)
        else:
            await _send(_NOT_FOUND, scope, Body(scope["headers"], receive), send)

    def _find_endpoint(self, path_info: str) -> Endpoint | None:
        """Return the endpoint that the project's URLs lead to."""
        if self._project is None:
            return _endpoint_spelt(path_info)
        try:
            view = resolve(path_info).func
        except Resolver404:
            return None
        return view if isinstance(view, Endpoint) else None

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a socket on. Refuse it for good where the project serves no sockets."""
        if self._project is not None:
            note = _Note(receive, send)
            try:
                await self._project(scope, note.receive, note.send)
                return
            except ValueError as exc:  # Of Django's handler, or of Channels' router.
                if note.received or scope["type"] not in str(exc):
                    raise
        # A client that saw the exception as a failed handshake would try again for ever.
        await refuse_path(scope, receive, send)

    async def _serve_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Run the project's lifespan, or answer for a project that has none.

        What the project raises is answered as a failure, which ends the start of the
        server. One exception means that a project has no lifespan, by the ASGI
        specification: that which refuses the scope, before the first message is received.
        """
        note = _Note(receive, send)
        if self._project is not None:
            try:
                await self._project(scope, note.receive, note.send)
            except Exception as exc:
                if note.received or not _refuses_lifespan(exc):
                    await note.fail()
                    return
        if not note.sent:
            if not note.received:
                await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})


class _Note:
    """What the project has received of a scope's messages, and which types it has sent."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.received = False
        self.sent: list[str] = []

    async def receive(self) -> Message:
        self.received = True
        return await self._receive()

    async def send(self, message: Message) -> None:
        self.sent.append(message["type"])
        await self._send(message)

    async def fail(self) -> None:
        """Answer that the lifespan has failed, unless the project has answered so itself."""
        if not self.received:
            await self._receive()
        match self.sent:
            case []:
                event = "startup"
            case ["lifespan.startup.complete"]:
                event = "shutdown"
            case _:
                raise
        text = f"The lifespan of the project has failed.\n{traceback.format_exc()}"
        await self._send({"type": f"lifespan.{event}.failed", "message": text})


def _refuses_lifespan(exc: Exception) -> bool:
    """Whether an application without a lifespan has raised `exc`, before it received anything."""
    text = str(exc)
    if "lifespan" in text:  # Django and Channels say so, and whoever looks at the type.
        return True
    if isinstance(exc, _REFUSALS) or "scope" in text:
        logger.warning(
            "The project's ASGI application seems to have no lifespan: it raised %r before it "
            "received lifespan.startup",
            exc,
            exc_info=exc,
        )
        return True
    return False


def _project() -> App:
    path = getattr(settings, "ASGI_APPLICATION", None)
    if path is None:
        project: App = get_asgi_application()
    else:
        try:
            project = import_string(path)
        except ImportError as exc:
            raise ImproperlyConfigured(
                f"ASGI_APPLICATION is {path!r}, which cannot be imported: {exc}"
            ) from exc
    if settings.DEBUG and apps.is_installed("django.contrib.staticfiles"):
        # It passes on to any ASGI application.
        return ASGIStaticFilesHandler(project)  # type: ignore[arg-type]
    return project


def _endpoint_spelt(path: str) -> Endpoint | None:
    """Return the endpoint that `path` may lead to, by its spelling."""
    if len(path) > LONGEST_PATH:
        return None
    if "/apps/" in path or path.endswith("/terminate_connections"):
        return api
    return _CHECKS.get(path.rpartition("/")[2])


async def _answer(endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
    body, client = Body(scope["headers"], receive), scope.get("client")
    request = Request(
        method=scope["method"],
        raw_path=raw_path_of(scope.get("raw_path"), scope["path"]),
        query=(scope.get("query_string") or b"").decode(errors="replace"),
        read=body.read,
        headers={
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        },
        address=client[0] if client else None,
    )
    with suppress(Gone):  # Nobody is there to read an answer.
        await _send(await endpoint.answer(request), scope, body, send)


async def _send(response: Response, scope: Scope, body: Body, send: Send) -> None:
    content = response.body.encode()
    headers = [
        (b"content-length", str(len(content)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in response.headers.items()),
    ]
    if scope["method"] == "HEAD":
        content = b""
    closes = body.holds_connection
    if closes:
        headers.append((b"connection", b"close"))
    start = {"type": "http.response.start", "status": response.status, "headers": headers}
    with suppress(OSError):  # The client has gone.
        await send(start)
        await send({"type": "http.response.body", "body": content, "more_body": closes})
        if closes:
            await body.linger()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
