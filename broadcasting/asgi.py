"""
The site as ``manage.py broadcast_serve`` runs it: what needs no Django stands before it.

The signed HTTP API, health checks and metrics are answered here, without a middleware, a
session or a look at ``ALLOWED_HOSTS``: who signs has said who it is, and a machine that
looks after others uses an address, not a name. That holds where the project's URLs lead to these
views, below a prefix too, and nowhere else: a page of the project's stays its own.

Any ASGI server can run it: ``uvicorn --factory broadcasting.asgi:application``. Its
WebSockets then go through the project's ``asgi.py``, as they do without.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import django
from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve
from django.utils.module_loading import import_string

from .adapters.consumer import UnknownPathConsumer
from .api.body import Body, Gone
from .api.routes import api, handle
from .drivers.base import serve_here
from .views.health import answer_live, answer_ready, answer_up, live, ready, up
from .views.metrics import answer_metrics, metrics
from .views.response import Response

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
View = Callable[..., Awaitable[HttpResponseBase]]

_NOT_FOUND = Response(404, "Not found: this process serves sockets and the HTTP API only")
# Longer ones are none of ours, and would fill the memory of what paths lead to.
LONGEST_PATH = 1_000


def application() -> App:
    """Return the whole site: what this module answers, and the project behind it."""
    django.setup()
    serve_here()
    project = _project()
    front = Front(project)
    front.find_view("/")  # Imports the project's URLs: what is wrong there is seen now.
    return front


def sockets_only_application() -> App:
    """
    Return the API, health and metrics alone; everything else is not found.

    Neither the project's ``asgi.py`` nor its URLs are imported, and no database is asked.
    The addresses are those of ``broadcasting.urls``, below any prefix.
    """
    django.setup()
    serve_here()
    return Front(None)


class Front:
    """
    An ASGI application that answers what it can and passes on the rest.

    Args:
        project: The application behind, `None` where there is none.
    """

    def __init__(self, project: App | None) -> None:
        self._project = project
        self._beyond_http = None if _is_django(project) else project
        self.find_view = lru_cache(maxsize=512)(self._find_view)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, one socket, or the server's beginning and end."""
        if scope["type"] == "http":
            view = _find(scope["path"])
            if view is not None and self.find_view(_path_info(scope)) is view:
                await _answer(view, scope, receive, send)
            elif self._project is not None:
                await self._project(scope, receive, send)
            else:
                await _send(_NOT_FOUND, scope, Body(scope["headers"], receive), send)
        elif scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif self._beyond_http is not None:
            await self._beyond_http(scope, receive, send)
        else:
            # Django alone would raise, and the client try again for ever.
            await UnknownPathConsumer.as_asgi()(scope, receive, send)

    def _find_view(self, path_info: str) -> View | None:
        """Return the view that the project's URLs lead to."""
        if self._project is None:
            return _find(path_info)
        try:
            view: View = resolve(path_info).func
        except Resolver404:
            return None
        return view

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the server's beginning and end, for a project too that knows nothing of them."""
        waiting = [await receive()]
        answered = False

        async def receive_again() -> Message:
            return waiting.pop() if waiting else await receive()

        async def note(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        if self._beyond_http is not None:
            try:
                await self._beyond_http(scope, receive_again, note)
            except Exception:
                if answered:
                    raise
        if not answered:
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})


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


def _is_django(app: App | None) -> bool:
    """Tell whether `app` is Django's own handler, which serves nothing but HTTP."""
    inner: object = app
    while isinstance(inner, ASGIStaticFilesHandler):
        inner = inner.application
    return isinstance(inner, ASGIHandler)


# Requests


def _find(path: str) -> View | None:
    """Return the view that `path` may lead to, by its spelling."""
    if len(path) > LONGEST_PATH:
        return None
    if "/apps/" in path or path.endswith("/terminate_connections"):
        return api
    return _CHECKS.get(path.rpartition("/")[2])


def _path_info(scope: Scope) -> str:
    path: str = scope["path"]
    prefix: str = get_script_prefix(scope)
    return path.removeprefix(prefix) if prefix else path


async def _answer(view: View, scope: Scope, receive: Receive, send: Send) -> None:
    body = Body(scope["headers"], receive)
    try:
        response = await _ANSWERS[view](scope, body)
    except Gone:
        return  # Nobody is there to read an answer.
    await _send(response, scope, body, send)


async def _send(response: Response, scope: Scope, body: Body, send: Send) -> None:
    content = response.body.encode()
    headers = [
        (b"content-length", str(len(content)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in response.headers),
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


async def _answer_api(scope: Scope, body: Body) -> Response:
    raw_path = (scope.get("raw_path") or b"").decode(errors="replace")
    return await handle(
        scope["method"],
        raw_path.partition("?")[0] or quote(scope["path"], errors="replace"),
        (scope.get("query_string") or b"").decode(errors="replace"),
        body.read,
    )


async def _answer_live(scope: Scope, body: Body) -> Response:
    return await answer_live(scope["method"])


async def _answer_ready(scope: Scope, body: Body) -> Response:
    return await answer_ready(scope["method"])


async def _answer_up(scope: Scope, body: Body) -> Response:
    return await answer_up(scope["method"])


async def _answer_metrics(scope: Scope, body: Body) -> Response:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    client = scope.get("client")
    return await answer_metrics(scope["method"], client[0] if client else None, headers)


_CHECKS: dict[str, View] = {"live": live, "ready": ready, "up": up, "metrics": metrics}
_ANSWERS: dict[View, Callable[[Scope, Body], Awaitable[Response]]] = {
    api: _answer_api,
    live: _answer_live,
    ready: _answer_ready,
    up: _answer_up,
    metrics: _answer_metrics,
}
