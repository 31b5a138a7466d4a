"""A master that Sentinels watch over, and its replica."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis

from broadcasting.drivers.base import Broadcaster, Broker
from broadcasting.drivers.redis.broadcaster import RedisBroadcaster
from broadcasting.drivers.redis.servers import SentinelServer
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.members import Member
from broadcasting.protocol.messages import Message
from tests.drivers.contract import FIRST, Inbox
from tests.drivers.redis.redis_servers import RedisProcess, SentinelProcess, running
from tests.utils import await_until, wait_until

TOPIC = "1:presence-a"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[RedisProcess, RedisProcess, SentinelProcess]]:
    """Yield a master, its replica that is up to date, and a Sentinel with a password."""
    master = RedisProcess(tmp_path)
    replica = RedisProcess(tmp_path, "--replicaof", "127.0.0.1", str(master.port))
    sentinel = SentinelProcess(tmp_path, master.port, "s3cret")
    with running(master, replica, sentinel):
        with replica.client() as client:
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", 10)
        with sentinel.client() as client:
            # It looks at the replica each ten seconds otherwise.
            client.execute_command("SENTINEL", "DEBUG", "INFO-PERIOD", "100")
            wait_until(lambda: client.sentinel_slaves(sentinel.SERVICE), 15)
        yield master, replica, sentinel


@pytest.fixture
def broadcaster(
    servers: tuple[RedisProcess, RedisProcess, SentinelProcess],
) -> Iterator[RedisBroadcaster]:
    """Yield a write end that knows a Sentinel that is away, and the one that lives."""
    sentinel = servers[2]
    broadcaster = RedisBroadcaster(
        app=FIRST,
        first_app_id="1",
        sentinels=[["127.0.0.1", 1], ["127.0.0.1", sentinel.port]],
        service=sentinel.SERVICE,
        sentinel_options={"PASSWORD": "s3cret"},
    )
    yield broadcaster
    broadcaster.close()


@pytest.fixture
def inbox() -> Inbox:
    """Return an empty inbox."""
    return Inbox()


@pytest_asyncio.fixture
async def broker(broadcaster: Broadcaster, inbox: Inbox) -> AsyncIterator[Broker]:
    """Yield a read end that is up, with a member."""
    broker = broadcaster.get_broker()
    await broker.connect(inbox)
    await broker.subscribe(TOPIC)
    await await_until(lambda: broker.is_up)
    await broker.presence.join(TOPIC, "e1", Member("7"), socket_id="1.1", limit=9)
    await broker.presence.count({TOPIC: 1})
    yield broker
    await broker.close()


async def has_sent(broadcaster: Broadcaster, event: str) -> bool:
    """Try to send `event`, and tell whether that went well."""
    try:
        await broadcaster.abroadcast(["presence-a"], event, "{}")
    except BroadcastError:
        return False
    return True


async def test_goes_to_the_new_master(
    servers: tuple[RedisProcess, RedisProcess, SentinelProcess],
    broadcaster: Broadcaster,
    broker: Broker,
    inbox: Inbox,
) -> None:
    """Both ends by themselves, and the new one is told who is there."""
    master, replica, _ = servers
    await broadcaster.abroadcast(["presence-a"], "Before", "{}")
    await inbox.wait_for(2)
    await asyncio.to_thread(master.stop)
    await await_until(lambda: not broker.is_up)
    with pytest.raises(BroadcastError):
        await broadcaster.abroadcast(["presence-a"], "Lost", "{}")
    await await_until(lambda: broker.is_up, timeout=20, what="a new master")
    await await_until(lambda: has_sent(broadcaster, "After"), timeout=10)
    await await_until(lambda: inbox[-1].event == "After")
    await broker.publish(Message("1:presence-a", "After that", "{}"))
    await await_until(lambda: inbox[-1].event == "After that")
    assert broker.reconnects == 1
    await broker.presence.heartbeat({"1": 1})
    assert set((await broker.presence.members(TOPIC)).infos) == {"7"}
    assert await broker.presence.sizes([TOPIC]) == {TOPIC: (1, 1)}
    with replica.client() as client:
        assert client.info("replication")["role"] == "master"
        assert b"presence-a" in client.pubsub_channels()


async def test_master_that_steps_down_is_left(
    servers: tuple[RedisProcess, RedisProcess, SentinelProcess],
    broadcaster: Broadcaster,
    broker: Broker,
    inbox: Inbox,
) -> None:
    """Though it lives on, as a replica on which nothing can be written."""
    master, replica, sentinel = servers

    def has_begun() -> bool:
        try:
            client.execute_command("SENTINEL", "FAILOVER", sentinel.SERVICE)
        except redis.ResponseError:  # It does not know yet that the replica is up to date.
            return False
        return True

    with sentinel.client() as client:
        await await_until(has_begun, timeout=15)
        await await_until(
            lambda: client.sentinel_master(sentinel.SERVICE)["port"] == replica.port, timeout=15
        )
    with master.client() as client:
        # As the Sentinel does, eight seconds later.
        client.replicaof("127.0.0.1", replica.port)
        for kind in ("pubsub", "normal"):
            client.client_kill_filter(_type=kind, skipme=True)
    await await_until(lambda: broker.reconnects, timeout=20, what="a new master")
    await await_until(lambda: has_sent(broadcaster, "After"), timeout=10)
    await await_until(lambda: inbox[-1].event == "After", timeout=10)
    await await_until(lambda: broker.is_up)
    assert await broker.presence.heartbeat({"1": 2}) == {"1": 2}


async def test_replica_is_not_taken_for_the_master(
    servers: tuple[RedisProcess, RedisProcess, SentinelProcess],
    broadcaster: RedisBroadcaster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even if a Sentinel says so: what is published there is lost."""
    monkeypatch.setattr(SentinelServer, "locate", lambda self: ("127.0.0.1", servers[1].port))
    with pytest.raises(BroadcastError, match="not the master"):
        await broadcaster.abroadcast(["whik"], "Hello", "{}")
    broker = broadcaster.get_broker()
    with pytest.raises(BroadcastError, match="not the master"):
        await broker.cached("1:cache-a")
    await broker.close()


async def test_sentinels_that_are_away_are_an_error() -> None:
    """As a master that is."""
    broadcaster = RedisBroadcaster(
        app=FIRST, first_app_id="1", sentinels=[["127.0.0.1", 1]], service="mymaster"
    )
    with pytest.raises(BroadcastError, match="mymaster"):
        await broadcaster.abroadcast(["whik"], "Hello", "{}")
    broadcaster.close()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sentinels": [["h", 1]]}, ValueError, '"SERVICE"'),
        ({"sentinels": [], "service": "x"}, ValueError, '"SENTINELS"'),
        ({"sentinels": "h:1", "service": "x"}, ValueError, '"SENTINELS"'),
        ({"sentinels": ["h:1"], "service": "x"}, ValueError, "'h:1'"),
        ({"sentinels": [["h", "one"]], "service": "x"}, ValueError, "one"),
        ({"service": "x"}, ValueError, '"SENTINELS"'),
        ({"sentinel_options": {}}, ValueError, '"SENTINELS"'),
        (
            {"sentinels": [["h", 1]], "service": "x", "url": ["redis://a", "redis://b"]},
            ValueError,
            '"URL"',
        ),
        (
            {"sentinels": [["h", 1]], "service": "x", "url": "unix:///redis.sock"},
            ValueError,
            "unix://",
        ),
        (
            {"sentinels": [["h", 1]], "service": "x", "sentinel_options": {"colour": 1}},
            TypeError,
            "colour",
        ),
        ({"url": []}, ValueError, '"URL"'),
        ({"url": [1]}, ValueError, '"URL"'),
        ({"url": "http://127.0.0.1"}, ValueError, "redis://"),
        ({"url": "redis://127.0.0.1?colour=1"}, TypeError, "colour"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, object], error: type[Exception], message: str
) -> None:
    """With the option that is wrong."""
    with pytest.raises(error, match=message):
        RedisBroadcaster(app=FIRST, first_app_id="1", **options)  # type: ignore[arg-type]  # Of one case.


def test_password_and_database_of_the_master_are_in_the_url() -> None:
    """Its host is of no account."""
    server = SentinelServer("rediss://user:pw@nowhere:1/5", [("127.0.0.1", 1)], "x", {})
    options = server.options(("10.0.0.1", 7000))
    assert options["connection_class"] is redis.SSLConnection
    shown = {name: options[name] for name in ("host", "port", "db", "username", "password")}
    assert shown == {
        "host": "10.0.0.1",
        "port": 7000,
        "db": 5,
        "username": "user",
        "password": "pw",
    }
