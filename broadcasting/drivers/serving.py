"""
Whether this process serves sockets, which a hub declares while it runs.

A connection whose bus ends at the process's border (`Broker.is_shared` is false) can
write only where the sockets are. In any other process its write end sends messages to
the serving process over HTTP. To import the project's ``asgi.py`` is not to serve: a
worker of a task queue may do so, too.
"""

import asyncio
import threading

# Those on which hubs run. The set is replaced, never changed: any thread may read it.
_loops: frozenset[asyncio.AbstractEventLoop] = frozenset()
_lock = threading.Lock()


def begin_serving() -> None:
    """Declare that sockets are served on the running loop."""
    global _loops
    with _lock:
        _loops |= {asyncio.get_running_loop()}


def end_serving() -> None:
    """Take back what `begin_serving` declared. Without that it does nothing."""
    global _loops
    with _lock:
        _loops -= {asyncio.get_running_loop()}


def is_serving_here() -> bool:
    """Return whether this process serves sockets, on whichever of its loops."""
    return any(not loop.is_closed() for loop in _loops)
