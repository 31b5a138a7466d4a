"""The in-process driver."""

import asyncio
import threading

import pytest

from broadcasting.applications import Application
from broadcasting.drivers import serving
from broadcasting.drivers.base import Broadcaster, Broker
from broadcasting.drivers.memory import MemoryBroadcaster, MemoryBroker, MemoryBus
from broadcasting.exceptions import BroadcastError, PublisherBusy
from broadcasting.protocol.messages import Message
from tests.drivers.contract import (
    FIRST,
    CacheContract,
    Inbox,
    ManyNodesContract,
    Node,
    RefusalContract,
)
from tests.utils import FakeClock, free_port


class TestMemory(CacheContract, ManyNodesContract, RefusalContract):
    """The contract, and what is particular to a bus inside the process."""

    @pytest.fixture(autouse=True)
    def _clock(self) -> None:
        self.clock = FakeClock()

    def make(self, app: Application = FIRST) -> Broadcaster:
        """Return a write end whose serving process, were it another one, is nowhere."""
        url = f"http://127.0.0.1:{free_port()}"
        broadcaster = MemoryBroadcaster(app=app, first_app_id="1", url=url)
        broadcaster._bus = MemoryBus(self.clock)
        return broadcaster

    async def advance(self, seconds: float) -> None:
        """Move the clock."""
        self.clock.advance(seconds)

    async def kill(self, node: Node) -> None:
        """End the node as a loop does that is closed before its broker."""
        assert isinstance(node.broker, MemoryBroker)
        real = node.broker.loop
        node.broker.loop = asyncio.new_event_loop()
        node.broker.loop.close()
        node.broker._bus.publish(Message("1:nobody", "Hello", "{}"))
        node.broker.loop = real

    async def refuse(self, broadcaster: Broadcaster) -> Broadcaster:
        """Subscribe a loop without room for messages to the channel."""
        full = broadcaster.get_broker()
        assert isinstance(full, MemoryBroker)
        full.LIMIT = 0
        await full.connect(Inbox())
        await full.subscribe("1:refused")
        return broadcaster

    async def test_is_not_shared(self, broker: Broker) -> None:
        """The bus ends at the process's border."""
        assert not broker.is_shared

    async def test_every_loop_of_the_process_receives(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """A second event loop, in a thread of its own, has its own read end."""
        ready, received = threading.Event(), threading.Event()

        async def listen() -> None:
            other, heard = broadcaster.get_broker(), Inbox()
            await other.connect(heard)
            await other.subscribe("1:whik")
            ready.set()
            await heard.wait_for(1)
            await other.close()
            received.set()

        thread = threading.Thread(target=asyncio.run, args=(listen(),))
        thread.start()
        await asyncio.to_thread(ready.wait, 10)
        await broker.subscribe("1:whik")
        await broadcaster.abroadcast(["whik"], "Hello", "{}")
        await inbox.wait_for(1)
        await asyncio.to_thread(thread.join)
        assert received.is_set()

    async def test_a_closed_loop_is_forgotten(self, broadcaster: Broadcaster) -> None:
        """A loop that ended without closing its broker does not disturb the others."""

        async def leave_open() -> None:
            other = broadcaster.get_broker()
            await other.connect(Inbox())
            await other.subscribe("1:whik")

        await asyncio.to_thread(asyncio.run, leave_open())
        await broadcaster.abroadcast(["whik"], "Hello", "{}")

    async def test_full_inbox_refuses_for_all(
        self, broadcaster: Broadcaster, broker: MemoryBroker, inbox: Inbox
    ) -> None:
        """A loop that is blocked does not grow without bound, and no other loop is ahead of it."""
        other, others = broadcaster.get_broker(), Inbox()
        assert isinstance(other, MemoryBroker)
        await other.connect(others)
        for each in (broker, other):
            await each.subscribe("1:cache-a")
        other.LIMIT = 3
        for _ in range(3):
            broadcaster.broadcast(["cache-a"], "Taken", "{}")
        with pytest.raises(PublisherBusy):
            broadcaster.broadcast(["cache-a"], "Refused", "{}")
        await others.wait_for(3)
        broadcaster.broadcast(["cache-a"], "Taken", "{}")
        await inbox.wait_for(4)
        await others.wait_for(4)
        assert {message.event for message in inbox + others} == {"Taken"}
        await other.close()

    async def test_unheard_topic_costs_the_loop_nothing(self, broker: MemoryBroker) -> None:
        """A message of a topic that nobody here listens to is not even queued."""
        broker.take(Message("1:elsewhere", "Hello", "{}"))
        assert not broker._scheduled

    async def test_kept_event_ends(self, broadcaster: Broadcaster, broker: Broker) -> None:
        """Half an hour after it, and not a moment before; a newer one begins anew."""
        await broadcaster.abroadcast(["cache-x"], "e", "1")
        self.clock.advance(1000)
        await broadcaster.abroadcast(["cache-x"], "e", "2")
        self.clock.advance(1799)
        cached = await broker.cached("1:cache-x")
        assert cached is not None
        assert (cached.data, cached.ttl) == ("2", 1)
        self.clock.advance(1)
        assert await broker.cached("1:cache-x") is None

    async def test_so_many_events_are_kept(
        self, broadcaster: Broadcaster, broker: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of the others the oldest is forgotten: names of channels are without end."""
        monkeypatch.setattr(MemoryBus, "CACHED", 2)
        for channel in ("cache-a", "cache-b", "cache-a", "cache-c"):
            await broadcaster.abroadcast([channel], "e", "{}")
        kept = [await broker.cached(f"1:cache-{name}") is not None for name in "abc"]
        assert kept == [True, False, True]

    async def test_a_process_that_does_not_serve_names_what_to_start(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With no server at the address, the error says in one line what to do."""
        monkeypatch.setattr(serving, "_loops", frozenset())
        broadcaster = self.make()
        with pytest.raises(BroadcastError, match=r"manage.py runserver") as caught:
            await broadcaster.abroadcast(["whik"], "Hello", "{}")
        assert "\n" not in str(caught.value)
        broadcaster.close()
