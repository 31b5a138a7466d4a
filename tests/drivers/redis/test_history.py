"""What Redis keeps, and the versions that say which message is newer."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import redis

from broadcasting.drivers.base import Broker
from broadcasting.drivers.redis.broadcaster import RedisBroadcaster
from broadcasting.protocol.messages import Message
from tests.conftest import RedisServer
from tests.drivers.contract import FIRST

VERSION = "{broadcasting}:version"


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Yield a foreign process's client."""
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        yield client


@pytest_asyncio.fixture
async def broker(redis_server: RedisServer) -> AsyncIterator[Broker]:
    """Yield a read end, which need not read to publish."""
    broker = RedisBroadcaster(app=FIRST, first_app_id="1", url=redis_server.url).get_broker()
    yield broker
    await broker.close()


async def next_version(broker: Broker) -> int:
    """Publish an event that is kept, and return its version."""
    await broker.publish(Message("1:cache-a", "Hello", "{}"))
    cached = await broker.cached("1:cache-a")
    assert cached is not None
    return cached.version


def now(client: redis.Redis) -> int:
    """Return the time of Redis in microseconds."""
    seconds, micros = client.time()
    return seconds * 1_000_000 + micros


class TestVersions:
    async def test_are_the_time_of_redis(self, broker: Broker, client: redis.Redis) -> None:
        """So they tell when a message was published, and need no counter to survive."""
        before = now(client)
        version = await next_version(broker)
        assert before <= version <= now(client)
        assert str(version) == client.get(VERSION)

    async def test_grow_when_redis_has_lost_its_data(
        self, broker: Broker, client: redis.Redis
    ) -> None:
        """As after a restart without a file."""
        versions = []
        for _ in range(3):
            versions.append(await next_version(broker))
            client.flushall()
        assert versions == sorted(set(versions))

    async def test_grow_when_the_clock_is_set_back(
        self, broker: Broker, client: redis.Redis
    ) -> None:
        """By one, until the clock has caught up."""
        ahead = now(client) + 3_600_000_000
        client.set(VERSION, ahead)
        assert [await next_version(broker) for _ in range(2)] == [ahead + 1, ahead + 2]

    async def test_of_an_older_release_fit_in(self, broker: Broker, client: redis.Redis) -> None:
        """It counts on from the last one, whoever gave that."""
        versions = []
        for _ in range(3):
            versions.append(await next_version(broker))
            versions.append(int(client.incr(VERSION)))
        assert versions == sorted(set(versions))


async def test_kept_event_ends(broker: Broker, client: redis.Redis) -> None:
    """Redis forgets it after half an hour."""
    await next_version(broker)
    key = "{broadcasting}:cached:1:cache-a"
    assert 1790 <= client.ttl(key) <= 1800
    client.delete(key)
    assert await broker.cached("1:cache-a") is None
