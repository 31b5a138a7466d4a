"""The contracts' own code: the queue in front of a bus, and the defaults of a driver."""

import asyncio
import threading
from collections.abc import Sequence
from itertools import chain

import pytest

from broadcasting.applications import Application
from broadcasting.drivers.base import Broadcaster, PublishQueue
from broadcasting.exceptions import BroadcastError, PublisherBusy
from broadcasting.protocol.messages import Message

APP = Application(id="1", key="key", secret="secret")


def message(number: int) -> Message:
    """Return one of many messages."""
    return Message("1:x", "e", str(number))


class Bus:
    """Takes batches when a test lets it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def send(self, batch: list[Message]) -> None:
        """Take a batch."""
        self.batches.append([int(item.data) for item in batch])
        await self.open.wait()
        if self.error is not None:
            raise self.error


async def turn() -> None:
    """Let tasks run until they wait."""
    for _ in range(10):
        await asyncio.sleep(0)


class TestPublishQueue:
    async def test_what_waits_goes_out_in_order_in_batches(self) -> None:
        """The first alone, the rest together, never more than the limit of a batch."""
        bus = Bus()
        queue = PublishQueue(bus.send)
        bus.open.clear()
        first = asyncio.create_task(queue.publish(message(0)))
        await turn()
        rest = [asyncio.create_task(queue.publish(message(i))) for i in range(1, 1202)]
        await turn()
        assert bus.batches == [[0]]
        bus.open.set()
        await asyncio.gather(first, *rest)
        assert [len(batch) for batch in bus.batches] == [1, 500, 500, 201]
        assert list(chain.from_iterable(bus.batches)) == list(range(1202))

    async def test_publish_returns_when_the_bus_has_taken_it(self) -> None:
        """And not before."""
        bus = Bus()
        queue = PublishQueue(bus.send)
        bus.open.clear()
        task = asyncio.create_task(queue.publish(message(1)))
        await turn()
        assert not task.done()
        bus.open.set()
        await task
        assert bus.batches == [[1]]

    async def test_a_full_queue_refuses_and_keeps_what_it_has(self) -> None:
        """What is under way is not counted; when there is room it goes on."""
        bus = Bus()
        queue = PublishQueue(bus.send, limit=2)
        bus.open.clear()
        tasks = [asyncio.create_task(queue.publish(message(0)))]
        await turn()
        tasks += [asyncio.create_task(queue.publish(message(i))) for i in (1, 2)]
        await turn()
        with pytest.raises(PublisherBusy, match="2 messages wait"):
            await asyncio.wait_for(queue.publish(message(3)), 5)
        bus.open.set()
        await asyncio.gather(*tasks)
        await queue.publish(message(4))
        assert bus.batches == [[0], [1, 2], [4]]

    async def test_an_error_reaches_every_caller_of_its_batch(self) -> None:
        """And no caller of the next."""
        bus = Bus()
        queue = PublishQueue(bus.send)
        bus.error = BroadcastError("away")
        results = await asyncio.gather(
            *(queue.publish(message(i)) for i in range(3)), return_exceptions=True
        )
        assert results == [bus.error] * 3
        bus.error = None
        await queue.publish(message(3))
        assert bus.batches == [[0, 1, 2], [3]]

    @pytest.mark.parametrize("error", [None, BroadcastError("away")])
    async def test_a_caller_that_gives_up_disturbs_nobody(self, error: Exception | None) -> None:
        """Its message may go out all the same."""
        bus = Bus()
        queue = PublishQueue(bus.send)
        bus.open.clear()
        bus.error = error
        tasks = [asyncio.create_task(queue.publish(message(i))) for i in range(2)]
        await turn()
        tasks[0].cancel()
        await turn()
        bus.open.set()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1] is error
        assert bus.batches == [[0, 1]]

    async def test_closing_cancels_whoever_waits(self) -> None:
        """Those whose batch is under way as well; nobody is left hanging."""
        bus = Bus()
        queue = PublishQueue(bus.send)
        bus.open.clear()
        under_way = asyncio.create_task(queue.publish(message(0)))
        await turn()
        waiting = asyncio.create_task(queue.publish(message(1)))
        await turn()
        await queue.close()
        done, pending = await asyncio.wait([under_way, waiting], timeout=5)
        assert pending == set()
        assert all(task.cancelled() for task in done)
        assert bus.batches == [[0]]

    async def test_a_waiting_caller_that_gives_up_has_sent_nothing(self) -> None:
        """The others' messages go out, and the queue with them."""
        bus = Bus()
        queue = PublishQueue(bus.send)
        bus.open.clear()
        tasks = [asyncio.create_task(queue.publish(message(0)))]
        await turn()
        tasks += [asyncio.create_task(queue.publish(message(i))) for i in (1, 2)]
        await turn()
        tasks[1].cancel()
        await turn()
        bus.open.set()
        async with asyncio.timeout(5):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[1], asyncio.CancelledError)
        assert results[::2] == [None, None]
        await queue.publish(message(3))
        assert bus.batches == [[0], [2], [3]]

    async def test_a_queue_of_those_who_gave_up_sends_nothing(self) -> None:
        """Not even an empty batch."""
        bus = Bus()
        queue = PublishQueue(bus.send)
        task = asyncio.create_task(queue.publish(message(0)))
        asyncio.get_running_loop().call_soon(task.cancel)
        await asyncio.gather(task, return_exceptions=True)
        await turn()
        assert bus.batches == []

    async def test_a_bus_that_hangs_is_an_error(self) -> None:
        """After a while its callers are told, and the next may find it well again."""
        bus = Bus()
        queue = PublishQueue(bus.send)
        queue.TIMEOUT = 0.01
        bus.open.clear()
        with pytest.raises(BroadcastError, match=r"did not answer in 0\.01 seconds"):
            await queue.publish(message(0))
        bus.open.set()
        await queue.publish(message(1))

    async def test_a_batch_may_be_of_one(self) -> None:
        """Where a batch may fail halfway, each caller hears of its own message."""
        bus = Bus()
        queue = PublishQueue(bus.send, batch=1)
        await asyncio.gather(*(queue.publish(message(i)) for i in range(3)))
        assert bus.batches == [[0], [1], [2]]

    async def test_closing_an_unused_queue_does_nothing(self) -> None:
        """Twice, too."""
        queue = PublishQueue(Bus().send)
        await queue.close()
        await queue.close()


class Writer(Broadcaster):
    """Only writes."""

    def __init__(self) -> None:
        super().__init__(app=APP, first_app_id="1")
        self.sent: list[tuple[object, ...]] = []
        self.threads: list[threading.Thread] = []
        self.error: Exception | None = None

    def broadcast(
        self,
        channels: Sequence[str],
        event: str,
        data: str,
        *,
        socket_id: str | None = None,
        message_id: str | None = None,
        is_transient: bool = False,
    ) -> None:
        """Note the call and its thread."""
        self.sent.append((channels, event, data, socket_id, message_id, is_transient))
        self.threads.append(threading.current_thread())
        if self.error is not None:
            raise self.error


class TestBroadcaster:
    async def test_abroadcast_does_not_hold_the_loop(self) -> None:
        """By default it is `broadcast` in another thread, with the same arguments."""
        writer = Writer()
        await writer.abroadcast(
            ["x"], "e", "{}", socket_id="1.1", message_id="id", is_transient=True
        )
        assert writer.sent == [(["x"], "e", "{}", "1.1", "id", True)]
        assert threading.current_thread() not in writer.threads

    async def test_abroadcasts_do_not_wait_for_each_other(self) -> None:
        """One slow bus call does not keep others of the loop from theirs."""
        meeting = threading.Barrier(2)

        class Meeting(Writer):
            def broadcast(
                self,
                channels: Sequence[str],
                event: str,
                data: str,
                *,
                socket_id: str | None = None,
                message_id: str | None = None,
                is_transient: bool = False,
            ) -> None:
                meeting.wait(5)  # Raises unless both are under way together.

        writer = Meeting()
        calls = (writer.abroadcast(["x"], "e", "{}") for _ in range(2))
        assert await asyncio.gather(*calls) == [None, None]

    async def test_abroadcast_raises_what_broadcast_raises(self) -> None:
        """The caller decides what a failure means."""
        writer = Writer()
        writer.error = BroadcastError("away")
        with pytest.raises(BroadcastError, match="away"):
            await writer.abroadcast(["x"], "e", "{}")

    def test_a_driver_without_a_read_end_says_so(self) -> None:
        """`can_be_read` before, an exception if asked for all the same."""
        writer = Writer()
        assert not writer.can_be_read
        with pytest.raises(NotImplementedError, match="Writer has no read end"):
            writer.get_broker()

    def test_a_driver_need_not_say_more(self) -> None:
        """Nothing to check, nowhere to post to, nothing to close."""
        writer = Writer()
        assert writer.check() == []
        assert writer.posts_to is None
        writer.close()
