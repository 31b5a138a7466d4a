"""
A process as the presence in Redis knows it, and the calls of ``presence.lua``.

A process takes part as a *node*. It says every few seconds that it lives. What it has
entered is removed when it was not heard of for `DEAD_AFTER`.

Redis may fail, come back empty, or take this process for dead. So a node is *in doubt* after
any failure, and whenever Redis does not know it. Calls that need a node first resolve the
doubt: `Node` registers, and whoever made it restores what it had stored.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...exceptions import BroadcastError
from ..base import NOTIFY_GRACE
from .clients import CallQueue
from .names import Names
from .scripts import NEXT_VERSION, Script

SCRIPT = Script(NEXT_VERSION + Path(__file__).with_name("presence.lua").read_text("utf-8"))

_UNKNOWN = -1


class Node:
    """
    A process, as one part of the bus knows it.

    Args:
        queue: Calls the script.
        names: How things are called in Redis.
        restore: Stores again what the process knows. Awaited when a doubt is resolved, with
            whether Redis knew the node, and whether it had lost its data.

    Attributes:
        name: How Redis knows the process; empty before the first call.
    """

    DEAD_AFTER = 20.0  # Seconds without a heartbeat.
    NOTIFY_GRACE = NOTIFY_GRACE
    SETTLING = 10.0  # Seconds in which all nodes notice that Redis came back empty.
    TTL = 3600  # Seconds that keys outlive the last process.
    RESTORE_EVERY = 900.0  # Seconds. Renews the keys' time to live, and mends what was lost.
    TIMEOUT = 10.0  # Seconds that a call may take, with what it waits for.
    CLOSE_TIMEOUT = 2.0

    def __init__(
        self, queue: CallQueue, names: Names, restore: Callable[[bool, bool], Awaitable[None]]
    ) -> None:
        self.name = ""
        self._queue = queue
        self._names = names
        self._restore = restore
        self._epoch = ""
        self._restored_epoch = ""  # The one in which all was stored.
        # In doubt unless they are equal. Each failure raises the first.
        self._doubts = 1
        self._resolved = 0
        self._resolved_at = 0.0
        self._resolving: asyncio.Task[None] | None = None

    @property
    def is_in_doubt(self) -> bool:
        """Whether Redis may not know what this process has stored."""
        return self._doubts != self._resolved

    def doubt(self) -> None:
        """Restore everything with the next call of a node."""
        self._doubts += 1

    def doubt_now_and_then(self) -> None:
        """Do as `doubt` if nothing was restored for long."""
        if self._resolved and self._now() - self._resolved_at >= self.RESTORE_EVERY:
            self._doubts += 1

    async def resolve(self) -> None:
        """Resolve the doubt, once for all callers. Raise `BroadcastError` if that fails."""
        if self._resolving is None or self._resolving.done():
            self._resolving = asyncio.create_task(self._resolve())
            # Its failure is of no interest where every caller was cancelled.
            self._resolving.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._resolving)

    async def call(self, op: str, *arguments: str | int) -> Any:
        """Return what an operation of the script returns."""
        names = self._names
        header = [op, names.publish, names.prefix, names.first, self.name, self._epoch]
        seconds = self.DEAD_AFTER, self.NOTIFY_GRACE, self.SETTLING
        times = [*(int(value * 1000) for value in seconds), self.TTL]
        try:
            return await self._queue.put(SCRIPT.call([names.state], [*header, *times, *arguments]))
        except BroadcastError:
            self._doubts += 1
            raise

    async def call_when_known(self, op: str, arguments: Callable[[], Sequence[str | int]]) -> Any:
        """Call as a node that Redis knows, once any doubt is resolved."""
        try:
            async with asyncio.timeout(self.TIMEOUT):
                while True:
                    if self.is_in_doubt:
                        await self.resolve()
                    answer = await self.call(op, *arguments())
                    if answer != _UNKNOWN:
                        return answer
                    self._doubts += 1
        except TimeoutError:
            self._doubts += 1
            raise BroadcastError(f"Redis did not answer in {self.TIMEOUT:g} seconds") from None

    async def call_while_resolving(self, op: str, *arguments: str | int) -> Any:
        """Call as a node that Redis was told of just now."""
        answer = await self.call(op, *arguments)
        if answer == _UNKNOWN:
            raise BroadcastError("Redis lost its data again")
        return answer

    async def pages(
        self, op: str, *arguments: str, last: str | None = None
    ) -> AsyncIterator[list[bytes]]:
        """Yield what an operation returns page by page."""
        cursor = "0"
        while True:
            tail = () if last is None else (last,)
            answer, page = await self.call(op, *arguments, cursor, *tail)
            yield page
            cursor = answer.decode()
            if cursor == "0":
                return

    async def close(self) -> None:
        """Remove the node from Redis, if Redis answers. Otherwise it dies there by itself."""
        if self._resolving is not None:
            self._resolving.cancel()
            await asyncio.gather(self._resolving, return_exceptions=True)
        if self.name:
            with suppress(BroadcastError, TimeoutError):
                async with asyncio.timeout(self.CLOSE_TIMEOUT):
                    await self.call("bye")
            self.name = ""

    async def _resolve(self) -> None:
        doubts = self._doubts
        fresh = secrets.token_hex(8)
        epoch, is_known, is_lost = await self.call("hello", self._restored_epoch, fresh)
        self._epoch = epoch.decode()
        if not is_known:
            # A new name: what is under the old one may just be being removed.
            self.name = fresh
        await self._restore(bool(is_known), bool(is_lost))
        self._restored_epoch = self._epoch
        self._resolved, self._resolved_at = doubts, self._now()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
