"""
A restart that was asked for on the bus.

All server processes hear the wish at once, and restart one after the other: each waits for
the *lease* that the bus gives to one of them at a time, and keeps it until it has gone.
"""

import asyncio
import logging
import random
from collections.abc import Callable

from ...drivers.base import Broker
from ...exceptions import BroadcastError

logger = logging.getLogger("broadcasting.server")

LEASE = "restart"
RETRY = 1.0  # Seconds, more or less, between two attempts to get it.
LEASE_SPARE = 60.0  # Seconds of a lease beside the drain: a new worker has to start.
PAUSE = 5.0  # Seconds between two processes: clients come back meanwhile.


class Restart:
    """
    The restart of this process, when its turn comes.

    Args:
        broker: The bus that gives the lease.
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
        """Restart when it is this process's turn. Once is enough, however often it is wanted."""
        if self._task is None or self._task.done():
            logger.info("Asked to restart; waiting for the turn of this process")
            self._task = asyncio.create_task(self._run())

    def call_off(self) -> None:
        """Stay, and let the next process have its turn."""
        self.stop_waiting()
        if self._has_lease:
            self._task = asyncio.create_task(self._release())

    def stop_waiting(self) -> None:
        """Keep the lease, if this process has it: it is about to go."""
        if self._task is not None:
            self._task.cancel()

    async def finish(self) -> None:
        """Let the next process have its turn soon: this one has gone."""
        await self._release(PAUSE)

    async def _run(self) -> None:
        while not await self._acquire():  # noqa: ASYNC110  (others end it elsewhere)
            await asyncio.sleep(RETRY * random.uniform(0.5, 1.5))  # noqa: S311  (no secret)
        self._has_lease = True
        self._begin()
        while True:  # Until another process has taken this one's place, or could not.
            await asyncio.sleep(LEASE_SPARE / 6)
            await self._acquire()

    async def _acquire(self) -> bool:
        try:
            return await self._broker.take_turn(LEASE, self._seconds)
        except BroadcastError as exc:
            logger.debug("Cannot ask for a turn: %s", exc)
            return False

    async def _release(self, after: float = 0) -> None:
        if self._has_lease:
            await self._broker.end_turn(LEASE, after)
            self._has_lease = False
