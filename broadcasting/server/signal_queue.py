"""
Signals on their way from the hub to their receivers.

The hub must not wait for receivers, so signals go through a queue, which one task
empties in order. Neither the task nor a thread exists before a signal is sent that has
a receiver.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextvars import Context

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import close_old_connections, connections
from django.dispatch import Signal

logger = logging.getLogger("broadcasting.server")

MAX_WAITING = 10_000


class SignalQueue:
    """
    The signals of one event loop. Call everything on that loop, and `close` in the end.

    Attributes:
        dropped: Signals that were not sent.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._waiting: deque[tuple[Signal, dict[str, object]]] = deque()
        self._filled = asyncio.Event()
        self._is_full = False  # Whether that was logged.
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def waiting(self) -> int:
        """How many signals are neither sent nor dropped."""
        return len(self._waiting)

    def send(self, signal: Signal, **arguments: object) -> None:
        """Send `signal` after all earlier ones. It does not await, block or raise."""
        if not signal.has_listeners():
            return
        if self._closing or len(self._waiting) >= MAX_WAITING:
            self._drop()
            return
        self._waiting.append((signal, arguments))
        self._filled.set()
        if self._task is None or self._task.done():
            # The task must not inherit the context variables of the request that is first.
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._run(), name="signals", context=Context())

    async def close(self, timeout: float = 5.0) -> None:
        """
        Send what waits, for `timeout` seconds at most, and drop the rest.

        Signals that are sent later are dropped. Calling it again does nothing.
        """
        self._closing = True
        self._filled.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=timeout)
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1)  # A receiver may refuse to end.
        if self._waiting:
            logger.error("Dropped %d signals: closing", self.waiting)
            self.dropped += self.waiting
            self._waiting.clear()

    async def _run(self) -> None:
        # Receivers that are plain functions share a thread and its database connections, but
        # not with views. The context is not left after a cancellation, since that would wait
        # for a receiver that hangs; the thread then ends with the receiver.
        context = ThreadSensitiveContext()
        await context.__aenter__()  # type: ignore[no-untyped-call]  # asgiref has no types here.
        while self._waiting or not self._closing:
            await self._filled.wait()
            self._filled.clear()
            await _in_their_thread(close_old_connections)
            while self._waiting:
                await self._send_next()
            await _in_their_thread(close_old_connections)
        await _in_their_thread(connections.close_all)
        await context.__aexit__(None, None, None)  # type: ignore[no-untyped-call]

    async def _send_next(self) -> None:
        signal, arguments = self._waiting.popleft()
        self._is_full = self._is_full and bool(self._waiting)
        try:
            await signal.asend_robust(sender=None, **arguments)
        except Exception:  # asend_robust cannot log a callable object.
            logger.exception("A receiver of a signal failed")

    def _drop(self) -> None:
        self.dropped += 1
        if not self._is_full and not self._closing:
            self._is_full = True
            text = "%d signals wait for a receiver that is too slow; newer ones are dropped"
            logger.error(text, len(self._waiting))


async def _in_their_thread(work: Callable[[], None]) -> None:
    """Run `work`, which closes database connections, in the receivers' thread."""
    try:
        await sync_to_async(work)()
    except Exception:  # Signals are sent even if a database is away.
        logger.exception("Cannot close the database connections of signal receivers")
