"""The scenes that every driver must play alike."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import pytest_asyncio

from broadcasting.credentials import Application
from broadcasting.drivers import base
from broadcasting.drivers.base import Broadcaster, Broker
from broadcasting.protocol.messages import Message
from tests.utils import await_until

FIRST = Application(id="1", key="key-1", secret="secret-1")
SECOND = Application(id="2", key="key-2", secret="secret-2")


class BroadcasterContract:
    """What holds for every write end. Subclasses give `make`."""

    def make(self, app: Application = FIRST) -> Broadcaster:
        """Return a new write end that publishes for `app`; the first application is FIRST."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _serving(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # The test's process is the one that serves, whatever other tests imported.
        monkeypatch.setattr(base, "_serving", threading.Event())
        base.serve_here()

    @pytest_asyncio.fixture
    async def broadcaster(self) -> AsyncIterator[Broadcaster]:
        """Yield a write end for the first application."""
        broadcaster = self.make()
        yield broadcaster
        await asyncio.to_thread(broadcaster.close)

    async def test_takes_a_message_that_nobody_listens_to(self, broadcaster: Broadcaster) -> None:
        """A message without a listener is no error."""
        await broadcaster.abroadcast(["nobody"], "Hello", "{}")

    async def test_finds_nothing_wrong_with_good_settings(self, broadcaster: Broadcaster) -> None:
        """A well configured connection passes its check."""
        assert broadcaster.check() == []

    async def test_closing_twice_is_fine(self) -> None:
        """`close` may be called again, and on an object that was never used."""
        broadcaster = self.make()
        await asyncio.to_thread(broadcaster.close)
        await asyncio.to_thread(broadcaster.close)


class Inbox(list[Message]):
    """What a broker delivered, in order."""

    async def wait_for(self, count: int, timeout: float = 30) -> "Inbox":
        """Return when at least `count` messages are in."""
        await await_until(lambda: len(self) >= count, timeout, f"{count} messages, has {len(self)}")
        return self


class BrokerContract(BroadcasterContract):
    """What holds for every driver with a read end."""

    BURST = 10_000
    THREADS = 8

    @pytest_asyncio.fixture
    async def inbox(self) -> Inbox:
        """Return an empty inbox."""
        return Inbox()

    @pytest_asyncio.fixture
    async def broker(self, broadcaster: Broadcaster, inbox: Inbox) -> AsyncIterator[Broker]:
        """Yield a connected read end of `broadcaster` that delivers to `inbox`."""
        broker = broadcaster.get_broker()
        await broker.connect(inbox.append)
        yield broker
        await broker.close()

    async def test_delivers_a_broadcast(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """A subscriber receives the message as it was sent, but for the spelling of its JSON."""
        await broker.subscribe("1:whik")
        await broadcaster.abroadcast(["whik"], "Né", '{"a":"휙","b":[1.5,null]}', socket_id="5.7")
        (message,) = await inbox.wait_for(1)
        assert message == Message("1", "whik", "Né", message.data, "5.7")
        assert json.loads(message.data) == {"a": "휙", "b": [1.5, None]}

    async def test_carries_published_data_byte_for_byte(self, broker: Broker, inbox: Inbox) -> None:
        """What a server process publishes is never parsed, JSON or not."""
        await broker.subscribe("1:whik")
        texts = ['{"a": 1,  "a":2}', "plain", '"quoted"', "", "[1.0,1e3]", '{"nul":"\\u0000"}']
        for text in texts:
            await broker.publish(Message("1", "whik", "Text", text))
        await inbox.wait_for(len(texts))
        assert [message.data for message in inbox] == texts

    async def test_delivers_only_subscribed_topics(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """A topic is received between subscribe and unsubscribe and at no other time."""
        await broker.subscribe("1:a")
        await broker.subscribe("1:end")
        await broadcaster.abroadcast(["a", "b"], "One", "{}")
        await broker.unsubscribe("1:a")
        await broadcaster.abroadcast(["a"], "Two", "{}")
        await broker.subscribe("1:a")
        await broadcaster.abroadcast(["a", "end"], "Three", "{}")
        await await_until(lambda: any(m.channel == "end" for m in inbox))
        assert [(m.channel, m.event) for m in inbox if m.channel == "a"] == [
            ("a", "One"),
            ("a", "Three"),
        ]

    async def test_keeps_the_order_of_a_thread(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """A burst from one thread arrives complete and in order."""
        await broker.subscribe("1:whik")

        def burst() -> None:
            for number in range(1000):
                broadcaster.broadcast(["whik"], "Number", f'{{"n":{number}}}')

        await asyncio.to_thread(burst)
        await inbox.wait_for(1000)
        assert [json.loads(m.data)["n"] for m in inbox] == list(range(1000))

    async def test_loses_nothing_in_a_burst_of_threads(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """A burst from many threads arrives complete, and in order of each thread."""
        await broker.subscribe("1:whik")
        each = self.BURST // self.THREADS

        def burst(thread: int) -> None:
            for number in range(each):
                data = f'{{"thread":{thread},"n":{number}}}'
                broadcaster.broadcast(["whik"], "Number", data)

        with ThreadPoolExecutor(self.THREADS) as pool:
            loop = asyncio.get_running_loop()
            threads = [loop.run_in_executor(pool, burst, n) for n in range(self.THREADS)]
            await asyncio.gather(*threads)
        await inbox.wait_for(each * self.THREADS, timeout=60)
        by_thread: dict[int, list[int]] = {n: [] for n in range(self.THREADS)}
        for message in inbox:
            data = json.loads(message.data)
            by_thread[data["thread"]].append(data["n"])
        assert by_thread == {n: list(range(each)) for n in range(self.THREADS)}

    async def test_keeps_the_order_of_awaited_publishes(self, broker: Broker, inbox: Inbox) -> None:
        """What one caller publishes one after the other arrives in that order."""
        await broker.subscribe("1:whik")
        for number in range(300):
            await broker.publish(Message("1", "whik", "Number", str(number)))
        await inbox.wait_for(300)
        assert [m.data for m in inbox] == [str(n) for n in range(300)]

    async def test_keeps_applications_apart(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """Two applications may use one channel name."""
        await broker.subscribe("1:whik")
        await broker.subscribe("2:whik")
        await broker.publish(Message("2", "whik", "Second", "{}"))
        await broker.publish(Message("1", "whik", "First", "{}"))
        await inbox.wait_for(2)
        assert {(m.app_id, m.event) for m in inbox} == {("1", "First"), ("2", "Second")}

    async def test_delivers_nothing_after_close(self, broadcaster: Broadcaster) -> None:
        """A closed broker is silent, and closing it again does nothing."""
        inbox = Inbox()
        broker = broadcaster.get_broker()
        await broker.connect(inbox.append)
        await broker.subscribe("1:whik")
        await broker.close()
        await broker.close()
        await broadcaster.abroadcast(["whik"], "Late", "{}")
        assert inbox == []

    async def test_hundred_topics_are_subscribed_at_once(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """Subscriptions of different topics may be under way together."""
        names = [f"room-{n}" for n in range(100)]
        await asyncio.gather(*(broker.subscribe(f"1:{name}") for name in names))
        await broadcaster.abroadcast(names, "Hello", "{}")
        await inbox.wait_for(100)
        assert {m.channel for m in inbox} == set(names)


class SharedContract(BrokerContract):
    """What holds where the bus leaves the process."""

    async def test_reaches_another_broker(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """Two read ends, as two processes have them, both receive a published message."""
        assert broker.is_shared
        other_end = self.make()
        other, others = other_end.get_broker(), Inbox()
        await other.connect(others.append)
        await broker.subscribe("1:whik")
        await other.subscribe("1:whik")
        await other.publish(Message("1", "whik", "Hello", "{}"))
        await inbox.wait_for(1)
        await others.wait_for(1)
        await other.close()
        await asyncio.to_thread(other_end.close)

    async def test_second_application_has_its_own_channels(self) -> None:
        """A connection of another application publishes under that application's topics."""
        first, second = self.make(), self.make(SECOND)
        broker, inbox = first.get_broker(), Inbox()
        await broker.connect(inbox.append)
        await broker.subscribe("2:whik")
        await first.abroadcast(["whik"], "First", "{}")
        await second.abroadcast(["whik"], "Second", "{}")
        await inbox.wait_for(1)
        assert [(m.app_id, m.event) for m in inbox] == [("2", "Second")]
        await broker.close()
        for broadcaster in (first, second):
            await asyncio.to_thread(broadcaster.close)
