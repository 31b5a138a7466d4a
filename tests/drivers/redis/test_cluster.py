"""A Redis Cluster: sharded pub/sub, one slot for each partition."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import redis

from broadcasting.applications import Application
from broadcasting.drivers.base import Broadcaster, Broker
from broadcasting.drivers.redis.broadcaster import RedisBroadcaster
from broadcasting.drivers.redis.names import Layout, slot_of
from broadcasting.drivers.redis.shards import ShardedBroker
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.members import Member
from broadcasting.protocol.messages import Message
from tests.drivers.contract import FIRST, CacheContract, Inbox, SharedContract
from tests.drivers.redis.redis_servers import RedisCluster, RedisNodes
from tests.utils import await_until

LAYOUT = Layout("", "1", None)
TOPIC = "1:presence-a"
PART = LAYOUT.part_of(TOPIC)
TAG = LAYOUT.parts[PART].tag


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Yield a cluster that the tests of this module share."""
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


class OnCluster:
    """Three nodes."""

    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: RedisCluster) -> None:
        self.cluster = cluster
        for node in cluster.nodes[:3]:
            with node.client() as client:
                client.flushall()

    def make(self, app: Application = FIRST) -> Broadcaster:
        """Return a write end that knows one node."""
        url = self.cluster.urls[1]
        return RedisBroadcaster(app=app, first_app_id="1", url=url, cluster=True)


class TestCluster(OnCluster, SharedContract, CacheContract):
    """The contract."""

    async def test_channels_are_sharded_ones(
        self, broadcaster: Broadcaster, broker: Broker
    ) -> None:
        """Of the node that serves the partition, where its keys are, too."""
        await broker.subscribe("1:cache-a")
        names = LAYOUT.parts[LAYOUT.part_of("1:cache-a")]
        await broadcaster.abroadcast(["cache-a"], "Hello", "{}")
        node = self.cluster.owner_of(slot_of(names.tag))
        with node.client() as client:
            assert client.pubsub_channels() == []
            assert client.execute_command("PUBSUB SHARDCHANNELS") == [
                names.of("1:cache-a").encode()
            ]
            assert client.exists(names.cache_of("1:cache-a"), names.version) == 2

    async def test_all_partitions_work(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """Each is reached by both ends."""
        names = [f"cache-{number}" for number in range(100)]
        assert {LAYOUT.part_of(f"1:{name}") for name in names} == set(range(16))
        await asyncio.gather(*(broker.subscribe(f"1:{name}") for name in names))
        await broadcaster.abroadcast(names, "One", "{}")
        await asyncio.gather(*(broker.publish(Message(f"1:{n}", "Two", "{}")) for n in names))
        await inbox.wait_for(200)
        kept = await asyncio.gather(*(broker.cached(f"1:{name}") for name in names))
        assert {cached and cached.event for cached in kept} == {"Two"}

    async def test_one_process_has_its_turn(self, broadcaster: Broadcaster, broker: Broker) -> None:
        """In the whole cluster."""
        other = broadcaster.get_broker()
        assert await broker.acquire_lease("restart", 60)
        assert not await other.acquire_lease("restart", 60)
        await other.close()


class TestClusterPresence(OnCluster, RedisNodes):
    """The contract."""

    @pytest.fixture(autouse=True)
    def _stores(self, cluster: RedisCluster) -> None:
        self._found = [
            (cluster.owner_of(slot_of(names.tag)).client(), names.state) for names in LAYOUT.parts
        ]

    def stores(self) -> list[tuple[redis.Redis, str]]:
        """Return the partitions, where they are."""
        return self._found


class TestMoves(OnCluster):
    """Slots that get another node."""

    @pytest_asyncio.fixture
    async def broadcaster(self) -> AsyncIterator[Broadcaster]:
        """Yield a write end."""
        broadcaster = self.make()
        yield broadcaster
        await asyncio.to_thread(broadcaster.close)

    @pytest.fixture
    def inbox(self) -> Inbox:
        """Return an empty inbox."""
        return Inbox()

    @pytest_asyncio.fixture
    async def broker(self, broadcaster: Broadcaster, inbox: Inbox) -> AsyncIterator[Broker]:
        """Yield a read end that is up."""
        broker = broadcaster.get_broker()
        await broker.connect(inbox)
        await await_until(lambda: broker.is_up)
        yield broker
        await broker.close()

    async def test_a_slot_that_moves_takes_everything_with_it(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """Subscriptions, members and kept events; publishers notice nothing."""
        await broker.subscribe(TOPIC)
        await broadcaster.abroadcast(["presence-a"], "Before", "{}")
        await broker.presence.join(TOPIC, "e1", Member("7"), socket_id="1.1", limit=9)
        await broker.presence.count({TOPIC: 1})
        await inbox.wait_for(2)
        slot = slot_of(TAG)
        source = self.cluster.owner_of(slot)
        target = next(node for node in self.cluster.nodes[:3] if node is not source)
        await asyncio.to_thread(self.cluster.move, slot, source, target)
        # Whoever still knows the former node is told of the new one.
        await broadcaster.abroadcast(["presence-a"], "To the new node", "{}")
        await broker.publish(Message("1:presence-a", "To the new node", "{}"))
        assert set((await broker.presence.members(TOPIC)).infos) == {"7"}
        await await_until(lambda: broker.reconnects == 1 and broker.is_up)
        await broker.presence.join(TOPIC, "e2", Member("8"), socket_id="1.2", limit=9)
        await broadcaster.abroadcast(["presence-a"], "After", "{}")
        await await_until(lambda: inbox[-1].event == "After")
        assert inbox[-2].event == "pusher_internal:member_added"
        assert await broker.presence.sizes([TOPIC]) == {TOPIC: (1, 2)}

    async def test_what_is_asked_while_a_slot_is_moving_waits(
        self, broadcaster: Broadcaster, broker: Broker
    ) -> None:
        """Neither node can run a script then."""
        await broker.subscribe("1:cache-a")
        slot = slot_of(LAYOUT.parts[LAYOUT.part_of("1:cache-a")].tag)
        source = self.cluster.owner_of(slot)
        target = next(node for node in self.cluster.nodes[:3] if node is not source)
        with source.client() as giver, target.client() as taker:
            taker.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
            giver.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        asking = asyncio.create_task(broker.presence.members("1:cache-a"))
        sending = asyncio.create_task(broadcaster.abroadcast(["cache-a"], "Hello", "{}"))
        publishing = asyncio.create_task(broker.publish(Message("1:cache-a", "Hello", "{}")))
        done, _ = await asyncio.wait([asking, sending, publishing], timeout=0.3)
        assert not done  # After several attempts.
        await asyncio.to_thread(self.cluster.move, slot, source, target)
        await asyncio.gather(asking, sending, publishing)
        cached = await broker.cached("1:cache-a")
        assert cached is not None
        assert cached.event == "Hello"

    async def test_a_slot_that_never_arrives_is_an_error(
        self, broadcaster: Broadcaster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After some attempts."""
        monkeypatch.setattr("broadcasting.drivers.redis.scripts.PAUSE", 0.001)
        broker = broadcaster.get_broker()
        slot = slot_of(LAYOUT.parts[LAYOUT.part_of("1:cache-a")].tag)
        source = self.cluster.owner_of(slot)
        target = next(node for node in self.cluster.nodes[:3] if node is not source)
        with source.client() as giver, target.client() as taker:
            taker.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
            giver.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
            with pytest.raises(BroadcastError, match="elsewhere or moving"):
                await broadcaster.abroadcast(["cache-a"], "Hello", "{}")
            with pytest.raises(BroadcastError, match="elsewhere or moving"):
                await broker.publish(Message("1:cache-a", "Hello", "{}"))
            with pytest.raises(BroadcastError, match="elsewhere or moving"):
                await broker.cached("1:cache-a")
            taker.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")
            giver.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")
        await broker.close()

    async def test_a_node_that_dies_is_replaced(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """By its replica; channels of the other nodes never notice."""
        assert isinstance(broker, ShardedBroker)
        first = self.cluster.nodes[0]
        on_first, elsewhere = [
            next(
                f"room-{n}"
                for n in range(1000)
                if (self.cluster.owner_of(self.slot_of(f"room-{n}")) is first) is wanted
            )
            for wanted in (True, False)
        ]
        for name in (on_first, elsewhere):
            await broker.subscribe(f"1:{name}")
        await asyncio.to_thread(self.cluster.add_replica)
        await asyncio.to_thread(first.stop)
        await await_until(lambda: not broker.is_up)
        await broadcaster.abroadcast([elsewhere], "Meanwhile", "{}")
        await await_until(lambda: broker.is_up, timeout=20)
        await broadcaster.abroadcast([on_first], "After", "{}")
        await inbox.wait_for(2)
        assert [(m.channel, m.event) for m in inbox] == [
            (elsewhere, "Meanwhile"),
            (on_first, "After"),
        ]

    def slot_of(self, channel: str) -> int:
        """Return the slot that `channel` is in."""
        return slot_of(LAYOUT.parts[LAYOUT.part_of(f"1:{channel}")].tag)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "redis://127.0.0.1/3"}, "names a database"),
        ({"url": "unix:///run/redis.sock"}, "unix://"),
        ({"prefix": "{shop}"}, "brace"),
        ({"sentinels": [["127.0.0.1", 1]], "service": "x"}, "CLUSTER"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    """With what is wrong."""
    with pytest.raises(ValueError, match=message):
        RedisBroadcaster(app=FIRST, first_app_id="1", cluster=True, **options)  # type: ignore[arg-type]  # Of one case.


async def test_a_cluster_that_is_away_is_an_error() -> None:
    """For whoever publishes or asks."""
    broadcaster = RedisBroadcaster(
        app=FIRST, first_app_id="1", url="redis://127.0.0.1:1", cluster=True
    )
    with pytest.raises(BroadcastError, match="Redis is away"):
        await broadcaster.abroadcast(["whik"], "Hello", "{}")
    broker = broadcaster.get_broker()
    with pytest.raises(BroadcastError, match="away"):
        await broker.cached("1:cache-a")
    await broker.close()
    broadcaster.close()
