"""The reader of one Redis server: batches, delays, and a server that comes and goes."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis

from broadcasting.drivers.redis.reader import Reader
from broadcasting.drivers.redis.servers import Server
from broadcasting.exceptions import BroadcastError
from tests.conftest import RedisServer
from tests.utils import await_until


class Taken(list[tuple[str, bytes]]):
    """What a reader took."""

    def take(self, topic: str, payload: bytes) -> None:
        """Take one message."""
        self.append((topic, payload))

    async def wait_for(self, payload: bytes) -> list[bytes]:
        """Return all payloads when `payload` has come."""
        await await_until(lambda: payload in self.payloads, what=f"{payload!r}, has {self}")
        return self.payloads

    @property
    def payloads(self) -> list[bytes]:
        """What was published."""
        return [payload for _, payload in self]


@pytest.fixture
def client(redis_server: RedisServer) -> redis.Redis:
    """Return a publisher, and one who knows what Redis knows."""
    client = redis.Redis.from_url(redis_server.url)
    client.config_resetstat()
    return client


@pytest.fixture
def taken() -> Taken:
    """Return an empty list."""
    return Taken()


@pytest_asyncio.fixture
async def reader(redis_server: RedisServer, taken: Taken) -> AsyncIterator[Reader]:
    """Yield a reader that has its connection."""
    reader = Reader(Server(redis_server.url), take=taken.take)
    reader.start()
    await await_until(lambda: reader.is_up)
    yield reader
    await reader.close()


def calls(client: redis.Redis, command: str) -> int:
    """Return how often Redis was sent `command`."""
    stats = client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})
    return int(stats["calls"])


def subscribers(client: redis.Redis, channel: str) -> int:
    """Return how many subscribers Redis sees."""
    ((_, number),) = client.pubsub_numsub(channel)
    return int(number)


class TestSubscribing:
    """What Redis is told, and when."""

    async def test_subscriptions_of_one_turn_go_together(
        self, reader: Reader, client: redis.Redis
    ) -> None:
        """In commands of 512 channels."""
        await asyncio.gather(*(reader.subscribe(f"c{n}", f"1:c{n}") for n in range(1100)))
        assert len(client.pubsub_channels()) == 1100
        assert calls(client, "subscribe") == 3

    async def test_a_channel_is_left_at_once_and_redis_told_later(
        self, reader: Reader, taken: Taken, client: redis.Redis
    ) -> None:
        """What comes meanwhile is not taken."""
        reader.LEAVE_AFTER = reader.LEAVE_EVERY = 0.1
        await reader.subscribe("a", "1:a")
        await reader.subscribe("end", "1:end")
        reader.unsubscribe("a")
        assert subscribers(client, "a") == 1
        client.publish("a", "late")
        client.publish("end", "end")
        assert await taken.wait_for(b"end") == [b"end"]
        await await_until(lambda: not subscribers(client, "a"))
        assert subscribers(client, "end") == 1

    async def test_many_are_left_together(self, reader: Reader, client: redis.Redis) -> None:
        """In commands of 512 channels, too."""
        reader.LEAVE_AFTER = reader.LEAVE_EVERY = 0.1
        names = [f"c{n}" for n in range(600)]
        await asyncio.gather(*(reader.subscribe(name, name) for name in names))
        for name in names:
            reader.unsubscribe(name)
        await await_until(lambda: not client.pubsub_channels())
        assert calls(client, "unsubscribe") == 2

    async def test_churn_never_unsubscribes(self, reader: Reader, client: redis.Redis) -> None:
        """Who comes back in time finds the channel still held."""
        reader.LEAVE_EVERY = 0.01
        for _ in range(20):
            await reader.subscribe("a", "1:a")
            reader.unsubscribe("a")
            await asyncio.sleep(0.01)  # The looks at what is left fall in between.
        await reader.subscribe("a", "1:a")
        assert calls(client, "unsubscribe") == 0
        assert reader._leaving == {}

    async def test_what_came_while_nobody_wanted_it_is_not_taken(
        self, reader: Reader, taken: Taken, client: redis.Redis
    ) -> None:
        """Though the channel was never left, and no message after the return is missed."""
        await reader.subscribe("a", "1:a")
        for number in range(50):
            client.publish("a", f"wanted {number}")
            await taken.wait_for(b"wanted %d" % number)
            reader.unsubscribe("a")
            client.publish("a", f"between {number}")  # It waits in the socket.
            await reader.subscribe("a", "1:a")
        client.publish("a", "end")
        assert await taken.wait_for(b"end") == [b"wanted %d" % n for n in range(50)] + [b"end"]

    @pytest.mark.parametrize("seed", [1, 2, 3])
    async def test_any_order_of_coming_and_going(
        self, reader: Reader, taken: Taken, client: redis.Redis, seed: int
    ) -> None:
        """All that is published while somebody listens is taken, in order, and nothing else."""
        dice = random.Random(seed)
        reader.LEAVE_AFTER = reader.LEAVE_EVERY = 0.005  # So Redis is told in between, too.
        wanted: set[str] = set()
        expected: list[bytes] = []
        for number in range(400):
            channel = dice.choice("abc")
            action = dice.choice(["publish", "publish", "turn", "rest"])
            if action == "publish":
                client.publish(channel, number)
                if channel in wanted:
                    expected.append(b"%d" % number)
            elif action == "rest":
                await asyncio.sleep(0.005)
            elif channel in wanted:
                if expected:
                    await taken.wait_for(expected[-1])
                wanted.discard(channel)
                reader.unsubscribe(channel)
            else:
                await reader.subscribe(channel, channel)
                wanted.add(channel)
        await reader.subscribe("end", "end")
        client.publish("end", "end")
        assert await taken.wait_for(b"end") == [*expected, b"end"]
        assert calls(client, "unsubscribe") > 0

    async def test_what_is_left_does_not_pile_up(self, reader: Reader, client: redis.Redis) -> None:
        """Past a bound the oldest are told at once."""
        reader.LEAVE_EVERY = 0.01
        reader.MAX_LEAVING = 10
        names = [f"c{n}" for n in range(30)]
        await asyncio.gather(*(reader.subscribe(name, name) for name in names))
        for name in names:
            reader.unsubscribe(name)
        await await_until(lambda: len(client.pubsub_channels()) == 10)
        assert sorted(client.pubsub_channels()) == sorted(name.encode() for name in names[20:])

    async def test_two_may_wait_for_one_channel(
        self, reader: Reader, taken: Taken, client: redis.Redis
    ) -> None:
        """And one that gives up does not take it from the other."""
        first = asyncio.create_task(reader.subscribe("a", "1:a"))
        second = asyncio.create_task(reader.subscribe("a", "1:a"))
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert first.cancelled()
        client.publish("a", "Hello")
        assert await taken.wait_for(b"Hello") == [b"Hello"]

    async def test_who_gives_up_leaves_nothing_behind(
        self, reader: Reader, client: redis.Redis
    ) -> None:
        """Neither here nor, some time later, in Redis."""
        reader.LEAVE_AFTER = reader.LEAVE_EVERY = 0.05
        client.client_pause(300)
        task = asyncio.create_task(reader.subscribe("a", "1:a"))
        await await_until(lambda: reader._held)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert reader._wanted == {}
        assert reader._waiters == {}
        await await_until(lambda: reader._held == set() and not client.pubsub_channels())

    async def test_an_early_answer_is_not_that_to_a_later_question(
        self, reader: Reader, taken: Taken, client: redis.Redis
    ) -> None:
        """Who gave up and asks again waits for the second answer."""
        client.client_pause(300)
        task = asyncio.create_task(reader.subscribe("a", "1:a"))
        await await_until(lambda: reader._subscribing["a"] == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        again = asyncio.create_task(reader.subscribe("a", "1:a"))
        await await_until(lambda: reader._subscribing["a"] == 2)
        reader._confirm(b"a")  # The first answer, which comes with the second.
        assert reader._live == {}
        reader._subscribing["a"] = 2
        await again
        assert reader._live == {b"a": "1:a"}
        client.publish("a", "Hello")
        assert await taken.wait_for(b"Hello") == [b"Hello"]


class TestLoss:
    """A server that comes and goes."""

    async def test_only_what_is_wanted_comes_back(
        self, reader: Reader, taken: Taken, client: redis.Redis
    ) -> None:
        """What was being left is forgotten."""
        await asyncio.gather(*(reader.subscribe(name, f"1:{name}") for name in ("a", "b", "c")))
        reader.unsubscribe("b")
        assert (reader.is_up, reader.reconnects) == (True, 0)
        client.client_kill_filter(_type="pubsub")
        await await_until(lambda: reader.reconnects == 1)
        assert reader.is_up
        assert sorted(client.pubsub_channels()) == [b"a", b"c"]
        assert reader._leaving == {}
        client.publish("a", "Hello")
        assert await taken.wait_for(b"Hello") == [b"Hello"]

    async def test_is_not_up_while_redis_is_away(
        self, reader: Reader, redis_server: RedisServer
    ) -> None:
        """And what was asked for meanwhile is there when it is back."""
        await asyncio.to_thread(redis_server.stop)
        await await_until(lambda: not reader.is_up)
        subscribing = asyncio.create_task(reader.subscribe("a", "1:a"))
        reader.unsubscribe("a")
        await asyncio.sleep(0)
        again = asyncio.create_task(reader.subscribe("a", "1:a"))
        await asyncio.to_thread(redis_server.start)
        await again
        await await_until(lambda: reader.is_up)
        assert reader.reconnects == 1
        subscribing.cancel()

    async def test_is_not_up_before_the_first_connection(self, redis_server: RedisServer) -> None:
        """Which is none that was lost and found again."""
        await asyncio.to_thread(redis_server.stop)
        reader = Reader(Server(redis_server.url), take=Taken().take)
        assert not reader.is_up
        reader.start()
        await await_until(lambda: reader._is_lost)
        assert not reader.is_up
        await asyncio.to_thread(redis_server.start)
        await await_until(lambda: reader.is_up)
        assert reader.reconnects == 0
        await reader.close()
        assert not reader.is_up

    async def test_closing_fails_who_waits(self, redis_server: RedisServer) -> None:
        """Instead of letting them wait for nothing."""
        await asyncio.to_thread(redis_server.stop)
        reader = Reader(Server(redis_server.url), take=Taken().take)
        reader.start()
        subscribing = asyncio.create_task(reader.subscribe("a", "1:a"))
        await await_until(lambda: reader._waiters)
        await reader.close()
        with pytest.raises(BroadcastError, match="closed"):
            await subscribing

    async def test_pauses_grow_at_random_up_to_a_limit(
        self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Processes that lost their server together must not come back in step."""
        limits: list[float] = []

        def uniform(low: float, high: float) -> float:
            limits.append(high)
            return low

        monkeypatch.setattr(random, "uniform", uniform)
        await asyncio.to_thread(redis_server.stop)
        reader = Reader(Server(redis_server.url), take=Taken().take)
        reader.start()
        await await_until(lambda: len(limits) >= 6)
        await reader.close()
        assert limits[:6] == [0.2, 0.4, 0.8, 1.6, 3.0, 3.0]
