"""The queue in front of a bus."""

import asyncio
from itertools import chain

import pytest
import pytest_asyncio

from broadcasting.drivers.batch_queue import BatchQueue
from broadcasting.exceptions import BroadcastError, PublisherBusy


class Bus:
    """Takes batches when a test lets it; refuses the number 13."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.error: Exception | None = None

    async def send(self, batch: list[int]) -> list[str | Exception]:
        """Take a batch."""
        self.batches.append(batch)
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return [BroadcastError("refused") if item == 13 else f"took {item}" for item in batch]

    def queue(self, timeout: float = 60, limit: int = 2000) -> BatchQueue[int, str]:
        """Return a queue in front of the bus."""
        return BatchQueue(self.send, name="The bus", timeout=timeout, limit=limit)


@pytest_asyncio.fixture
async def bus() -> Bus:
    """Return a bus that is closed."""
    return Bus()


async def put(queue: BatchQueue[int, str], *items: int) -> list[asyncio.Task[str]]:
    """Put items, each by a caller of its own. They wait, or are under way."""
    tasks = [asyncio.create_task(queue.put(item)) for item in items]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def results_of(tasks: list[asyncio.Task[str]]) -> list[object]:
    """Return what callers were given, or the names of the errors."""
    async with asyncio.timeout(30):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    return [type(item) if isinstance(item, BaseException) else item for item in results]


async def test_what_waits_goes_out_in_order_in_batches(bus: Bus) -> None:
    """The first alone, the rest together, never more than the limit of a batch."""
    queue = bus.queue()
    tasks = await put(queue, 0)
    tasks += await put(queue, *range(20, 1221))
    assert bus.batches == [[0]]
    assert not any(task.done() for task in tasks)
    bus.open.set()
    await results_of(tasks)
    assert [len(batch) for batch in bus.batches] == [1, 500, 500, 201]
    assert list(chain.from_iterable(bus.batches)) == [0, *range(20, 1221)]


async def test_each_item_has_its_own_answer(bus: Bus) -> None:
    """One that is refused fails alone."""
    bus.open.set()
    tasks = await put(bus.queue(), 12, 13, 14)
    assert await results_of(tasks) == ["took 12", BroadcastError, "took 14"]
    assert bus.batches == [[12, 13, 14]]


async def test_a_full_queue_refuses_and_keeps_what_it_has(bus: Bus) -> None:
    """What is under way is not counted; when there is room it goes on."""
    queue = bus.queue(limit=2)
    tasks = await put(queue, 0)
    tasks += await put(queue, 1, 2)
    with pytest.raises(PublisherBusy, match="2 messages wait"):
        await queue.put(3)
    bus.open.set()
    await results_of(tasks)
    await queue.put(4)
    assert bus.batches == [[0], [1, 2], [4]]


async def test_a_bus_that_is_away_fails_all_that_waits(bus: Bus) -> None:
    """None of it would fare better. What comes later is tried again."""
    queue = bus.queue()
    bus.error = OSError("gone")
    tasks = await put(queue, 0)
    tasks += await put(queue, 1, 2)
    bus.open.set()
    assert await results_of(tasks) == [BroadcastError] * 3
    assert "The bus is away: gone" in str(tasks[2].exception())
    bus.error = None
    assert await queue.put(3) == "took 3"
    assert bus.batches == [[0], [3]]


async def test_a_bus_that_hangs_is_an_error(bus: Bus) -> None:
    """After a while its callers hear so, and the next may find it well again."""
    queue = bus.queue(timeout=0.01)
    with pytest.raises(BroadcastError, match=r"did not answer in 0\.01 seconds"):
        await queue.put(0)
    bus.open.set()
    assert await queue.put(1) == "took 1"


@pytest.mark.parametrize("error", [None, OSError("gone")])
async def test_a_caller_that_gives_up_disturbs_nobody(bus: Bus, error: Exception | None) -> None:
    """What is under way may go out all the same; what waits does not."""
    queue = bus.queue()
    bus.error = error
    tasks = await put(queue, 0, 1)
    tasks += await put(queue, 2, 3)
    tasks[0].cancel()
    tasks[2].cancel()
    await asyncio.sleep(0)
    bus.open.set()
    results = await results_of(tasks)
    assert results[0] is results[2] is asyncio.CancelledError
    assert results[1::2] == (["took 1", "took 3"] if error is None else [BroadcastError] * 2)
    assert bus.batches == ([[0, 1], [3]] if error is None else [[0, 1]])


async def test_a_queue_of_those_who_gave_up_sends_nothing(bus: Bus) -> None:
    """Not even an empty batch."""
    queue = bus.queue()
    task = asyncio.create_task(queue.put(0))
    asyncio.get_running_loop().call_soon(task.cancel)
    assert await results_of([task]) == [asyncio.CancelledError]
    bus.open.set()
    await queue.put(1)
    assert bus.batches == [[1]]


async def test_closing_cancels_whoever_waits(bus: Bus) -> None:
    """Those whose batch is under way as well; nothing is taken afterwards."""
    queue = bus.queue()
    tasks = await put(queue, 0)
    tasks += await put(queue, 1)
    await queue.close()
    await queue.close()
    assert await results_of(tasks) == [asyncio.CancelledError] * 2
    with pytest.raises(BroadcastError, match="not used any more"):
        await queue.put(2)
    assert bus.batches == [[0]]
