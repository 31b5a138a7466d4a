"""The scenes that every driver must play alike."""

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import pytest_asyncio

from broadcasting.applications import Application
from broadcasting.drivers.base import (
    CACHE_TTL,
    CONTROL,
    NOTIFY_GRACE,
    TERMINATE,
    Broadcaster,
    Broker,
    Members,
    Presence,
    PresenceChange,
)
from broadcasting.drivers.serving import begin_serving, end_serving
from broadcasting.exceptions import BroadcastError, ChannelsRefused
from broadcasting.protocol.members import Member
from broadcasting.protocol.messages import (
    MEMBER_ADDED,
    MEMBER_REMOVED,
    Cached,
    Message,
    member_added_data,
    member_removed_data,
)
from tests.utils import await_until

FIRST = Application(id="1", key="key-1", secret="secret-1")
SECOND = Application(id="2", key="key-2", secret="secret-2")


class BroadcasterContract:
    """
    What holds for every write end. Subclasses give `make`.

    Attributes:
        LACKS: Ids of the checks that say what the driver cannot do.
    """

    LACKS: ClassVar[list[str]] = []

    def make(self, app: Application = FIRST) -> Broadcaster:
        """Return a new write end that publishes for `app`; the first application is FIRST."""
        raise NotImplementedError

    @pytest_asyncio.fixture(autouse=True)
    async def _serving(self) -> AsyncIterator[None]:
        """Be the process that serves."""
        begin_serving()
        yield
        end_serving()

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
        """A well configured connection passes its check, but for what it cannot do."""
        assert [message.id for message in broadcaster.check()] == self.LACKS

    async def test_closing_twice_is_fine(self) -> None:
        """`close` may be called again, and on an object that was never used."""
        broadcaster = self.make()
        await asyncio.to_thread(broadcaster.close)
        await asyncio.to_thread(broadcaster.close)


class Inbox(list[Message]):
    """
    A listener: what a broker delivered, in order.

    Attributes:
        changes: The changes it was given.
        recounts: The topics that it was asked to count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[PresenceChange] = []
        self.recounts: list[str] = []
        self.deliver = self.append
        self.changed = self.changes.append
        self.recount = self.recounts.append

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
        await broker.connect(inbox)
        yield broker
        await broker.close()

    async def test_delivers_a_broadcast(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """A subscriber receives the message as it was sent, but for the spelling of its JSON."""
        await broker.subscribe("1:whik")
        await broadcaster.abroadcast(["whik"], "Né", '{"a":"휙","b":[1.5,null]}', socket_id="5.7")
        (message,) = await inbox.wait_for(1)
        assert message == Message("1:whik", "Né", message.data, "5.7")
        assert json.loads(message.data) == {"a": "휙", "b": [1.5, None]}

    async def test_carries_published_data_byte_for_byte(self, broker: Broker, inbox: Inbox) -> None:
        """What a server process publishes is never parsed, JSON or not."""
        await broker.subscribe("1:whik")
        texts = ['{"a": 1,  "a":2}', "plain", '"quoted"', "", "[1.0,1e3]", '{"nul":"\\u0000"}']
        for text in texts:
            await broker.publish(Message("1:whik", "Text", text))
        await inbox.wait_for(len(texts))
        assert [message.data for message in inbox] == texts

    async def test_delivers_only_subscribed_topics(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """A topic is received between subscribe and unsubscribe and at no other time."""
        await broker.subscribe("1:a")
        await broker.subscribe("1:end")
        await broadcaster.abroadcast(["a", "b"], "One", "{}")
        await inbox.wait_for(1)  # One that is still under way is not delivered any more.
        await broker.unsubscribe("1:a")
        await broadcaster.abroadcast(["a"], "Two", "{}")
        await broker.subscribe("1:a")
        await broadcaster.abroadcast(["a", "end"], "Three", "{}")
        await await_until(lambda: any(m.channel == "end" for m in inbox))
        heard = [(m.channel, m.event) for m in inbox if m.channel == "a"]
        assert heard == [("a", "One"), ("a", "Three")], inbox

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
            await broker.publish(Message("1:whik", "Number", str(number)))
        await inbox.wait_for(300)
        assert [m.data for m in inbox] == [str(n) for n in range(300)]

    async def test_keeps_applications_apart(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """Two applications may use one channel name."""
        await broker.subscribe("1:whik")
        await broker.subscribe("2:whik")
        await broker.publish(Message("2:whik", "Second", "{}"))
        await broker.publish(Message("1:whik", "First", "{}"))
        await inbox.wait_for(2)
        assert {(m.app_id, m.event) for m in inbox} == {("1", "First"), ("2", "Second")}

    async def test_carries_the_order_to_close_a_users_sockets(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """It reaches every process of the application, on a channel that nobody can join."""
        await broker.subscribe(f"1:{CONTROL}")
        await asyncio.to_thread(broadcaster.terminate_user_connections, "ünal")
        (message,) = await inbox.wait_for(1)
        assert message == Message(f"1:{CONTROL}", TERMINATE, '"ünal"')

    async def test_carries_the_sender_of_a_client_event(self, broker: Broker, inbox: Inbox) -> None:
        """The member who sent a client event, and the socket it came from, arrive with it."""
        await broker.subscribe("1:presence-a")
        message = Message("1:presence-a", "client-hi", "{}", "1.2", "ünal")
        await broker.publish(message)
        assert await inbox.wait_for(1) == [message]

    async def test_carries_the_servers_own_events(self, broker: Broker, inbox: Inbox) -> None:
        """The number of subscribers, which a server tells, travels like any message."""
        await broker.subscribe("1:whik")
        message = Message("1:whik", "pusher_internal:subscription_count", '{"n":1}')
        await broker.publish(message)
        assert await inbox.wait_for(1) == [message]

    async def test_delivers_nothing_after_close(self, broadcaster: Broadcaster) -> None:
        """A closed broker is silent, and closing it again does nothing."""
        inbox = Inbox()
        broker = broadcaster.get_broker()
        await broker.connect(inbox)
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


class RefusalContract(BrokerContract):
    """What holds where a bus may refuse one message and take the next."""

    async def refuse(self, broadcaster: Broadcaster) -> Broadcaster:
        """Return a write end on the bus of `broadcaster`, which refuses the channel `refused`."""
        raise NotImplementedError

    async def test_a_refused_channel_fails_alone(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """The others have the event once, and the error says which one has not."""
        for name in ("a", "refused", "b"):
            await broker.subscribe(f"1:{name}")
        refusing = await self.refuse(broadcaster)
        with pytest.raises(ChannelsRefused) as caught:
            await refusing.abroadcast(["a", "refused", "b"], "One", "{}")
        assert caught.value.refused.keys() == {"refused"}
        assert str(caught.value.refused["refused"]) in str(caught.value)
        with pytest.raises(BroadcastError) as error:
            await refusing.abroadcast(["refused"], "Two", "{}")
        assert not isinstance(error.value, ChannelsRefused)
        await refusing.abroadcast(["a", "b"], "Three", "{}")
        await inbox.wait_for(4)
        assert sorted((m.channel, m.event) for m in inbox) == [
            ("a", "One"),
            ("a", "Three"),
            ("b", "One"),
            ("b", "Three"),
        ]
        await asyncio.to_thread(refusing.close)

    async def test_a_refused_message_of_a_batch_fails_alone(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """What other callers publish at the same time is delivered once."""
        for name in ("a", "refused", "b"):
            await broker.subscribe(f"1:{name}")
        refusing = await self.refuse(broadcaster)
        sender = refusing.get_broker()
        await sender.connect(Inbox())
        names = ["a", "refused", "a", "b", "refused", "b"]
        messages = [Message(f"1:{name}", "Number", str(n)) for n, name in enumerate(names)]
        answers = await asyncio.gather(
            *(sender.publish(message) for message in messages), return_exceptions=True
        )
        assert [isinstance(answer, BroadcastError) for answer in answers] == [
            name == "refused" for name in names
        ]
        await sender.publish(Message("1:a", "End", ""))
        await sender.publish(Message("1:b", "End", ""))
        await inbox.wait_for(6)
        assert [(m.channel, m.data) for m in inbox if m.channel == "a"] == [
            *(("a", "0"), ("a", "2"), ("a", "")),
        ]
        assert [m.data for m in inbox if m.channel == "b"] == ["3", "5", ""]
        await sender.close()
        await asyncio.to_thread(refusing.close)


class CacheContract(BrokerContract):
    """What holds where the last event of cache channels is kept."""

    async def test_keeps_the_last_event(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """Of whatever write end, whether or not somebody listens, and for half an hour."""
        assert broker.supports_cache
        assert await broker.cached("1:cache-a") is None
        await broadcaster.abroadcast(["cache-a", "private-cache-a"], "One", '{"n":1}')
        await broadcaster.abroadcast(["cache-a"], "Two", '{"n":2}', socket_id="1.2")
        await broker.publish(Message("1:presence-cache-a", "Three", "text"))
        kept = [
            await broker.cached(f"1:{name}")
            for name in ("cache-a", "private-cache-a", "presence-cache-a")
        ]
        assert [cached and (cached.event, cached.data) for cached in kept] == [
            ("Two", '{"n":2}'),
            ("One", '{"n":1}'),
            ("Three", "text"),
        ]
        assert all(cached and CACHE_TTL - 60 < cached.ttl <= CACHE_TTL for cached in kept)

    async def test_keeps_nothing_else(self, broadcaster: Broadcaster, broker: Broker) -> None:
        """Neither other channels' events, nor clients', nor those of the server itself."""
        await broadcaster.abroadcast(["whik", "presence-a"], "Hello", "{}")
        await broker.publish(Message("1:private-cache-a", "client-hi", "{}", "1.2"))
        await broker.publish(Message("1:cache-a", "pusher_internal:subscription_count", "{}"))
        for name in ("whik", "presence-a", "private-cache-a", "cache-a"):
            assert await broker.cached(f"1:{name}") is None

    async def test_kept_event_has_the_version_of_its_message(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """So a subscriber can tell which live messages are newer; versions grow per channel."""
        await broker.subscribe("1:cache-a")
        for number in range(3):
            await broadcaster.abroadcast(["cache-a"], "Number", str(number))
            await broker.publish(Message("1:cache-a", "Number", str(number)))
        await inbox.wait_for(6)
        versions = [message.version or 0 for message in inbox]
        assert versions == sorted(set(versions))
        cached = await broker.cached("1:cache-a")
        assert isinstance(cached, Cached)
        assert cached.version == versions[-1]

    async def test_only_what_is_kept_has_a_version(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """Other messages stand for themselves."""
        await broker.subscribe("1:whik")
        await broadcaster.abroadcast(["whik"], "Hello", "{}")
        await broker.publish(Message("1:whik", "Hello", "{}"))
        await inbox.wait_for(2)
        assert [message.version for message in inbox] == [None, None]

    async def test_keeps_applications_caches_apart(self, broker: Broker) -> None:
        """Two applications may use one name for a cache channel."""
        await broker.publish(Message("2:cache-a", "Second", "{}"))
        assert await broker.cached("1:cache-a") is None
        assert await broker.cached("2:cache-a") is not None


TOPIC = "1:presence-a"


@dataclass
class Node:
    """A server process: its read end, and what that delivered and reported."""

    broker: Broker
    inbox: Inbox = field(default_factory=Inbox)
    marks: int = 0

    @property
    def presence(self) -> Presence:
        """Who is there, as the node sees it."""
        return self.broker.presence

    @property
    def changes(self) -> list[PresenceChange]:
        """The changes that the node was given."""
        return self.inbox.changes

    async def join(
        self, entry: str, user_id: str, info: str = "null", *, topic: str = TOPIC, limit: int = 100
    ) -> Members | None:
        """Enter a user, from socket 1.1."""
        member = Member(user_id, info)
        return await self.presence.join(topic, entry, member, socket_id="1.1", limit=limit)

    async def heard(self, topic: str = TOPIC) -> list[Message]:
        """Return all that was delivered until now. It is certain that no more comes."""
        self.marks += 1
        mark = Message(topic, f"Mark {self.marks} of {id(self)}", "")
        await self.broker.publish(mark)
        await await_until(lambda: mark.event in [m.event for m in self.inbox], 10, "the mark")
        return [message for message in self.inbox if not message.event.startswith("Mark")]

    async def told(self, topic: str = TOPIC) -> list[tuple[str, str]]:
        """Return who was added and removed, in short: ``[("+", "7"), ("-", "7")]``."""
        signs = {MEMBER_ADDED: "+", MEMBER_REMOVED: "-"}
        return [
            (signs[message.event], json.loads(message.data)["user_id"])
            for message in await self.heard(topic)
            if message.topic == topic
        ]


class PresenceContract(BrokerContract):
    """What holds for presence wherever it is kept, seen by one node."""

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass for what waits in the store. No node dies of it."""
        raise NotImplementedError

    async def make_node(self, broadcaster: Broadcaster) -> Node:
        """Return a new node that listens to TOPIC."""
        node = Node(broadcaster.get_broker())
        await node.broker.connect(node.inbox)
        await node.broker.subscribe(TOPIC)
        return node

    @pytest_asyncio.fixture
    async def node(self, broadcaster: Broadcaster) -> AsyncIterator[Node]:
        """Yield a node."""
        node = await self.make_node(broadcaster)
        yield node
        await node.broker.close()

    async def expire_after(self, node: Node, seconds: float) -> None:
        """Let time pass, and what is due then happen."""
        await self.advance(seconds)
        await node.presence.expire()

    async def test_first_entry_of_a_user_is_told(self, node: Node) -> None:
        """The newcomer is among the members, and the others learn of it."""
        members = await node.join("e1", "7", '{"name":"휙"}')
        assert members is not None
        assert members.infos == {"7": '{"name":"휙"}'}
        (message,) = await node.heard()
        assert message == Message(
            "1:presence-a",
            MEMBER_ADDED,
            member_added_data("7", '{"name":"휙"}'),
            "1.1",
            version=message.version,
        )

    async def test_last_entry_of_a_user_is_told(self, node: Node) -> None:
        """Further tabs come and go unnoticed; when the last has left the user is gone."""
        for entry in ("e1", "e2", "e3"):
            await node.join(entry, "7")
        await node.presence.leave(TOPIC, "e1")
        await node.presence.leave(TOPIC, "e3")
        assert (await node.presence.members(TOPIC)).infos == {"7": "null"}
        assert await node.told() == [("+", "7")]
        await node.presence.leave(TOPIC, "e2")
        assert await node.told() == [("+", "7"), ("-", "7")]
        message = node.inbox[-2]
        assert (message.data, message.socket_id) == (member_removed_data("7"), None)
        assert (await node.presence.members(TOPIC)).infos == {}

    async def test_newest_information_counts(self, node: Node) -> None:
        """A later tab's information replaces the earlier for those who join later."""
        await node.join("e1", "7", '{"tab":1}')
        members = await node.join("e2", "7", '{"tab":2}')
        assert members is not None
        assert members.infos == {"7": '{"tab":2}'}
        await node.presence.leave(TOPIC, "e2")
        assert (await node.presence.members(TOPIC)).infos == {"7": '{"tab":2}'}
        assert await node.told() == [("+", "7")]

    async def test_limit_counts_users(self, node: Node) -> None:
        """At the limit another user is refused, and a member's next tab is not."""
        assert await node.join("e1", "1", limit=2)
        assert await node.join("e2", "2", limit=2)
        assert await node.join("e3", "3", limit=2) is None
        assert await node.join("e4", "1", limit=2)
        assert set((await node.presence.members(TOPIC)).infos) == {"1", "2"}
        await node.presence.leave(TOPIC, "e3")  # It never was in.
        await node.presence.leave(TOPIC, "e2")
        assert await node.join("e5", "3", limit=2)
        assert await node.told() == [("+", "1"), ("+", "2"), ("-", "2"), ("+", "3")]

    @pytest.mark.parametrize(
        "user_id",
        ["__proto__", "constructor", "10", "휙", 'a"b\\c/d', "a:b", "a\nb", "\x00\x7f", "%s", "-"],
    )
    async def test_any_id_is_an_ordinary_one(self, node: Node, user_id: str) -> None:
        """Ids that mean something elsewhere mean nothing here."""
        info = json.dumps({"n:": ["\n", "/", None, 1.5, {}]}, separators=(",", ":"))
        await node.join("e1", "other")
        members = await node.join("e2", user_id, info)
        assert members is not None
        assert members.infos == {"other": "null", user_id: info}
        await node.presence.leave(TOPIC, "e2", grace=5)
        await self.expire_after(node, 6)
        await self.expire_after(node, NOTIFY_GRACE + 1)
        assert await node.told() == [("+", "other"), ("+", user_id), ("-", user_id)]
        assert node.inbox[1].data == member_added_data(user_id, info)
        assert json.loads(node.inbox[2].data) == {"user_id": user_id}
        assert node.changes[-1] == PresenceChange("member_removed", TOPIC, user_id)

    async def test_who_comes_back_in_the_grace_was_never_away(self, node: Node) -> None:
        """A lost connection that is made again makes no message and no report."""
        await node.join("e1", "7")
        await node.presence.leave(TOPIC, "e1", grace=5)
        await self.expire_after(node, 4)
        assert (await node.presence.members(TOPIC)).infos == {"7": "null"}
        await node.join("e2", "7", "1")
        await self.expire_after(node, 10)
        await self.expire_after(node, 10)
        assert await node.told() == [("+", "7")]
        assert (await node.presence.members(TOPIC)).infos == {"7": "1"}
        assert node.changes == [PresenceChange("member_added", TOPIC, "7")]

    async def test_who_does_not_come_back_is_gone_after_the_grace(self, node: Node) -> None:
        """And not before."""
        await node.join("e1", "7")
        await node.presence.leave(TOPIC, "e1", grace=5)
        await self.expire_after(node, 4)
        assert await node.told() == [("+", "7")]
        await self.expire_after(node, 2)
        assert await node.told() == [("+", "7"), ("-", "7")]
        await self.expire_after(node, 10)
        assert await node.told() == [("+", "7"), ("-", "7")]

    async def test_grace_is_for_the_last_entry_only(self, node: Node) -> None:
        """A tab that is left holds the user, whatever became of the others."""
        await node.join("e1", "7")
        await node.join("e2", "7")
        await node.presence.leave(TOPIC, "e1", grace=5)
        await self.expire_after(node, 10)
        assert await node.told() == [("+", "7")]
        await node.presence.leave(TOPIC, "e2")
        assert await node.told() == [("+", "7"), ("-", "7")]

    async def test_late_leave_does_not_undo_a_later_join(self, node: Node) -> None:
        """An entry that has left, or never was, can be left again."""
        await node.presence.leave(TOPIC, "never")
        await node.join("e1", "7")
        await node.presence.leave(TOPIC, "e1")
        await node.join("e2", "7")
        await node.presence.leave(TOPIC, "e1")
        await node.presence.leave(TOPIC, "e1", grace=5)
        assert await node.told() == [("+", "7"), ("-", "7"), ("+", "7")]

    async def test_versions_say_what_a_list_of_members_holds(self, node: Node) -> None:
        """The list holds every change of a smaller or the same version, and no later one."""
        first = await node.join("e1", "1")
        second = await node.join("e2", "2")
        await node.presence.leave(TOPIC, "e1")
        after = await node.presence.members(TOPIC)
        await node.join("e3", "3")
        one, two, gone, three = [message.version or 0 for message in await node.heard()]
        assert first is not None
        assert second is not None
        assert one < two < gone < three
        assert one <= first.version < two <= second.version < gone <= after.version < three

    async def test_members_are_reported_once_and_late(self, node: Node) -> None:
        """Coming at once, going after three seconds, and a return meanwhile not at all."""
        await node.join("e1", "7")
        await node.join("e2", "7")
        added = PresenceChange("member_added", TOPIC, "7")
        assert node.changes == [added]
        await node.presence.leave(TOPIC, "e1")
        await node.presence.leave(TOPIC, "e2")
        await self.expire_after(node, NOTIFY_GRACE - 1)
        await node.join("e3", "7")
        await self.expire_after(node, NOTIFY_GRACE + 1)
        assert node.changes == [added]
        assert await node.told() == [("+", "7"), ("-", "7"), ("+", "7")]
        await node.presence.leave(TOPIC, "e3")
        await node.presence.expire()
        assert node.changes == [added]
        await self.expire_after(node, NOTIFY_GRACE + 1)
        await self.expire_after(node, NOTIFY_GRACE + 1)
        removed = PresenceChange("member_removed", TOPIC, "7")
        assert node.changes == [added, removed]
        await node.join("e4", "7")
        assert node.changes == [added, removed, added]

    async def test_occupation_is_reported_once_and_late(self, node: Node) -> None:
        """As the members are."""
        occupied, vacated = (
            PresenceChange("channel_occupied", "1:a"),
            PresenceChange("channel_vacated", "1:a"),
        )
        for number in (1, 2, 1, 0):
            await node.presence.count({"1:a": number})
        assert node.changes == [occupied]
        await self.expire_after(node, NOTIFY_GRACE - 1)
        await node.presence.count({"1:a": 3})
        await self.expire_after(node, NOTIFY_GRACE + 1)
        assert node.changes == [occupied]
        await node.presence.count({"1:a": 0})
        await self.expire_after(node, NOTIFY_GRACE + 1)
        await self.expire_after(node, NOTIFY_GRACE + 1)
        assert node.changes == [occupied, vacated]
        await node.presence.count({"1:a": 1})
        assert node.changes == [occupied, vacated, occupied]

    async def test_counts_are_of_now(self, node: Node) -> None:
        """Each call says how many there are; the answer, how many there were."""
        assert await node.presence.count({"1:a": 2, "1:b": 1}) == {"1:a": (0, 2), "1:b": (0, 1)}
        assert await node.presence.count({"1:a": 5, "1:b": 0}) == {"1:a": (2, 5), "1:b": (1, 0)}
        assert await node.presence.count({"1:c": 0}) == {"1:c": (0, 0)}
        assert await node.presence.count({}) == {}

    async def test_sizes_are_sockets_and_users(self, node: Node) -> None:
        """Of any topic, known or not."""
        await node.join("e1", "7")
        await node.join("e2", "7")
        await node.join("e3", "8")
        await node.presence.count({TOPIC: 3, "1:a": 2})
        sizes = await node.presence.sizes([TOPIC, "1:a", "1:nobody"])
        assert sizes == {TOPIC: (3, 2), "1:a": (2, 0), "1:nobody": (0, 0)}
        assert await node.presence.sizes([]) == {}

    async def test_occupied_channels_are_listed_by_prefix(self, node: Node) -> None:
        """Of one application, and nothing in a prefix is a pattern."""
        counts = {"1:a-1": 1, "1:a-2": 2, "1:b": 3, "2:a-1": 4, "1:gone": 1}
        await node.presence.count(counts)
        await node.presence.count({"1:gone": 0})
        assert await node.presence.occupied("1") == {"a-1": 1, "a-2": 2, "b": 3}
        assert await node.presence.occupied("1", "a-") == {"a-1": 1, "a-2": 2}
        assert await node.presence.occupied("2") == {"a-1": 4}
        assert await node.presence.occupied("3") == {}
        for prefix in ("*", "?", "[a-z]", "\\"):
            assert await node.presence.occupied("1", prefix) == {}

    async def test_many_channels_are_listed(self, node: Node) -> None:
        """And counted in one call."""
        await node.presence.count({f"1:c{number}": 1 for number in range(1500)})
        assert len(await node.presence.occupied("1")) == 1500
        assert len(await node.presence.occupied("1", "c1")) == 611

    async def test_heartbeat_says_how_many_connections_there_are(self, node: Node) -> None:
        """By application; the latest word of a node counts."""
        assert await node.presence.heartbeat({"1": 3, "2": 1}) == {"1": 3, "2": 1}
        assert await node.presence.heartbeat({"1": 2}) == {"1": 2}
        assert await node.presence.heartbeat({}) == {}

    async def test_applications_and_topics_are_apart(self, node: Node) -> None:
        """One name in two applications, and topics that no client can join."""
        topics = [TOPIC, "2:presence-a", "1:#watch-7"]
        for topic in topics[1:]:
            await node.broker.subscribe(topic)
        for number, topic in enumerate(topics):
            await node.join("e1", str(number), topic=topic)
        assert [(await node.presence.members(topic)).infos for topic in topics] == [
            {"0": "null"},
            {"1": "null"},
            {"2": "null"},
        ]
        await node.presence.leave("1:#watch-7", "e1")
        assert await node.told("1:#watch-7") == [("+", "2"), ("-", "2")]
        assert await node.told() == [("+", "0")]

    async def test_nothing_is_due_in_an_empty_store(self, node: Node) -> None:
        """Expiring is always fine."""
        await node.presence.expire()
        await self.expire_after(node, 100)
        assert node.changes == []
        assert await node.presence.members(TOPIC) != Members({}, 0)


class ManyNodesContract(PresenceContract):
    """What holds where several nodes share a store."""

    async def kill(self, node: Node) -> None:
        """Let `node` die without a word, and be unheard of for so long that others notice."""
        raise NotImplementedError

    @pytest_asyncio.fixture
    async def other(self, broadcaster: Broadcaster) -> AsyncIterator[Node]:
        """Yield a second node."""
        other = await self.make_node(broadcaster)
        yield other
        await other.broker.close()

    async def test_a_user_may_be_on_several_nodes(self, node: Node, other: Node) -> None:
        """And is told of once."""
        await node.join("e1", "7")
        await other.join("e2", "7")
        await node.presence.leave(TOPIC, "e1")
        assert (await node.presence.members(TOPIC)).infos == {"7": "null"}
        await other.presence.leave(TOPIC, "e2")
        assert await node.told() == await other.told() == [("+", "7"), ("-", "7")]
        assert node.changes == [PresenceChange("member_added", TOPIC, "7")]
        assert other.changes == []

    async def test_users_are_told_of_once_when_nodes_compete(self, node: Node, other: Node) -> None:
        """All tabs of twenty users come together, then all go together."""
        nodes = [node, other]
        tabs = [(nodes[n % 2], f"e{n}", str(n // 4)) for n in range(80)]
        await asyncio.gather(*(of.join(entry, user) for of, entry, user in tabs))
        await asyncio.gather(*(of.presence.leave(TOPIC, entry) for of, entry, _ in tabs))
        users = {str(n) for n in range(20)}
        for told in (await node.told(), await other.told()):
            assert sorted(told) == sorted([(sign, user) for sign in "+-" for user in users])
        assert [m.version for m in await node.heard()] == [m.version for m in await other.heard()]

    async def test_sockets_of_all_nodes_count(self, node: Node, other: Node) -> None:
        """A channel is occupied by the first socket anywhere, vacated by the last."""
        assert await node.presence.count({"1:a": 2}) == {"1:a": (0, 2)}
        assert await other.presence.count({"1:a": 3}) == {"1:a": (2, 5)}
        assert await node.presence.count({"1:a": 0}) == {"1:a": (5, 3)}
        assert await node.presence.sizes(["1:a"]) == {"1:a": (3, 0)}
        assert await other.presence.count({"1:a": 0}) == {"1:a": (3, 0)}
        assert node.changes + other.changes == [PresenceChange("channel_occupied", "1:a")]
        await self.advance(NOTIFY_GRACE + 1)
        await node.presence.expire()
        await other.presence.expire()
        assert (node.changes + other.changes)[1:] == [PresenceChange("channel_vacated", "1:a")]

    async def test_connections_of_all_nodes_count(self, node: Node, other: Node) -> None:
        """Until a node says otherwise, or ends."""
        await node.presence.heartbeat({"1": 3})
        assert await other.presence.heartbeat({"1": 4, "2": 1}) == {"1": 7, "2": 1}
        await other.broker.close()
        assert await node.presence.heartbeat({"1": 3}) == {"1": 3}

    async def test_closed_node_leaves_nothing_behind(self, node: Node, other: Node) -> None:
        """Its members and its sockets go with it, at once."""
        await other.join("e1", "7")
        await other.join("e2", "8")
        await node.join("e3", "8")
        await other.presence.count({TOPIC: 2})
        await other.broker.close()
        assert (await node.presence.members(TOPIC)).infos == {"8": "null"}
        assert await node.presence.sizes([TOPIC]) == {TOPIC: (0, 1)}
        assert await node.told() == [("+", "7"), ("+", "8"), ("-", "7")]
        await self.expire_after(node, NOTIFY_GRACE + 1)
        assert sorted(node.changes, key=str) == [
            PresenceChange("channel_vacated", TOPIC),
            PresenceChange("member_removed", TOPIC, "7"),
        ]

    async def test_dead_node_is_cleared_by_another(self, node: Node, other: Node) -> None:
        """Its users go, unless they are elsewhere too, and so do its sockets and connections."""
        await node.join("e1", "here")
        await node.join("e2", "both")
        await other.join("e3", "both")
        await other.join("e4", "there")
        await node.presence.count({"1:a": 1})
        await other.presence.count({"1:a": 2, "1:b": 2})
        await other.presence.heartbeat({"1": 9})
        node.changes.clear()
        await self.kill(other)
        await node.presence.expire()
        assert set((await node.presence.members(TOPIC)).infos) == {"here", "both"}
        assert (await node.told())[-1] == ("-", "there")
        assert [user for sign, user in await node.told() if sign == "-"] == ["there"]
        assert await node.presence.occupied("1") == {"a": 1}
        assert await node.presence.heartbeat({"1": 1}) == {"1": 1}
        assert node.changes == []
        await self.expire_after(node, NOTIFY_GRACE + 1)
        assert sorted(node.changes, key=str) == [
            PresenceChange("channel_vacated", "1:b"),
            PresenceChange("member_removed", TOPIC, "there"),
        ]

    async def test_much_of_a_dead_node_is_cleared_in_time(self, node: Node, other: Node) -> None:
        """A few rounds suffice for thousands of entries."""
        await asyncio.gather(*(other.join(f"e{n}", str(n), limit=9999) for n in range(1200)))
        await other.presence.count({f"1:c{n}": 1 for n in range(1200)})
        await self.kill(other)
        for _ in range(8):
            await node.presence.expire()
        assert (await node.presence.members(TOPIC)).infos == {}
        assert await node.presence.occupied("1") == {}
        assert len(await node.told()) == 2400


class SharedContract(BrokerContract):
    """What holds where the bus leaves the process."""

    async def test_reaches_another_broker(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """Two read ends, as two processes have them, both receive a published message."""
        assert broker.is_shared
        other_end = self.make()
        other, others = other_end.get_broker(), Inbox()
        await other.connect(others)
        await broker.subscribe("1:whik")
        await other.subscribe("1:whik")
        await other.publish(Message("1:whik", "Hello", "{}"))
        await inbox.wait_for(1)
        await others.wait_for(1)
        await other.close()
        await asyncio.to_thread(other_end.close)

    async def test_second_application_has_its_own_channels(self) -> None:
        """A connection of another application publishes under that application's topics."""
        first, second = self.make(), self.make(SECOND)
        broker, inbox = first.get_broker(), Inbox()
        await broker.connect(inbox)
        await broker.subscribe("2:whik")
        await first.abroadcast(["whik"], "First", "{}")
        await second.abroadcast(["whik"], "Second", "{}")
        await inbox.wait_for(1)
        assert [(m.app_id, m.event) for m in inbox] == [("2", "Second")]
        await broker.close()
        for broadcaster in (first, second):
            await asyncio.to_thread(broadcaster.close)
