"""Presence in Redis, when Redis or a process fails."""

import asyncio
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis

from broadcasting.drivers.base import PresenceChange
from broadcasting.drivers.redis.broadcaster import RedisBroadcaster
from broadcasting.drivers.redis.presence import RedisPresence
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.members import Member
from broadcasting.protocol.messages import MEMBER_ADDED
from tests.conftest import ROOT, RedisServer
from tests.drivers.contract import FIRST, TOPIC, Inbox, Node
from tests.drivers.presence_model import GRACE, LIMIT, TOPICS, USERS, Model, in_order_of_each
from tests.drivers.redis.test_broadcaster import STATE, kill, shift_time
from tests.utils import PATIENCE, await_until

OTHER = "1:presence-b"


def keys_of(client: redis.Redis) -> list[str]:
    """Return every key, but the marks of the first seconds."""
    keys = [str(key) for key in client.scan_iter()]
    return [key for key in keys if not key.startswith(f"{STATE}seen:")]


def presence_of(node: Node) -> RedisPresence:
    """Return the node's presence under its own type."""
    assert isinstance(node.presence, RedisPresence)
    return node.presence


@asynccontextmanager
async def new_node(server: RedisServer) -> AsyncIterator[Node]:
    """Yield a node that listens to TOPIC and OTHER, and is known to Redis."""
    broadcaster = RedisBroadcaster(app=FIRST, first_app_id="1", url=server.url)
    node = Node(broadcaster.get_broker())
    await node.broker.connect(node.inbox)
    for topic in (TOPIC, OTHER):
        await node.broker.subscribe(topic)
    await node.presence.heartbeat({})
    yield node
    await node.broker.close()
    await asyncio.to_thread(broadcaster.close)


@pytest_asyncio.fixture
async def node(redis_server: RedisServer) -> AsyncIterator[Node]:
    """Yield a node."""
    async with new_node(redis_server) as node:
        yield node


@pytest_asyncio.fixture
async def other(redis_server: RedisServer) -> AsyncIterator[Node]:
    """Yield a second node."""
    async with new_node(redis_server) as other:
        yield other


@pytest_asyncio.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[redis.Redis]:
    """Yield a foreign process's client."""
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        yield client


async def has_told(node: Node) -> None:
    """Wait until `node` has resolved any doubt about what Redis knows."""
    await await_until(lambda: not presence_of(node).node.is_in_doubt, 15)


def recounts(*nodes: Node) -> list[str]:
    """Return the topics that a hub of `nodes` was asked to count again."""
    return sorted(topic for node in nodes for topic in node.inbox.recounts)


class TestEmptied:
    """A Redis that has lost its data."""

    async def test_is_told_everything_with_the_next_heartbeat(
        self, node: Node, other: Node, client: redis.Redis
    ) -> None:
        """And nobody hears of users who were there before, nor is anything reported again."""
        await node.join("e1", "7", '{"n":1}')
        await node.join("e2", "7", '{"n":2}')
        await other.join("e3", "8")
        await node.presence.count({TOPIC: 2})
        await other.presence.count({TOPIC: 1, "1:a": 1})
        changes = node.changes + other.changes
        client.flushall()
        await node.presence.heartbeat({"1": 2})
        assert await other.presence.heartbeat({"1": 1}) == {"1": 3}
        members = await node.presence.members(TOPIC)
        assert members.infos == {"7": '{"n":2}', "8": "null"}
        assert await node.presence.sizes([TOPIC, "1:a"]) == {TOPIC: (3, 2), "1:a": (1, 0)}
        assert await node.told() == [("+", "7"), ("+", "8")]
        assert node.changes + other.changes == changes
        await node.presence.leave(TOPIC, "e1")
        assert (await node.presence.members(TOPIC)).infos.keys() == {"7", "8"}

    async def test_is_told_everything_at_once_when_it_is_back(
        self, node: Node, redis_server: RedisServer, client: redis.Redis
    ) -> None:
        """A restart is noticed by the reader; no heartbeat is waited for."""
        for number in range(450):  # Several calls.
            await node.join(f"e{number}", str(number), topic=f"1:presence-{number % 7}", limit=999)
        await node.presence.count({f"1:c{number}": 1 for number in range(450)})
        await asyncio.to_thread(redis_server.stop)
        await asyncio.to_thread(redis_server.start)
        await await_until(lambda: client.hlen(STATE + "occupied:1") == 450, 15)
        await has_told(node)
        sizes = await node.presence.sizes([f"1:presence-{number}" for number in range(7)])
        assert sum(users for _, users in sizes.values()) == 450
        assert len(node.changes) == 900

    async def test_members_read_too_early_are_made_up_for(
        self, node: Node, other: Node, client: redis.Redis
    ) -> None:
        """Who joins before another node has told its users again hears of them then."""
        await node.join("e1", "7")
        client.flushall()
        members = await other.join("e2", "8")
        assert members is not None
        assert members.infos == {"8": "null"}
        await node.presence.heartbeat({})
        assert await other.told() == [("+", "7"), ("+", "8"), ("+", "7")]

    async def test_user_who_left_meanwhile_is_gone_after_a_while(
        self, node: Node, other: Node, client: redis.Redis
    ) -> None:
        """Not at once, since another node may still have to tell of the same user."""
        await node.join("e1", "here")
        await node.join("e2", "both")
        await other.join("e3", "both")
        await node.presence.count({"1:a": 1})
        client.flushall()
        await node.presence.leave(TOPIC, "e1")
        await node.presence.leave(TOPIC, "e2")
        await node.presence.count({"1:a": 0})
        await other.presence.heartbeat({})
        assert [told for told in await other.told() if told[0] == "-"] == []
        assert (await other.presence.members(TOPIC)).infos.keys() == {"here", "both"}
        shift_time_of(client, 11)
        await node.presence.expire()
        assert (await node.presence.members(TOPIC)).infos.keys() == {"both"}
        assert [told for told in await other.told() if told[0] == "-"] == [("-", "here")]
        assert PresenceChange("channel_vacated", "1:a") in node.changes

    async def test_a_vacated_channel_waits_for_other_nodes(
        self, node: Node, other: Node, client: redis.Redis
    ) -> None:
        """It is not reported if sockets elsewhere are told of in time."""
        await node.presence.count({"1:a": 1})
        await other.presence.count({"1:a": 1})
        client.flushall()
        await node.presence.count({"1:a": 0})
        shift_time_of(client, 5)
        await node.presence.expire()
        await other.presence.heartbeat({})
        shift_time_of(client, 30)
        await other.presence.heartbeat({})
        await other.presence.expire()
        await node.presence.expire()
        assert node.changes == [PresenceChange("channel_occupied", "1:a")]
        assert other.changes == []

    async def test_new_counts_are_answered_in_full(self, node: Node, client: redis.Redis) -> None:
        """What is new since then is reported, and told with the totals before and after."""
        await node.presence.count({"1:a": 1})
        node.changes.clear()
        client.flushall()
        assert await node.presence.count({"1:b": 2}) == {"1:b": (0, 2)}
        assert node.changes == [PresenceChange("channel_occupied", "1:b")]
        assert await node.presence.occupied("1") == {"a": 1, "b": 2}

    async def test_channels_are_counted_again_when_all_have_told(
        self, node: Node, other: Node, client: redis.Redis
    ) -> None:
        """Until then the numbers are too small, and nobody is told them."""
        for of in (node, other):
            await of.presence.count({"1:a": 1})
        client.flushall()
        for of in (node, other):
            await of.presence.heartbeat({})
            await of.presence.expire()
        assert recounts(node, other) == []
        shift_time_of(client, 11)
        for of in (node, other) * 2:
            await of.presence.expire()
        assert recounts(node, other) == ["1:a"]
        assert await node.presence.sizes(["1:a"]) == {"1:a": (2, 0)}

    async def test_what_it_holds_too_much_is_removed(self, node: Node, client: redis.Redis) -> None:
        """As when it comes back with data of an earlier time."""
        await node.join("e1", "7")
        await node.join("e2", "8")
        await node.presence.count({"1:a": 1, "1:b": 1})
        presence = presence_of(node)
        del presence._entries[TOPIC, "e2"]
        del presence._stored["1:b"]
        presence.doubt()
        await has_told(node)
        assert (await node.presence.members(TOPIC)).infos.keys() == {"7"}
        assert await node.presence.occupied("1") == {"a": 1}
        assert await node.told() == [("+", "7"), ("+", "8"), ("-", "8")]
        assert presence._wanted == {}
        assert presence._leaves == {}


def shift_time_of(client: redis.Redis, seconds: float) -> None:
    """Let all that waits be older, and the time after a loss be as much shorter."""
    for name in ("graces", "reports", "recounts"):
        for item in client.zrange(STATE + name, 0, -1):
            client.zincrby(STATE + name, -seconds * 1000, str(item))
    if (left := client.pttl(STATE + "restoring")) > 0:
        client.pexpire(STATE + "restoring", max(1, int(left - seconds * 1000)))


class TestAway:
    """A Redis that does not answer."""

    async def test_questions_are_errors(self, node: Node, redis_server: RedisServer) -> None:
        """Whatever needs an answer says that there is none."""
        await asyncio.to_thread(redis_server.stop)
        questions: list[Any] = [
            node.join("e1", "7"),
            node.presence.members(TOPIC),
            node.presence.sizes([TOPIC]),
            node.presence.occupied("1"),
            node.presence.heartbeat({}),
            node.presence.expire(),
        ]
        for question in questions:
            with pytest.raises(BroadcastError, match="Redis is away"):
                await question
        assert presence_of(node)._leaves == {}

    async def test_questions_to_one_that_hangs_end_in_time(
        self, node: Node, client: redis.Redis
    ) -> None:
        """However many there are; and afterwards nothing is left of them."""
        presence = presence_of(node)
        presence.node._queue._timeout = 0.3
        await node.join("e0", "0")
        client.client_pause(60_000, all=False)
        joins = [node.join(f"e{n}", str(n), limit=9999) for n in range(1, 1000)]
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*joins, return_exceptions=True)
        client.client_unpause()
        assert all(isinstance(answer, BroadcastError) for answer in answers)
        presence.node._queue._timeout = 5
        await node.presence.heartbeat({})
        assert (await node.presence.members(TOPIC)).infos.keys() == {"0"}

    async def test_a_full_queue_is_an_error(self, node: Node) -> None:
        """And what is to leave leaves later."""
        presence = presence_of(node)
        await node.join("e1", "7")
        presence.node._queue._limit = 0
        with pytest.raises(BroadcastError, match="messages wait"):
            await node.join("e2", "8")
        await node.presence.leave(TOPIC, "e1")
        presence.node._queue._limit = 100
        await node.presence.heartbeat({})
        assert (await node.presence.members(TOPIC)).infos == {}

    async def test_leaves_and_counts_are_made_up_for(
        self, node: Node, other: Node, client: redis.Redis
    ) -> None:
        """A cut connection loses none of them; nobody hears of those who stayed."""
        for entry, user_id in (("e1", "stays"), ("e2", "leaves"), ("e3", "waits")):
            await node.join(entry, user_id)
        await node.presence.count({"1:a": 1, "1:b": 1})
        queue = presence_of(node).node._queue
        real, queue._send = queue._send, refuse
        await node.presence.leave(TOPIC, "e2")
        await node.presence.leave(TOPIC, "e3", grace=60)
        assert await node.presence.count({"1:a": 5, "1:b": 0, "1:c": 2, "1:d": 0}) == {}
        assert await node.presence.count({"1:c": 0}) == {}
        assert presence_of(node)._wanted == {"1:a": 5, "1:b": 0}
        queue._send = real
        await node.presence.heartbeat({})
        assert await other.presence.occupied("1") == {"a": 5}
        await other.presence.expire()
        assert recounts(node, other) == ["1:a"]
        assert (await other.presence.members(TOPIC)).infos.keys() == {"stays", "waits"}
        assert (await other.told())[3:] == [("-", "leaves")]
        shift_time_of(client, 55)
        await other.presence.expire()
        assert (await other.presence.members(TOPIC)).infos.keys() == {"stays", "waits"}
        shift_time_of(client, 6)
        await other.presence.expire()
        assert (await other.told())[3:] == [("-", "leaves"), ("-", "waits")]

    async def test_a_join_whose_answer_was_lost_is_taken_back(self, node: Node) -> None:
        """Redis has carried it out, but the caller was told that it failed."""
        await has_told(node)
        queue = presence_of(node).node._queue
        real = queue._send

        async def lose(batch: Any) -> Any:
            await real(batch)
            raise ConnectionError("the answer was lost")

        queue._send = lose
        with pytest.raises(BroadcastError, match="the answer was lost"):
            await node.join("e1", "7")
        queue._send = real
        await node.presence.heartbeat({})
        assert (await node.presence.members(TOPIC)).infos == {}
        assert await node.told() == [("+", "7"), ("-", "7")]

    async def test_a_cancelled_join_leaves_nothing(self, node: Node) -> None:
        """A socket may close while it joins."""
        joins = [asyncio.create_task(node.join(f"e{n}", str(n))) for n in range(30)]
        for task in joins[:10]:
            task.cancel()
        await asyncio.sleep(0)  # They have begun.
        assert len(presence_of(node)._joining) == 20
        for task in joins[10:20]:
            task.cancel()
        await asyncio.gather(*joins, return_exceptions=True)
        expected = {str(n) for n in range(20, 30)}

        async def only_the_others() -> bool:
            return (await node.presence.members(TOPIC)).infos.keys() == expected

        await await_until(only_the_others)

    async def test_a_leave_may_overtake_its_join(self, node: Node) -> None:
        """Left while the join was under way, or waited for Redis, the entry does not stay."""
        for _ in range(2):
            joining = asyncio.create_task(node.join("e1", "7"))
            await asyncio.sleep(0)  # It has begun.
            await node.presence.leave(TOPIC, "e1")
            await joining
            assert (await node.presence.members(TOPIC)).infos == {}
            assert presence_of(node)._entries == {}
            presence_of(node).node.doubt()  # The next one waits until that is resolved.
        joining = asyncio.create_task(node.join("e2", "7"))
        await asyncio.sleep(0)
        await node.presence.leave(TOPIC, "e2", grace=60)
        await joining
        assert (await node.presence.members(TOPIC)).infos.keys() == {"7"}

    async def test_forgotten_script_is_sent_again(self, node: Node, client: redis.Redis) -> None:
        """In the middle of work, which keeps its order."""
        for number in range(5):
            client.script_flush()
            await asyncio.gather(
                node.join(f"e{number}", str(number)),
                node.presence.count({"1:a": number + 1}),
            )
            await node.presence.leave(TOPIC, f"e{number}")
        assert await node.told() == [(sign, str(n)) for n in range(5) for sign in "+-"]
        assert await node.presence.occupied("1") == {"a": 5}

    async def test_closing_ends_in_time(self, redis_server: RedisServer) -> None:
        """Also when the node cannot say that it ends."""
        async with new_node(redis_server) as node:
            await node.join("e1", "7")
            await asyncio.to_thread(redis_server.stop)
            async with asyncio.timeout(PATIENCE):
                await node.broker.close()


async def refuse(batch: Any) -> Any:
    """Do as a connection that is cut."""
    raise ConnectionError("cut")


class TestDeath:
    """A process that is no more, or was taken to be."""

    async def test_users_of_a_killed_process_are_gone_in_time(
        self, node: Node, redis_server: RedisServer, client: redis.Redis, tmp_path: Path
    ) -> None:
        """SIGKILL, 20 seconds, and the next second's look: within 35 seconds in all."""
        script = tmp_path / "process.py"
        script.write_text(PROCESS)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(script), redis_server.url),
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"joined\n"
        process.kill()
        await process.wait()
        assert (await node.presence.members(TOPIC)).infos.keys() == {"7", "8"}
        await node.presence.expire()
        assert await node.told() == [("+", "7"), ("+", "8")]
        shift_time(redis_server, 19, "nodes")
        await node.presence.heartbeat({})
        await node.presence.expire()
        assert await node.told() == [("+", "7"), ("+", "8")]
        # Real time from here: one second is left of the twenty.

        async def are_gone() -> bool:
            await node.presence.expire()
            return not (await node.presence.members(TOPIC)).infos

        await await_until(are_gone)
        assert sorted((await node.told())[2:]) == [("-", "7"), ("-", "8")]
        assert await node.presence.sizes([TOPIC]) == {TOPIC: (0, 0)}

    async def test_channels_of_a_dead_process_are_counted_again(
        self, node: Node, other: Node, redis_server: RedisServer
    ) -> None:
        """Those that others are in, once; what a process counts it tells by itself."""
        async with new_node(redis_server) as dead:
            await node.presence.count({"1:a": 1, "1:b": 1})
            await dead.presence.count({"1:a": 2, "1:c": 2})
            await kill(dead)
        shift_time(redis_server, 21, "nodes")
        for of in (node, other):
            await of.presence.heartbeat({})
        for of in (node, other) * 2:
            await of.presence.expire()
        assert recounts(node, other) == ["1:a"]

    async def test_process_taken_for_dead_comes_back(
        self, node: Node, other: Node, redis_server: RedisServer
    ) -> None:
        """Its users were told to have gone, so they are told to have come."""
        await node.join("e1", "7")
        await node.join("e2", "8")
        await other.join("e3", "8")
        await node.presence.count({"1:a": 1})
        name = presence_of(node).node.name
        shift_time(redis_server, 21, "nodes")
        await other.presence.expire()
        assert presence_of(node).node.name == name
        shift_time(redis_server, 4, "reports")
        await other.presence.expire()
        assert (await other.told())[2:] == [("-", "7")]
        await node.presence.heartbeat({})
        assert presence_of(node).node.name != name
        assert (await other.told())[2:] == [("-", "7"), ("+", "7")]
        assert await other.presence.occupied("1") == {"a": 1}
        assert node.changes[-2:] == [
            PresenceChange("member_added", TOPIC, "7"),
            PresenceChange("channel_occupied", "1:a"),
        ]
        await node.presence.leave(TOPIC, "e1")
        assert (await other.told())[-1] == ("-", "7")

    async def test_process_comes_back_while_it_is_being_removed(
        self, node: Node, other: Node, redis_server: RedisServer
    ) -> None:
        """What it enters anew is not removed with what it had."""
        await asyncio.gather(*(node.join(f"e{n}", str(n), limit=9999) for n in range(1100)))
        shift_time(redis_server, 21, "nodes")
        await other.presence.expire()  # Removes 500.
        await node.presence.heartbeat({})
        for _ in range(5):
            await other.presence.expire()
        assert len((await other.presence.members(TOPIC)).infos) == 1100
        left = {str(n) for n in range(1100)}
        for sign, user_id in await other.told():
            (left.discard if sign == "+" else left.add)(user_id)
        assert left == set()

    async def test_leave_of_a_user_who_was_removed_already(
        self, node: Node, other: Node, redis_server: RedisServer
    ) -> None:
        """Is not told a second time; the others come back."""
        await node.join("e1", "7")
        await node.join("e2", "8")
        shift_time(redis_server, 21, "nodes")
        await other.presence.expire()
        await node.presence.leave(TOPIC, "e1")
        assert (await other.presence.members(TOPIC)).infos.keys() == {"8"}
        assert sorted((await other.told())[2:4]) == [("-", "7"), ("-", "8")]
        assert (await other.told())[4:] == [("+", "8")]

    async def test_asking_process_is_not_dead(self, node: Node, redis_server: RedisServer) -> None:
        """One that slept and looks first for what is due does not remove itself."""
        await node.join("e1", "7")
        shift_time(redis_server, 100, "nodes")
        await node.presence.expire()
        assert (await node.presence.members(TOPIC)).infos.keys() == {"7"}


PROCESS = f"""
import asyncio, sys
from unittest.mock import Mock
from broadcasting.applications import Application
from broadcasting.drivers.redis import RedisBroadcaster
from broadcasting.protocol.members import Member
from broadcasting.protocol.messages import MEMBER_ADDED

async def main():
    app = Application(id="1", key="key-1", secret="secret-1")
    broker = RedisBroadcaster(app=app, first_app_id="1", url=sys.argv[1]).get_broker()
    await broker.connect(Mock())
    for user in ("7", "8"):
        member = Member(user)
        await broker.presence.join("{TOPIC}", "k" + user, member, socket_id="9.9", limit=9)
    await broker.presence.count({{"{TOPIC}": 2}})
    await broker.presence.heartbeat({{"1": 2}})
    print("joined", flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


class TestKeys:
    """What stands in Redis."""

    async def test_all_have_an_end(self, node: Node, client: redis.Redis) -> None:
        """Should every process end unheard, nothing stays for ever."""
        await node.join("e1", "7")
        await node.join("e2", "8")
        await node.presence.leave(TOPIC, "e2", grace=5)
        await node.join("e3", "9")
        await node.presence.leave(TOPIC, "e3")
        await node.presence.count({TOPIC: 1, "1:a": 1})
        await node.presence.heartbeat({"1": 1})
        assert len(keys_of(client)) >= 10
        assert [key for key in client.scan_iter() if client.ttl(key) < 0] == []

    async def test_are_renewed(self, node: Node, client: redis.Redis) -> None:
        """A channel in which nothing happens outlives the time to live."""
        await node.join("e1", "7")
        await node.presence.count({TOPIC: 1})
        await node.presence.heartbeat({"1": 1})
        keys = [key for key in keys_of(client) if key != f"{STATE}version"]
        for key in keys:
            client.expire(key, 600)
        presence_of(node).node.RESTORE_EVERY = 0
        await node.presence.heartbeat({"1": 1})
        assert [key for key in keys if client.ttl(key) < 3000] == []
        assert await node.told() == [("+", "7")]

    async def test_are_gone_when_all_have_left(
        self, node: Node, redis_server: RedisServer, client: redis.Redis
    ) -> None:
        """A channel that is empty takes no room."""
        for number in range(20):
            await node.join(f"e{number}", str(number), topic=f"1:presence-{number}")
            await node.presence.count({f"1:presence-{number}": 1})
        for number in range(20):
            await node.presence.leave(f"1:presence-{number}", f"e{number}", grace=number % 2)
            await node.presence.count({f"1:presence-{number}": 0})
        shift_time(redis_server, 5, "graces")
        await node.presence.expire()
        shift_time(redis_server, 5, "reports")
        await node.presence.expire()
        await node.broker.close()
        assert set(keys_of(client)) == {f"{STATE}version", f"{STATE}epoch"}
        assert all(0 < client.pttl(key) <= 10_000 for key in client.scan_iter(f"{STATE}seen:*"))

    async def test_share_a_slot(self, client: redis.Redis, redis_server: RedisServer) -> None:
        """One script touches several of them."""
        broadcaster = RedisBroadcaster(
            app=FIRST, first_app_id="1", url=redis_server.url, prefix="shop_"
        )
        broker = broadcaster.get_broker()
        await broker.connect(Inbox())
        await broker.presence.join(TOPIC, "e1", Member("7"), socket_id="1.1", limit=9)
        await broker.presence.count({TOPIC: 1})
        await broadcaster.abroadcast(["cache-a"], "Hello", "{}")
        keys = keys_of(client)
        assert len(keys) >= 8
        assert all(key.startswith("{shop_broadcasting}:") for key in keys)
        await broker.close()
        broadcaster.close()

    async def test_asking_makes_no_node(
        self, redis_server: RedisServer, client: redis.Redis
    ) -> None:
        """A process that never reads the bus has no part in who is there."""
        broadcaster = RedisBroadcaster(app=FIRST, first_app_id="1", url=redis_server.url)
        broker = broadcaster.get_broker()
        await broker.presence.members(TOPIC)
        await broker.presence.sizes([TOPIC])
        await broker.presence.occupied("1")
        await broker.presence.expire()
        await broker.cached("1:cache-a")
        assert client.zcard(f"{STATE}nodes") == 0
        await broker.close()
        broadcaster.close()
        assert client.zcard(f"{STATE}nodes") == 0


class RandomRun:
    """
    Three nodes that do things at random, in Redis and in a model.

    A fourth one watches: it hears all messages, and says when time is up.
    """

    def __init__(self, server: RedisServer, stack: AsyncExitStack, seed: int) -> None:
        self.model = Model(report_grace=GRACE)
        self.nodes: list[Node] = []  # The watching one first, then all that ever lived.
        self.dice = random.Random(seed)
        self._server = server
        self._stack = stack
        self._living: list[int] = []

    async def start(self) -> None:
        """Start all nodes."""
        for _ in range(4):
            await self._add_node()
        self._living.remove(0)
        await self.nodes[0].broker.subscribe(TOPICS[2])

    async def step(self) -> None:
        """Do something, and compare what is there then."""
        action = self.dice.choice([self.join, self.leave, self.count] * 3 + [self.wait, self.die])
        at = self.dice.choice(self._living)
        await action(at, self.nodes[at], self.dice.choice(TOPICS))
        presence = self.nodes[0].presence
        for topic in TOPICS:
            assert (await presence.members(topic)).infos == self.model.infos(topic)
        assert await presence.sizes(TOPICS) == {t: self.model.sizes(t) for t in TOPICS}

    async def join(self, at: int, node: Node, topic: str) -> None:
        """Enter a user."""
        entry, info = f"e{self.dice.random()}", str(self.dice.random())
        user_id = self.dice.choice(USERS)
        members = await node.join(entry, user_id, info, topic=topic, limit=LIMIT)
        expected = self.model.join(at, topic, entry, user_id, info, LIMIT)
        assert (None if members is None else members.infos) == expected

    async def leave(self, at: int, node: Node, topic: str) -> None:
        """Take one of the node's entries out."""
        entries = [key for key, (of, _) in self.model.entries.items() if of == at]
        if entries:
            topic, entry = self.dice.choice(entries)
            grace = self.dice.choice([0, GRACE])
            await node.presence.leave(topic, entry, grace=grace)
            self.model.leave(topic, entry, grace)

    async def count(self, at: int, node: Node, topic: str) -> None:
        """Change the node's sockets."""
        number = self.dice.choice([0, 0, 1, 2])
        totals = await node.presence.count({topic: number})
        assert totals == {topic: self.model.count(at, topic, number)}

    async def wait(self, at: int, node: Node, topic: str) -> None:
        """Let pass far more time than the test takes, so that real time does not matter."""
        seconds = GRACE * self.dice.choice([0.6, 1.6])
        shift_time(self._server, seconds, "graces", "reports")
        self.model.now += seconds
        await self.nodes[0].presence.expire()
        self.model.expire()

    async def die(self, at: int, node: Node, topic: str) -> None:
        """Kill the node, and start another."""
        name = presence_of(node).node.name
        await kill(node)
        with redis.Redis.from_url(self._server.url) as client:
            client.zadd(f"{STATE}nodes", {name: 1})
        await self.nodes[0].presence.expire()
        self.model.expire()
        self.model.die(at)
        self._living.remove(at)
        await self._add_node()

    async def compare(self) -> None:
        """Compare what was told and reported from the beginning to the end."""
        heard = [m for m in await self.nodes[0].heard() if m.version]
        told = [
            ("+" if m.event == MEMBER_ADDED else "-", m.topic, json.loads(m.data)["user_id"])
            for m in heard
        ]
        assert in_order_of_each(told) == in_order_of_each(self.model.messages)
        changes = [change for node in self.nodes for change in node.changes]
        assert Counter(changes) == Counter(self.model.changes)
        assert [m.version for m in heard] == sorted({m.version or 0 for m in heard})

    async def _add_node(self) -> None:
        node = await self._stack.enter_async_context(new_node(self._server))
        presence_of(node).node.NOTIFY_GRACE = GRACE
        self._living.append(len(self.nodes))
        self.nodes.append(node)


@pytest.mark.parametrize("seed", range(4))
async def test_agrees_with_a_simple_model(redis_server: RedisServer, seed: int) -> None:
    """Members and counts after every step; messages and reports in the end."""
    async with AsyncExitStack() as stack:
        run = RandomRun(redis_server, stack, seed)
        await run.start()
        for _ in range(120):
            await run.step()
        await run.compare()
        assert len(run.model.messages) > 20
        assert len({change.name for change in run.model.changes}) == 4
