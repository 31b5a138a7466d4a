"""A bounded queue in front of a bus, emptied in batches."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from ..exceptions import BroadcastError, PublisherBusy

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class BatchQueue(Generic[Item, Answer]):
    """
    Sends what waits, in order, by one task of one loop.

    Each item is answered by itself. If a batch fails as a whole, the bus is away or hangs,
    and everything that waits fails with it: no caller waits longer than two time limits.

    Args:
        send: Sends a batch in its order. Returns an answer for each item, an exception
            for one that was refused. Raises if the bus is away.
        name: The bus, as the beginning of a sentence.
        timeout: Seconds that a batch may take.
        batch: Items in a batch at most.
        limit: Items that may wait.
    """

    def __init__(
        self,
        send: Callable[[list[Item]], Awaitable[Sequence[Answer | Exception]]],
        *,
        name: str,
        timeout: float,
        batch: int = 500,
        limit: int = 10_000,
    ) -> None:
        self._send = send
        self._name = name
        self._timeout = timeout
        self._batch = batch
        self._limit = limit
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def put(self, item: Item) -> Answer:
        """
        Return the answer to `item`. A caller that is cancelled while it waits has sent nothing.

        Raises:
            PublisherBusy: The queue is full; nothing was sent.
            BroadcastError: The bus refused the item, is away or is closed.
        """
        if self._is_closed:
            raise BroadcastError(f"{self._name} is not used any more")
        if len(self._waiting) >= self._limit:
            raise PublisherBusy(f"{self._limit} messages wait for the bus already")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await answer

    async def close(self) -> None:
        """End; whoever still waits is cancelled, and nothing more is taken."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()

    async def _run(self) -> None:
        while self._waiting:
            count = min(len(self._waiting), self._batch)
            taken = [self._waiting.popleft() for _ in range(count)]
            batch = [(item, future) for item, future in taken if not future.done()]
            if not batch:
                continue
            answers: Sequence[Answer | Exception]
            try:
                async with asyncio.timeout(self._timeout):
                    answers = await self._send([item for item, _ in batch])
            except asyncio.CancelledError:
                for _, future in batch:
                    future.cancel()
                raise
            except Exception as exc:  # It is raised where the items were put.
                batch += self._waiting
                self._waiting.clear()
                answers = [self._lost(exc)] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue  # Its caller was cancelled meanwhile.
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def _lost(self, exc: Exception) -> BroadcastError:
        is_late = isinstance(exc, TimeoutError)
        reason = f"it did not answer in {self._timeout:g} seconds" if is_late else exc
        error = BroadcastError(f"{self._name} is away: {reason}")
        error.__cause__ = exc
        return error
