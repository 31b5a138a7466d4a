"""The connections of a read end, which must all be closed with it."""

import asyncio
import gc
from collections.abc import Iterator

import pytest
import redis

from broadcasting.drivers.redis.broker import RedisBroker
from broadcasting.drivers.redis.names import Names
from broadcasting.drivers.redis.servers import Address, Server
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.messages import Message
from tests.conftest import RedisServer
from tests.drivers.contract import Inbox
from tests.utils import await_until

NAMES = Names("", "1")


class MovingServer(Server):
    """A server that has another address after each `forget`, as after a failover."""

    moves = True

    def __init__(self, server: RedisServer) -> None:
        super().__init__(server.url)
        self._addresses: list[Address] = [("127.0.0.1", server.port), ("localhost", server.port)]

    @property
    def address(self) -> Address:
        return self._addresses[0]

    def forget(self) -> None:
        super().forget()
        self._addresses.reverse()


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Yield a client that sees the others, none of which the collector closes."""
    gc.collect()
    gc.disable()
    with redis.Redis.from_url(redis_server.url) as client:
        yield client
    gc.enable()


async def is_alone(client: redis.Redis) -> None:
    """Wait until Redis has no other connection."""
    await await_until(lambda: len(client.client_list()) == 1, 10, "all others are closed")


async def test_a_server_that_moves_leaves_no_connection_open(
    redis_server: RedisServer, client: redis.Redis
) -> None:
    """Not even if it moves while one is being made."""
    server = MovingServer(redis_server)
    broker = RedisBroker(server, NAMES)
    await broker.connect(Inbox())

    async def publish() -> None:
        for _ in range(100):
            await broker.publish(Message("1:whik", "Hello", "{}"))
            await asyncio.sleep(0)

    async def ask() -> None:
        for _ in range(100):
            await broker.cached("1:cache-a")

    async def move() -> None:
        for _ in range(200):
            server.forget()
            await asyncio.sleep(0.0003)

    await asyncio.gather(publish(), ask(), move())
    await broker.close()
    await is_alone(client)


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_closing_at_any_moment_leaves_no_connection_open(
    redis_server: RedisServer, client: redis.Redis, turns: int
) -> None:
    """Whatever is being connected, subscribed to or asked for; and none is made afterwards."""
    broker = RedisBroker(Server(redis_server.url), NAMES)
    await broker.connect(Inbox())
    calls = [
        asyncio.create_task(broker.subscribe("1:whik")),
        asyncio.create_task(broker.publish(Message("1:whik", "Hello", "{}"))),
        asyncio.create_task(broker.presence.count({"1:whik": 1})),
    ]
    for _ in range(turns):
        await asyncio.sleep(0.0002)
    await broker.close()
    await asyncio.gather(*calls, return_exceptions=True)
    broker.presence.doubt()
    with pytest.raises(BroadcastError, match="not used any more"):
        await broker.publish(Message("1:whik", "Late", "{}"))
    await is_alone(client)
