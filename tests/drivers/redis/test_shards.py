"""Several Redis servers that share the channels."""

import asyncio
from collections.abc import Iterator

import pytest
import redis

from broadcasting.applications import Application
from broadcasting.drivers.base import CONTROL, Broadcaster, Broker
from broadcasting.drivers.redis.broadcaster import RedisBroadcaster
from broadcasting.drivers.redis.names import place
from broadcasting.drivers.redis.shards import ShardedBroker
from broadcasting.exceptions import BroadcastError, ChannelsRefused
from broadcasting.protocol.members import Member
from tests.conftest import RedisServer
from tests.drivers.contract import FIRST, CacheContract, Inbox, RefusalContract, SharedContract
from tests.drivers.redis.redis_servers import RedisNodes
from tests.drivers.redis.test_broadcaster import allow_two_channels
from tests.utils import await_until


@pytest.fixture(scope="module")
def _module_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("second"))
    server.start()
    yield server
    server.stop()


class OnTwo:
    """Two servers."""

    @pytest.fixture(autouse=True)
    def _servers(self, redis_server: RedisServer, _module_redis: RedisServer) -> None:
        _module_redis.start()
        _module_redis.flush()
        self.servers = [redis_server, _module_redis]
        self.clients = [redis.Redis.from_url(server.url) for server in self.servers]

    def make(self, app: Application = FIRST) -> Broadcaster:
        """Return a write end of both."""
        urls = [server.url for server in self.servers]
        return RedisBroadcaster(app=app, first_app_id="1", url=urls)

    async def refuse(self, broadcaster: Broadcaster) -> Broadcaster:
        """Return a write end of a user who may use two channels on both."""
        for server in self.servers:
            allow_two_channels(server.url)
        urls = [server.url.replace("//", "//narrow:pw@") for server in self.servers]
        return RedisBroadcaster(app=FIRST, first_app_id="1", url=urls)

    def names_on(self, number: int, count: int) -> list[str]:
        """Return channels that belong to one of the servers."""
        names = (f"room-{n}" for n in range(1000))
        return [name for name in names if place(name, 2) == number][:count]


class TestShards(OnTwo, SharedContract, CacheContract, RefusalContract):
    """The contract, and one server that is away."""

    async def test_each_channel_is_on_its_server(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """Under its bare name, so a foreign process only has to choose the server."""
        names = [self.names_on(number, 3) for number in (0, 1)]
        for name in names[0] + names[1]:
            await broker.subscribe(f"1:{name}")
        for number in (0, 1):
            found = {str(channel) for channel in self.clients[number].pubsub_channels()}
            assert found == {str(name.encode()) for name in names[number]}
        await broadcaster.abroadcast(names[0] + names[1], "Hello", "{}")
        for number in (0, 1):
            self.clients[number].publish(names[number][0], '{"event":"Foreign","data":{}}')
        await inbox.wait_for(8)
        assert {m.channel for m in inbox if m.event == "Hello"} == {*names[0], *names[1]}

    async def test_one_server_away_leaves_the_others_channels(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """Its own fail, until it is back."""
        (here,), (there,) = self.names_on(0, 1), self.names_on(1, 1)
        for name in (here, there):
            await broker.subscribe(f"1:{name}")
        await await_until(lambda: broker.is_up)
        await asyncio.to_thread(self.servers[1].stop)
        await await_until(lambda: not broker.is_up)
        with pytest.raises(ChannelsRefused, match="Redis is away") as caught:
            await broadcaster.abroadcast([there, here], "Hello", "{}")
        assert caught.value.refused.keys() == {there}
        with pytest.raises(BroadcastError):
            await broker.presence.join(f"1:{there}", "e", Member("7"), socket_id="1.1", limit=9)
        assert await broker.presence.join(f"1:{here}", "e", Member("7"), socket_id="1.1", limit=9)
        await inbox.wait_for(2)
        assert {(m.channel, m.event) for m in inbox} == {
            (here, "Hello"),
            (here, "pusher_internal:member_added"),
        }
        await asyncio.to_thread(self.servers[1].start)
        await await_until(lambda: broker.is_up)
        assert broker.reconnects == 1
        await broadcaster.abroadcast([there], "Again", "{}")
        await await_until(lambda: (there, "Again") in [(m.channel, m.event) for m in inbox])

    async def test_heartbeat_and_turns_with_one_server_away(self, broker: Broker) -> None:
        """Connections are counted all the same; who is due on the other server is told."""
        assert await broker.presence.heartbeat({"1": 3}) == {"1": 3}
        await asyncio.to_thread(self.servers[0].stop)
        assert await broker.presence.heartbeat({"1": 4}) == {"1": 4}
        with pytest.raises(BroadcastError):
            await broker.presence.expire()
        with pytest.raises(BroadcastError):
            await broker.presence.occupied("1")
        with pytest.raises(BroadcastError):
            await broker.acquire_lease("restart", 60)
        await asyncio.to_thread(self.servers[1].stop)
        with pytest.raises(BroadcastError):
            await broker.presence.heartbeat({"1": 4})

    async def test_turns_are_on_the_first_server(
        self, broadcaster: Broadcaster, broker: Broker
    ) -> None:
        """So that there is one of each."""
        other = broadcaster.get_broker()
        assert await broker.acquire_lease("restart", 60)
        assert not await other.acquire_lease("restart", 60)
        await broker.release_lease("restart")
        assert await other.acquire_lease("restart", 60)
        assert self.clients[0].exists("{broadcasting}:turn:restart")
        await other.close()

    async def test_commands_go_where_their_channel_is(self, broker: Broker) -> None:
        """The control channel is one like all others."""
        await broker.subscribe(f"1:{CONTROL}")
        client = self.clients[place(CONTROL, 2)]
        assert client.pubsub_channels() == [CONTROL.encode()]

    async def test_a_list_of_one_is_one_server(self) -> None:
        """Nothing is made of several then."""
        url = self.servers[0].url
        broadcaster = RedisBroadcaster(app=FIRST, first_app_id="1", url=[url])
        assert not isinstance(broadcaster.get_broker(), ShardedBroker)
        broadcaster.close()


class TestShardedPresence(OnTwo, RedisNodes):
    """The contract."""

    def stores(self) -> list[tuple[redis.Redis, str]]:
        """Return both servers."""
        return [(client, "{broadcasting}:") for client in self.clients]
