"""Signals on their way from the hub to receivers: in order, off its path, whatever they do."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from unittest import mock

import pytest
import pytest_asyncio
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections
from django.dispatch import Signal

from broadcasting.server import signal_queue as module
from broadcasting.server.signal_queue import SignalQueue
from tests.utils import await_until


@pytest_asyncio.fixture
async def queue() -> AsyncIterator[SignalQueue]:
    queue = SignalQueue()
    yield queue
    await queue.close(0)


@contextmanager
def connected(signal: Signal, *receivers: Callable[..., object]) -> Iterator[None]:
    for receiver in receivers:
        signal.connect(receiver)
    yield
    for receiver in receivers:
        signal.disconnect(receiver)


async def all_sent(queue: SignalQueue) -> None:
    """Wait until every signal has been sent, and close the queue."""
    await queue.close(5)
    assert queue.waiting == 0


async def test_receivers_hear_everything_in_order(queue: SignalQueue) -> None:
    """Coroutines on the loop, functions in one thread of their own, neither in a request."""
    first, second = Signal(), Signal()
    variable: ContextVar[str] = ContextVar("variable", default="")
    heard: dict[str, list[tuple[object, ...]]] = {"sync": [], "async": []}
    threads: dict[str, set[threading.Thread]] = {"sync": set(), "async": set(), "orm": set()}

    def note(kind: str, *what: object) -> None:
        heard[kind].append((*what, variable.get()))
        threads[kind].add(threading.current_thread())

    def receive(sender: object, signal: Signal, **kwargs: object) -> None:
        note("sync", sender, signal is first, kwargs)

    async def areceive(sender: object, signal: Signal, **kwargs: object) -> None:
        threads["orm"].add(await sync_to_async(threading.current_thread)())
        note("async", sender, signal is first, kwargs)

    with connected(first, receive, areceive), connected(second, receive, areceive):
        async with ThreadSensitiveContext():
            variable.set("a request")
            views = await sync_to_async(threading.current_thread)()
            for n in range(20):
                queue.send(first, app_id="1", channel=f"c{n}")
                queue.send(second, app_id="1", channel=f"c{n}", user_id="u")
            assert heard["sync"] == []
        await all_sent(queue)
    expected = [
        (None, is_first, {"app_id": "1", "channel": f"c{n}", **extra}, "")
        for n in range(20)
        for is_first, extra in ((True, {}), (False, {"user_id": "u"}))
    ]
    assert heard == {"sync": expected, "async": expected}
    assert queue.dropped == 0
    (thread,) = threads["sync"]
    assert threads == {"sync": {thread}, "orm": {thread}, "async": {threading.current_thread()}}
    assert thread not in {views, threading.current_thread(), *threading.enumerate()}


async def test_without_receivers_nothing_happens(queue: SignalQueue) -> None:
    """No task, no thread, no queue; also when the last receiver has gone."""
    signal = Signal()
    queue.send(signal, app_id="1")

    def receive(**kwargs: object) -> None: ...

    signal.connect(receive)
    del receive
    queue.send(signal, app_id="1")
    assert (queue.waiting, queue.dropped) == (0, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_receivers_error_disturbs_nobody(
    queue: SignalQueue, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; other receivers and later signals are not affected."""
    signal = Signal()
    heard: list[object] = []

    class Nameless:
        def __call__(self, **kwargs: object) -> None:
            raise KeyError("nameless")

    def fail(**kwargs: object) -> None:
        raise ValueError("sync")

    async def afail(**kwargs: object) -> None:
        raise ValueError("async")

    def receive(n: int, **kwargs: object) -> None:
        heard.append(n)

    nameless = Nameless()
    with connected(signal, receive, fail, afail):
        queue.send(signal, n=1)
        await await_until(lambda: heard == [1])
        with connected(signal, nameless):
            queue.send(signal, n=2)
            await await_until(lambda: queue.waiting == 0 and len(heard) == 2)
        queue.send(signal, n=3)
        await all_sent(queue)
    assert heard == [1, 2, 3]
    assert "(sync)" in caplog.text
    assert "(async)" in caplog.text
    assert "A receiver of a signal failed" in caplog.text


async def test_over_its_limit_the_newest_are_dropped(
    queue: SignalQueue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 4)
    signal = Signal()
    heard: list[object] = []

    async def receive(n: int, **kwargs: object) -> None:
        heard.append(n)

    with connected(signal, receive):
        for n in range(10):
            queue.send(signal, n=n)
        assert (queue.waiting, queue.dropped) == (4, 6)
        assert len(caplog.records) == 1
        assert "4 signals wait" in caplog.text
        await await_until(lambda: heard == [0, 1, 2, 3])
        for n in range(5):
            queue.send(signal, n=n)
        assert (queue.waiting, queue.dropped) == (4, 7)
        assert len(caplog.records) == 2
        await all_sent(queue)
    assert heard == [0, 1, 2, 3, 0, 1, 2, 3]


@pytest.mark.parametrize("is_coroutine", [True, False])
async def test_a_receiver_that_hangs_does_not_hold_up_the_close(
    queue: SignalQueue, caplog: pytest.LogCaptureFixture, is_coroutine: bool
) -> None:
    """What waits behind it is dropped, as is what comes later. A thread cannot be ended."""
    signal = Signal()
    started, ended = threading.Event(), threading.Event()

    async def areceive(**kwargs: object) -> None:
        started.set()
        await asyncio.get_running_loop().create_future()

    def receive(**kwargs: object) -> None:
        started.set()
        ended.wait(60)

    with connected(signal, areceive if is_coroutine else receive):
        queue.send(signal)
        queue.send(signal)
        await await_until(started.is_set)
        await queue.close(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert (queue.waiting, queue.dropped) == (0, 1)
        assert "Dropped 1 signals: closing" in caplog.text
        queue.send(signal)
        assert (queue.waiting, queue.dropped) == (0, 2)
        await queue.close(5)
        ended.set()


async def test_connections_to_the_database_do_not_grow_old(
    queue: SignalQueue, caplog: pytest.LogCaptureFixture
) -> None:
    signal = Signal()
    calls: list[tuple[str, int]] = []

    def note(name: str) -> Callable[[], None]:
        return lambda: calls.append((name, threading.get_ident()))

    def receive(**kwargs: object) -> None:
        note("received")()

    def fail() -> None:
        note("all")()
        raise OSError("gone")

    with (
        mock.patch.object(module, "close_old_connections", note("old")),
        mock.patch.object(connections, "close_all", fail),
        connected(signal, receive),
    ):
        queue.send(signal)
        queue.send(signal)
        await all_sent(queue)
    assert [name for name, _ in calls] == ["old", "received", "received", "old", "all"]
    assert len({thread for _, thread in calls}) == 1
    assert "Cannot close" in caplog.text
