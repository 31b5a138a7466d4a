"""The server side of a process: one hub per event loop, one session per socket."""

import asyncio
import secrets

from ..applications import find_application
from ..conf import get_settings
from ..protocol.connection import Connection
from .hub import Hub, Socket
from .metrics.workers import share_metrics
from .session import Session

# What `trace` puts others in place of.
_hub_class, _session_class = Hub, Session

# A hub refers to its loop, so weak keys would keep both alive.
_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


def get_hub() -> Hub:
    """Return the running loop's hub, made on first use."""
    loop = asyncio.get_running_loop()
    for other in [other for other in _hubs if other.is_closed()]:
        del _hubs[other]
    if loop not in _hubs:
        _hubs[loop] = _hub_class(get_settings().apps, on_sweep=share_metrics)
    return _hubs[loop]


def trace() -> None:
    """Have every frame and decision from now on written to stderr, a line each."""
    from . import tracing

    global _hub_class, _session_class
    _hub_class, _session_class = tracing.TracedHub, tracing.TracedSession
    tracing.write_to_terminal()


async def stop_hub() -> None:
    """Stop the running loop's hub, if it has one. The next use makes a new one."""
    hub = _hubs.get(asyncio.get_running_loop())
    if hub is not None:
        # It stays until then: another one would begin on a bus that is about to close.
        await hub.stop()
        _hubs.pop(asyncio.get_running_loop(), None)


def open_session(
    key: str, version: str | None, origin: str | None, socket: Socket, *, is_secure: bool = True
) -> Session:
    """
    Begin to serve a client that has connected.

    Args:
        key: The application key in the socket's address.
        version: The ``protocol`` parameter of the address, `None` if absent.
        origin: The ``Origin`` header, `None` if absent.
        socket: What to speak through. It may be closed before this returns.
        is_secure: Whether the client's connection is encrypted.
    """
    app = find_application(get_settings().apps, key=key)
    # 64 random bits: a socket id is a capability, it is what authorizations are signed for.
    socket_id = f"{secrets.randbits(32)}.{secrets.randbits(32)}"
    connection = Connection(app, socket_id, version)
    clock = asyncio.get_running_loop().time
    session = _session_class(get_hub(), app, connection, socket, clock)
    session.open(origin, is_secure=is_secure)
    return session
