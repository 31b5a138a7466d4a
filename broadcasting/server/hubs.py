"""The server side of a process: one hub per event loop, one session per socket."""

import asyncio
import secrets
import threading

from ..applications import find_application
from ..conf import get_settings
from ..protocol.connection import Connection
from .hub import Hub
from .metrics.workers import share_metrics
from .session import Session
from .topics import Socket

# `trace` replaces them.
_hub_class, _session_class = Hub, Session

# A hub refers to its loop, so weak keys would keep both alive.
_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}
_lock = threading.Lock()


def get_hub() -> Hub:
    """Return the running loop's hub, made on first use."""
    loop = asyncio.get_running_loop()
    with _lock:
        for other in [other for other in _hubs if other.is_closed()]:
            del _hubs[other]
        if loop not in _hubs:
            _hubs[loop] = _hub_class(get_settings().apps, on_sweep=share_metrics)
        return _hubs[loop]


def find_hub() -> Hub | None:
    """Return the running loop's hub, `None` where no sockets are served on it."""
    return _hubs.get(asyncio.get_running_loop())


async def stop_hub() -> None:
    """Stop the running loop's hub, if it has one. The next use makes a new one."""
    hub = find_hub()
    if hub is not None:
        # It stays until then: another one would begin on a bus that is about to close.
        await hub.stop()
        with _lock:
            _hubs.pop(asyncio.get_running_loop(), None)


def trace() -> None:
    """Write every frame and decision from now on to stderr, a line each."""
    from . import tracing

    global _hub_class, _session_class
    _hub_class, _session_class = tracing.TracedHub, tracing.TracedSession
    tracing.write_to_terminal()


def open_session(
    key: str, version: str | None, origin: str | None, socket: Socket, *, is_secure: bool = True
) -> Session:
    """
    Begin to serve a client that has connected.

    Args:
        key: The application key in the socket's address.
        version: The ``protocol`` parameter of the address, `None` if absent.
        origin: The ``Origin`` header, `None` if absent.
        socket: The client's socket. It may be closed before this returns.
        is_secure: Whether the client's connection is encrypted.
    """
    app = find_application(get_settings().apps, key=key)
    # 64 random bits: authorizations are signed for a socket id, so it must not be guessed.
    socket_id = f"{secrets.randbits(32)}.{secrets.randbits(32)}"
    connection = Connection(app, socket_id, version)
    clock = asyncio.get_running_loop().time
    session = _session_class(get_hub(), app, connection, socket, clock)
    session.open(origin, is_secure=is_secure)
    return session
