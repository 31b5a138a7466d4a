"""
A server without a port: a hub, its bus and its clients, inside the process of the tests.

It has a thread and an event loop of its own, from the first client to the last. So it serves
sync and async tests alike, and a test cannot disturb it by what it does to its own loop.
Meanwhile every connection of the settings leads to its bus, whatever its driver: a test needs
no Redis, and events of the whole process arrive. No webhooks are posted.
"""

import asyncio
import secrets
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, TypeVar, Unpack

from django.core.exceptions import ImproperlyConfigured

from ..applications import Application, find_application
from ..conf import Connection as ConnectionSettings
from ..conf import get_settings
from ..drivers.base import Broadcaster, Options
from ..drivers.circuit_breaker import breakers
from ..drivers.memory import MemoryBroker, MemoryBus
from ..drivers.registry import broadcasters
from ..protocol.connection import Connection
from ..server.hub import Hub
from ..server.session import Session
from ..server.topics import Socket

T = TypeVar("T")


class Site:
    """One run of the server, started by `join_site` and stopped by `leave_site`."""

    def __init__(self) -> None:
        self._bus = MemoryBus()
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, name="broadcast-site", daemon=True)

    def start(self) -> None:
        """Start to serve. Raise `ImproperlyConfigured` if the settings are mistaken."""
        self._thread.start()
        try:
            self._ready.result()
        except BaseException:
            self._thread.join()
            raise

    def stop(self) -> None:
        """Close all connections and wait until the thread has ended."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run `work` on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def make_broadcaster(self, connection: ConnectionSettings) -> Broadcaster:
        """Return a write end for `connection` that leads to this server."""
        first = get_settings().apps[0].id
        return _SiteBroadcaster(self._bus, app=connection.app, first_app_id=first)

    def open_session(self, app_id: str | None, socket: Socket) -> Session:
        """Start to serve a client of an application, by default the first. On the loop."""
        app = self._application(app_id)
        socket_id = f"{secrets.randbits(32)}.{secrets.randbits(32)}"
        session = Session(self._hub, app, Connection(app, socket_id), socket, self._loop.time)
        session.open(None)
        return session

    async def settle(self) -> None:
        """Wait until everything that was done so far has reached the clients."""
        # None of it waits for anything outside of this loop.
        while self._hub.is_busy:  # noqa: ASYNC110
            await asyncio.sleep(0)

    def _application(self, app_id: str | None) -> Application:
        apps = self._hub.apps
        app = apps[0] if app_id is None else find_application(apps, app_id=app_id)
        if app is None:
            known = ", ".join(app.id for app in apps)
            raise ImproperlyConfigured(
                f'{app_id!r} is no ID in BROADCASTING["APPS"]. Known applications: {known}.'
            )
        return app

    def _serve(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as exc:
            if self._ready.done():
                raise
            self._ready.set_exception(exc)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._hub = _SiteHub()
        self._ready.set_result(None)
        await self._stopping.wait()
        await self._hub.stop()


_lock = threading.Lock()
_site: Site | None = None
_clients = 0
_leads_here = ExitStack()


def join_site() -> Site:
    """Return the site, started if this is its first client."""
    global _site, _clients
    with _lock:
        if _site is None:
            site = Site()
            with ExitStack() as stack:
                # The settings stay as they are: tests override them themselves.
                stack.enter_context(broadcasters.made_by(site.make_broadcaster))
                # A driver that failed before is not the one used here.
                stack.enter_context(breakers.set_aside())
                site.start()
                stack.callback(site.stop)
                _leads_here.push(stack.pop_all())
            _site = site
        _clients += 1
        return _site


def leave_site() -> None:
    """Stop the site if this was its last client."""
    global _site, _clients
    with _lock:
        _clients -= 1
        if _clients == 0:
            _site = None
            _leads_here.close()


class _SiteHub(Hub):
    """A hub that posts no webhooks, and knows whether it is busy."""

    def __init__(self) -> None:
        self.apps = [replace(app, webhooks=()) for app in get_settings().apps]
        super().__init__(self.apps)

    @property
    def is_busy(self) -> bool:
        return bool(self._tasks) or (isinstance(self.broker, MemoryBroker) and self.broker.is_busy)


class _SiteBroadcaster(Broadcaster):
    def __init__(self, bus: MemoryBus, **options: Any) -> None:
        super().__init__(**options)
        self._bus = bus

    def broadcast(
        self, channels: Sequence[str], event: str, data: str, **options: Unpack[Options]
    ) -> None:
        """Put the message on the bus, from any thread."""
        for message in self.make_messages(channels, event, data, options):
            self._bus.publish(message)

    def get_broker(self) -> MemoryBroker:
        """Return a read end for the running loop."""
        return MemoryBroker(self._bus)
