"""
How a process leaves.

1. It says that it is not ready, and works on for ``drain_delay`` seconds: load balancers
   need a moment to notice.
2. It stops listening. Idle HTTP connections are closed, requests under way go on.
3. Sockets are asked to reconnect elsewhere, evenly over ``drain_seconds``.
4. What has not ended 5 seconds after that is cut off.

In a hurry there is no delay, and all sockets are closed at once.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from ...server.hub import Hub
from .http import HttpProtocol
from .options import Options
from .state import State

logger = logging.getLogger("broadcasting.server")

REQUEST_GRACE = 5.0  # Seconds that requests have after the drain.
HURRY_GRACE = 2.0  # Seconds that they have in a hurry.
TICK = 0.05  # Seconds between two looks at whether something has ended.


class Drain:
    """
    The end of one server, step by step.

    Attributes:
        is_forced: Whether nothing is waited for any more.
    """

    def __init__(self, options: Options, state: State) -> None:
        self.is_forced = False
        self._options = options
        self._state = state
        self._hurried_at: float | None = None

    @property
    def is_hurried(self) -> bool:
        return self._hurried_at is not None

    def hurry(self) -> None:
        """Wait for clients no longer."""
        if self._hurried_at is None:
            self._hurried_at = time.monotonic()

    async def run(self, hub: Hub, stop_listening: Callable[[], object]) -> None:
        """Return when no connection is left."""
        hub.is_draining = True
        # A proxy that keeps its connections open finds out before they are closed.
        self._state.is_leaving = True
        if not self.is_hurried:
            logger.info(
                "Leaving: not ready from now on, no new clients after %g s, %d sockets to be "
                "closed in %g s",
                self._options.drain_delay,
                hub.session_count,
                self._options.drain_seconds,
            )
        await self._wait_until(lambda: False, self._options.drain_delay)
        stop_listening()
        await self._close_connections(hub)
        if not self._is_idle():
            await self._cut_off()

    async def _close_connections(self, hub: Hub) -> None:
        grace = self._options.drain_seconds + REQUEST_GRACE
        deadline = time.monotonic() + grace
        for connection in list(self._state.connections):
            if isinstance(connection, HttpProtocol):  # The hub sees to the sockets.
                connection.shutdown()
        drain = asyncio.create_task(hub.drain(self._options.drain_seconds))
        await self._wait_until(drain.done, grace)
        if not drain.done():
            drain.cancel()
            await hub.drain(0)
        for connection in list(self._state.connections):
            connection.shutdown()  # WebSockets of the project's own.
        await self._wait_until(self._is_idle, deadline - time.monotonic(), HURRY_GRACE)

    async def _cut_off(self) -> None:
        tasks = set(self._state.tasks)
        logger.warning(
            "Cutting off %d connections and %d requests", len(self._state.connections), len(tasks)
        )
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=TICK if self.is_forced else 1)
        for connection in list(self._state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def _is_idle(self) -> bool:
        return not self._state.connections and not self._state.tasks

    async def _wait_until(
        self, done: Callable[[], bool], seconds: float, in_a_hurry: float = 0.0
    ) -> None:
        """Wait for `done`, at most so many seconds; less in a hurry."""
        deadline = time.monotonic() + seconds
        while not done() and not self.is_forced:
            if self._hurried_at is not None:
                deadline = min(deadline, self._hurried_at + in_a_hurry)
            if time.monotonic() >= deadline:
                return
            await asyncio.sleep(TICK)
