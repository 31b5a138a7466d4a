"""
A restart of all server processes, asked for on the bus.

All hear the wish at once, and restart one after the other: each waits for a *lease*, which
the bus gives to one process at a time, and keeps it until it has gone.
"""

import asyncio
import logging
import random
from collections.abc import Callable

from ...drivers.base import Broker
from ...exceptions import BroadcastError

logger = logging.getLogger("broadcasting.server")

LEASE = "restart"
LEASE_SPARE = 60.0  # Seconds of a lease beside the drain: a new worker has to start.
RETRY = 1.0  # Seconds, more or less, between two attempts to get it.
PAUSE = 5.0  # Seconds between two processes: clients come back meanwhile.


class Restart:
    """
    The restart of this process, when its turn comes.

    Args:
        seconds: How long it takes to leave.
        begin: Called when it is this process's turn.
    """

    def __init__(self, broker: Broker, seconds: float, begin: Callable[[], object]) -> None:
        self._broker = broker
        self._seconds = seconds + LEASE_SPARE
        self._begin = begin
        self._task: asyncio.Task[None] | None = None
        self._has_lease = False

    def want(self) -> None:
        """Restart in turn. Once is enough, however often it is wanted meanwhile."""
        if self._task is None or self._task.done():
            logger.info("Asked to restart; waiting for the turn of this process")
            self._task = asyncio.create_task(self._begin_in_turn())

    def cancel(self) -> None:
        """Wait no longer: the process leaves anyway."""
        if self._task is not None:
            self._task.cancel()

    async def finish(self) -> None:
        """Give the lease back soon: this process is gone."""
        if self._has_lease:
            await self._broker.release_lease(LEASE, PAUSE)

    async def _begin_in_turn(self) -> None:
        while not await self._acquire():  # noqa: ASYNC110  (others end it elsewhere)
            await asyncio.sleep(RETRY * random.uniform(0.5, 1.5))  # noqa: S311  (no secret)
        # A worker that is kept, since another could not start, lets its lease run out.
        self._has_lease = True
        self._begin()

    async def _acquire(self) -> bool:
        try:
            return await self._broker.acquire_lease(LEASE, self._seconds)
        except BroadcastError as exc:
            logger.debug("Cannot ask for a turn: %s", exc)
            return False
