"""The Redis driver, against a real server."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import pytest_asyncio
import redis

from broadcasting.applications import Application
from broadcasting.drivers.base import Broadcaster, Broker
from broadcasting.drivers.redis.broadcaster import RedisBroadcaster
from broadcasting.drivers.redis.broker import RedisBroker
from broadcasting.drivers.redis.presence import RedisPresence
from broadcasting.drivers.redis.wire import decode_wire, encode_wire
from broadcasting.exceptions import BroadcastError, ChannelsRefused
from broadcasting.protocol.members import Member
from broadcasting.protocol.messages import Message
from tests.conftest import RedisServer
from tests.drivers.contract import (
    FIRST,
    SECOND,
    CacheContract,
    Inbox,
    ManyNodesContract,
    Node,
    RefusalContract,
    SharedContract,
)
from tests.utils import await_until

STATE = "{broadcasting}:"


def shift_time(server: RedisServer, seconds: float, *lists: str) -> None:
    """Let all that waits in `lists` be `seconds` older."""
    with redis.Redis.from_url(server.url) as client:
        for name in lists:
            for item in client.zrange(STATE + name, 0, -1):
                client.zincrby(STATE + name, -seconds * 1000, item)


async def kill(node: Node) -> None:
    """Let `node` fall silent, as a process does that is killed."""
    presence = node.presence
    assert isinstance(presence, RedisPresence)
    presence.node.name = ""
    await node.broker.close()


@asynccontextmanager
async def far_away(port: int) -> AsyncIterator[int]:
    """Yield a port whose every byte takes 20 ms to and from `port`."""
    writers: list[asyncio.StreamWriter] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await asyncio.sleep(0.02)  # The distance.
                writer.write(data)
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, there = await asyncio.open_connection("127.0.0.1", port)
        writers.extend([writer, there])
        await asyncio.gather(carry(reader, there), carry(back, writer))

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in writers:
        writer.close()
    await asyncio.gather(*(w.wait_closed() for w in writers), return_exceptions=True)


def allow_two_channels(url: str) -> None:
    """Make a user ``narrow`` who may use the channels that end in a or b, and no other."""
    with redis.Redis.from_url(url) as client:
        rules = "reset on >pw ~* +@all resetchannels &*a &*b"
        client.execute_command("ACL", "SETUSER", "narrow", *rules.split())


class OnRedis:
    """The suite's server, and a foreign process's client of it."""

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> None:
        self.server = redis_server

    @pytest_asyncio.fixture
    async def client(self, redis_server: RedisServer) -> AsyncIterator[redis.Redis]:
        """Yield a foreign process's client."""
        with redis.Redis.from_url(redis_server.url) as client:
            yield client

    def make(self, app: Application = FIRST, **options: object) -> Broadcaster:
        """Return a write end of the suite's server."""
        options = {"url": self.server.url, **options}
        return RedisBroadcaster(app=app, first_app_id="1", **options)  # type: ignore[arg-type]  # options of one test

    async def refuse(self, broadcaster: Broadcaster) -> Broadcaster:
        """Return a write end of a user who may use two channels."""
        allow_two_channels(self.server.url)
        return self.make(url=self.server.url.replace("//", "//narrow:pw@"))


class TestRedis(OnRedis, SharedContract, CacheContract, RefusalContract):
    """The contract, Laravel's wire format, and a server that comes and goes."""

    async def test_speaks_laravels_wire_format(
        self, broadcaster: Broadcaster, client: redis.Redis
    ) -> None:
        """A foreign subscriber of the bare channel reads event, data and socket."""
        with client.pubsub(ignore_subscribe_messages=True) as foreign:
            foreign.subscribe("whik")
            assert await await_until(lambda: foreign.subscribed and client.pubsub_channels())
            await broadcaster.abroadcast(["whik"], "NewUserCreated", '{"user":{"name":"é"}}')
            message = await await_until(foreign.get_message)
        assert message["data"] == (
            '{"event":"NewUserCreated","data":{"user":{"name":"é"}},"socket":null}'.encode()
        )

    async def test_no_secret_is_sent(
        self, broadcaster: Broadcaster, broker: Broker, client: redis.Redis
    ) -> None:
        """Whatever is done; Reverb sends its application's with each message."""

        def commands_until_end() -> list[str]:
            found: list[str] = []
            while not found or "the end" not in found[-1]:
                found.append(str(monitor.next_command()))
            return found

        with client.monitor() as monitor:
            await broker.subscribe("1:presence-x")
            await broadcaster.abroadcast(["presence-x", "cache-x"], "e", "{}", socket_id="1.1")
            await asyncio.to_thread(broadcaster.terminate_user_connections, "1")
            await broker.publish(Message("1:presence-x", "client-e", "{}", "1.1", "1"))
            await broker.presence.join("1:presence-x", "e", Member("1"), socket_id="1.1", limit=9)
            await broker.presence.count({"1:presence-x": 1})
            await broker.presence.heartbeat({"1": 1})
            await asyncio.to_thread(client.echo, "the end")
            commands = await asyncio.to_thread(commands_until_end)
        assert any("presence-x" in command for command in commands)
        assert not [command for command in commands if FIRST.secret in command]

    async def test_hears_a_foreign_publisher(
        self, broker: Broker, inbox: Inbox, client: redis.Redis
    ) -> None:
        """What `redis-cli PUBLISH` sends is delivered, spaces and further keys included."""
        await broker.subscribe("1:whik")
        payload = '{"event": "X", "data": {"user": {"name": "x"}}, "socket": null, "extra": [1]}'
        client.publish("whik", payload)
        (message,) = await inbox.wait_for(1)
        assert message == Message("1:whik", "X", '{"user":{"name":"x"}}')

    async def test_drops_malformed_messages_and_lives_on(
        self,
        broker: Broker,
        inbox: Inbox,
        client: redis.Redis,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Each malformed message is one warning; the next good one arrives."""
        bad = [
            b"",
            b"nonsense",
            b"[1]",
            b'{"data":{}}',
            b'{"event":1,"data":{}}',
            b'{"event":"pusher:error","data":{}}',
            b'{"event":"X","data":NaN}',
            b'{"event":"X","data":"\\ud800"}',
            b'{"event":"X","data":{"a":"\\udfff"}}',
            b'{"event":"X","data":{},"socket":"nonsense"}',
            b'{"event":"X","data":{},"socket":7}',
            b'{"event":"X","data":{},"user_id":7}',
            b'{"event":"X","data":{},"user_id":"\\ud800"}',
            b'{"event":"X","data":{},"version":"7"}',
            b'{"event":"X","data":{},"version":true}',
            b'{"event":["X"],"data":{}}',
            b"\xff\xfe",
            b"[" * 100_000,
        ]
        await broker.subscribe("1:whik")
        for payload in bad:
            client.publish("whik", payload)
        client.publish("whik", '{"event":"Good","data":{}}')
        await inbox.wait_for(1)
        assert [m.event for m in inbox] == ["Good"]
        warnings = [r for r in caplog.records if "malformed" in r.getMessage()]
        assert len(warnings) == len(bad)

    async def test_speaks_laravels_wire_format_on_cache_channels_too(
        self, broadcaster: Broadcaster, client: redis.Redis
    ) -> None:
        """With one more key, which foreign readers ignore."""
        with client.pubsub(ignore_subscribe_messages=True) as foreign:
            foreign.subscribe("cache-a")
            assert await await_until(lambda: foreign.subscribed and client.pubsub_channels())
            await broadcaster.abroadcast(["cache-a"], "Hello", '{"a":1}')
            message = await await_until(foreign.get_message)
        value = json.loads(message["data"])
        assert isinstance(value.pop("version"), int)
        assert value == {"event": "Hello", "data": {"a": 1}, "socket": None}

    async def test_foreign_event_on_a_cache_channel_is_not_kept(
        self, broker: Broker, inbox: Inbox, client: redis.Redis
    ) -> None:
        """It is delivered like any other; what a server kept before stays."""
        await broker.subscribe("1:cache-a")
        await broker.publish(Message("1:cache-a", "Ours", "{}"))
        client.publish("cache-a", '{"event": "Theirs", "data": {}}')
        assert [m.event for m in await inbox.wait_for(2)] == ["Ours", "Theirs"]
        cached = await broker.cached("1:cache-a")
        assert cached is not None
        assert cached.event == "Ours"

    async def test_forgotten_scripts_are_sent_again(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox, client: redis.Redis
    ) -> None:
        """Scripts that Redis lost cost another round trip, and no message."""
        await broker.subscribe("1:cache-a")
        await broker.subscribe("1:plain")
        for number in range(3):
            client.script_flush()
            await broadcaster.abroadcast(["plain", "cache-a"], "X", str(number))
            client.script_flush()
            await broker.publish(Message("1:cache-a", "X", str(number)))
            client.script_flush()
            assert await broker.cached("1:cache-a") is not None
        await inbox.wait_for(9)
        kept = [m.data for m in inbox if m.channel == "cache-a"]
        assert kept == ["0", "0", "1", "1", "2", "2"]
        assert [m.data for m in inbox if m.channel == "plain"] == ["0", "1", "2"]

    async def test_without_memory_only_what_is_kept_is_refused(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox, client: redis.Redis
    ) -> None:
        """Redis stores nothing more, and still passes on what it need not store."""
        for name in ("cache-a", "whik"):
            await broker.subscribe(f"1:{name}")
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(ChannelsRefused, match="maxmemory") as caught:
                await broadcaster.abroadcast(["cache-a", "whik"], "One", "{}")
            kept, plain = await asyncio.gather(
                broker.publish(Message("1:cache-a", "Two", "{}")),
                broker.publish(Message("1:whik", "Two", "{}")),
                return_exceptions=True,
            )
        finally:
            client.config_set("maxmemory", "0")
        assert caught.value.refused.keys() == {"cache-a"}
        assert isinstance(kept, BroadcastError)
        assert plain is None
        await broadcaster.abroadcast(["cache-a"], "Three", "{}")
        await inbox.wait_for(3)
        assert [(m.channel, m.event) for m in inbox] == [
            ("whik", "One"),
            ("whik", "Two"),
            ("cache-a", "Three"),
        ]

    async def test_asking_a_redis_that_is_away_is_an_error(
        self, broker: Broker, redis_server: RedisServer
    ) -> None:
        """Whoever joins a cache channel then hears of it."""
        await asyncio.to_thread(redis_server.stop)
        with pytest.raises(BroadcastError, match="Redis is away"):
            await broker.cached("1:cache-a")

    async def test_several_channels_take_one_round_trip(
        self, broadcaster: Broadcaster, client: redis.Redis
    ) -> None:
        """All channels of an event go to Redis in one write."""
        await broadcaster.abroadcast(["warm-up"], "Hello", "{}")
        before = client.info("stats")["total_reads_processed"]
        await broadcaster.abroadcast([f"c{n}" for n in range(50)], "Hello", "{}")
        # One read for the pipeline and one for this INFO itself.
        assert client.info("stats")["total_reads_processed"] - before == 2

    async def test_prefix_stands_before_every_name(self, client: redis.Redis) -> None:
        """A prefix, and another application's id, keep installations apart on one Redis."""
        second = self.make(SECOND, prefix="shop_")
        broker, inbox = second.get_broker(), Inbox()
        await broker.connect(inbox)
        await broker.subscribe("2:whik")
        await broker.subscribe("1:whik")
        assert sorted(client.pubsub_channels()) == [b"shop_2:whik", b"shop_whik"]
        await second.abroadcast(["whik"], "Hello", "{}")
        (message,) = await inbox.wait_for(1)
        assert message.topic == "2:whik"
        await broker.close()
        second.close()

    async def test_reader_comes_back_after_a_restart(
        self,
        broadcaster: Broadcaster,
        broker: Broker,
        inbox: Inbox,
        redis_server: RedisServer,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A killed and restarted Redis costs one line each way and every topic is back."""
        caplog.set_level("INFO", "broadcasting.drivers")
        topics = [f"1:room-{n}" for n in range(600)]  # More than one batch of SUBSCRIBE.
        await asyncio.gather(*(broker.subscribe(topic) for topic in topics))
        await asyncio.to_thread(redis_server.stop)
        await await_until(lambda: "Lost Redis" in caplog.text)
        with pytest.raises(BroadcastError, match="Redis is away"):
            await broadcaster.abroadcast(["room-0"], "Hello", "{}")
        with pytest.raises(BroadcastError, match="Redis is away"):
            await broker.publish(Message("1:room-0", "Hello", "{}"))
        await asyncio.to_thread(redis_server.start)
        await await_until(lambda: "Redis is back; 600 channels" in caplog.text)
        await broker.subscribe("1:new")  # Confirmed after all that was asked for before it.
        await broadcaster.abroadcast(["room-0", "room-599"], "Hello", "{}")
        await broker.publish(Message("1:room-1", "Hello", "{}"))
        await inbox.wait_for(3)
        lines = [r.getMessage() for r in caplog.records if r.name == "broadcasting.drivers"]
        assert len(lines) == 2

    async def test_subscribing_while_redis_is_away_fails_in_time(
        self, broker: RedisBroker, redis_server: RedisServer
    ) -> None:
        """A subscription that Redis does not confirm is an error and leaves nothing behind."""
        await asyncio.to_thread(redis_server.stop)
        broker._reader.CONFIRM_TIMEOUT = 0.2
        with pytest.raises(BroadcastError, match="did not confirm"):
            await broker.subscribe("1:whik")
        assert broker._reader._wanted == {}

    async def test_subscribing_waits_for_a_redis_that_comes_back(
        self, broker: Broker, redis_server: RedisServer
    ) -> None:
        """A short absence of Redis is invisible to a new subscriber."""
        await asyncio.to_thread(redis_server.stop)
        subscribing = asyncio.create_task(broker.subscribe("1:whik"))
        await asyncio.to_thread(redis_server.start)
        await subscribing

    async def test_subscribing_during_the_handshake_disturbs_it_not(
        self, redis_server: RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With a password, a database and a long way, sockets that come meanwhile just wait."""
        client.config_set("requirepass", "pw")
        async with far_away(redis_server.port) as port:
            broadcaster = RedisBroadcaster(
                app=FIRST, first_app_id="1", url=f"redis://:pw@127.0.0.1:{port}/3"
            )
            broker, inbox = broadcaster.get_broker(), Inbox()
            await broker.connect(inbox)
            subscribing = []
            for number in range(100):
                subscribing.append(asyncio.create_task(broker.subscribe(f"1:c{number}")))
                await asyncio.sleep(0.001)
            await asyncio.gather(*subscribing)
            await broadcaster.abroadcast(["c0", "c99"], "Hello", "{}")
            await inbox.wait_for(2)
            await broker.close()
            broadcaster.close()
        client.config_set("requirepass", "")
        assert "Lost Redis" not in caplog.text

    async def test_a_redis_that_hangs_is_an_error(
        self, broker: RedisBroker, client: redis.Redis
    ) -> None:
        """Publishing from a server process ends in time, and works again afterwards."""
        await broker.publish(Message("1:whik", "Hello", "{}"))
        broker._messages._timeout = 0.2
        client.client_pause(600)
        with pytest.raises(BroadcastError, match="did not answer"):
            await broker.publish(Message("1:whik", "Hello", "{}"))
        broker._messages._timeout = 30
        await broker.publish(Message("1:whik", "Hello", "{}"))

    async def test_a_bug_in_the_reader_does_not_leave_the_process_deaf(
        self, broadcaster: Broadcaster, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is logged, and the next message is read."""
        inbox, failures = Inbox(), 1

        def deliver(message: Message) -> None:
            nonlocal failures
            if failures:
                failures -= 1
                raise ZeroDivisionError
            inbox.append(message)

        inbox.deliver = deliver
        broker = broadcaster.get_broker()
        await broker.connect(inbox)
        await broker.subscribe("1:whik")
        await broadcaster.abroadcast(["whik"], "Hello", "{}")
        await await_until(lambda: "The Redis reader failed" in caplog.text)

        async def send_and_look() -> bool:
            await broadcaster.abroadcast(["whik"], "Hello", "{}")
            return bool(inbox)

        await await_until(send_and_look)
        await broker.close()

    async def test_a_dead_connection_is_noticed(
        self,
        broadcaster: Broadcaster,
        redis_server: RedisServer,
        client: redis.Redis,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A Redis that accepts but never answers is given up; a living idle one is kept."""
        caplog.set_level("INFO", "broadcasting.drivers")
        broker, inbox = broadcaster.get_broker(), Inbox()
        assert isinstance(broker, RedisBroker)
        broker._reader.IDLE = 0.1
        await broker.connect(inbox)
        await broker.subscribe("1:whik")
        pings = client.info("commandstats").get("cmdstat_ping", {"calls": 0})["calls"]
        await await_until(
            lambda: (
                client.info("commandstats").get("cmdstat_ping", {"calls": 0})["calls"] >= pings + 8
            )
        )
        assert "Lost Redis" not in caplog.text
        client.client_pause(1500)
        await await_until(lambda: "Lost Redis: no answer for" in caplog.text)
        await await_until(lambda: "Redis is back" in caplog.text, timeout=10)
        await broker.close()

    async def test_one_process_has_its_turn(
        self, broadcaster: Broadcaster, broker: Broker, client: redis.Redis
    ) -> None:
        """Until it ends it, its time is over, or the pause after it is."""
        other = broadcaster.get_broker()
        assert await broker.acquire_lease("restart", 60)
        assert not await other.acquire_lease("restart", 60)
        assert await broker.acquire_lease("restart", 120)  # Prolonged.
        assert 100 < client.ttl("{broadcasting}:turn:restart") <= 120
        assert await other.acquire_lease("something else", 60)
        await other.release_lease("restart")  # It is not its own.
        assert not await other.acquire_lease("restart", 60)
        await broker.release_lease("restart")
        assert await other.acquire_lease("restart", 60)
        await other.release_lease("restart", after=60)
        assert not await broker.acquire_lease("restart", 60)
        assert not await other.acquire_lease("restart", 60)
        client.pexpire("{broadcasting}:turn:restart", 1)
        assert await await_until(lambda: broker.acquire_lease("restart", 0.001))
        assert await await_until(lambda: other.acquire_lease("restart", 60))
        await other.close()

    async def test_turns_of_a_redis_that_is_away(
        self, broker: Broker, redis_server: RedisServer
    ) -> None:
        """Taking one is an error, ending one is not."""
        await asyncio.to_thread(redis_server.stop)
        with pytest.raises(BroadcastError, match="Redis is away"):
            await broker.acquire_lease("restart", 60)
        await broker.release_lease("restart", after=1)

    async def test_says_whether_redis_is_there(
        self, broker: Broker, redis_server: RedisServer
    ) -> None:
        """And how often it came back."""
        await await_until(lambda: broker.is_up)
        await asyncio.to_thread(redis_server.stop)
        await await_until(lambda: not broker.is_up)
        await asyncio.to_thread(redis_server.start)
        await await_until(lambda: broker.is_up)
        assert broker.reconnects == 1

    async def test_slow_reader_is_warned_of(
        self, broadcaster: Broadcaster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without hiredis a burst ends the connection."""
        monkeypatch.setitem(sys.modules, "hiredis", None)
        assert [message.id for message in broadcaster.check()] == ["broadcasting.W004"]

    async def test_the_pool_makes_threads_wait(self) -> None:
        """More threads than connections is no error."""
        broadcaster = self.make(max_connections=1)
        work = [broadcaster.abroadcast(["whik"], "Hello", "{}") for _ in range(50)]
        await asyncio.gather(*work)
        broadcaster.close()


class TestRedisPresence(OnRedis, ManyNodesContract):
    """The contract on a real server. What happens when that fails is in test_redis_presence.py."""

    @pytest.fixture(autouse=True)
    def _nodes(self) -> None:
        self.nodes: list[Node] = []

    async def make_node(self, broadcaster: Broadcaster) -> Node:
        """Return a node, and remember that it lives."""
        node = await super().make_node(broadcaster)
        self.nodes.append(node)
        return node

    async def advance(self, seconds: float) -> None:
        """Set all that waits to an earlier time."""
        shift_time(self.server, seconds, "graces", "reports")

    async def kill(self, node: Node) -> None:
        """Set its last heartbeat to an earlier time, and let it say no more."""
        await kill(node)
        shift_time(self.server, 21, "nodes")
        self.nodes.remove(node)
        for living in self.nodes:
            await living.presence.expire()


@pytest.mark.parametrize("data", ['{"a":1}', "plain", '"text"', "[1]", ""])
def test_verbatim_data_survives_the_wire(data: str) -> None:
    """A string is the final text."""
    message = Message("1:c", "X", data, "1.2")
    assert decode_wire("1:c", encode_wire(message, verbatim=True).encode()) == message


def test_other_data_is_encoded_once() -> None:
    """An object goes as an object, so that Laravel's readers find one."""
    payload = encode_wire(Message("1:c", "X", '{"a":1}'), verbatim=False)
    assert json.loads(payload) == {"event": "X", "data": {"a": 1}, "socket": None}
    assert decode_wire("1:c", payload.encode()).data == '{"a":1}'


def test_an_object_stays_the_text_that_it_was() -> None:
    """Spaces and the spelling of numbers included; escapes of other writers are undone."""
    for data in ('{ "a" : 1.50, "b": 1e3 }', '{"a":"\\n\\"","a":[{}]}', '{"a":{"data":{}}}'):
        payload = encode_wire(Message("1:c", "X", data, "1.2"), verbatim=False)
        assert decode_wire("1:c", payload.encode()).data == data
    foreign = r'{"event":"X","data":{"url":"http:\/\/a\u00e9"},"socket":null}'
    assert decode_wire("1:c", foreign.encode()).data == '{"url":"http://aé"}'


@pytest.mark.parametrize("url", ["redis://:very/secret@redis:6379", "redis://:[very@redis"])
def test_address_that_cannot_be_read_is_not_repeated(url: str) -> None:
    """Python takes the beginning of such a password for a port, and says it."""
    with pytest.raises(ValueError, match="written as %2F") as caught:
        RedisBroadcaster(app=FIRST, first_app_id="1", url=url)
    assert "very" not in str(caught.value)
