"""
Redis fails in every way it knows, under two workers and the clients of both.

Nobody is closed; afterwards messages flow, and everybody knows who is there. What was
published meanwhile may be lost, but never comes twice or out of order.
"""

import asyncio
import os
import signal
from asyncio import to_thread
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
import pytest_asyncio
import redis

from benchmarks.dialects import Keys
from benchmarks.visitors import Api, Visitor, open_many, until
from tests.adapters.site_settings import CROWD
from tests.adapters.wire import PATIENCE, memory, metrics
from tests.conftest import RedisServer
from tests.serving.site import ServedSite, served_sites
from tests.utils import await_until

KEYS = Keys(CROWD["ID"], CROWD["KEY"], CROWD["SECRET"])
VISITORS = 12
BURST = 400


class Crowd:
    """The visitors of one test, on both workers, in channels of their own."""

    def __init__(self, site: ServedSite, redis: RedisServer, name: str) -> None:
        self.site = site
        self.redis = redis
        self.everybody, self.room = f"everybody-{name}", f"presence-{name}"
        self.visitors: list[Visitor] = []
        self.guests: list[Visitor] = []  # They are closed with the others, and nothing else.
        self.api = Api(("127.0.0.1", site.port), KEYS)
        self._number = 0

    async def open(self, count: int = 1) -> list[Visitor]:
        """Return visitors who have joined nothing."""
        return await open_many([("127.0.0.1", self.site.port)] * count, KEYS)

    async def fill(self) -> None:
        """Let everybody in."""
        self.visitors = await self.open(VISITORS)
        for number, visitor in enumerate(self.visitors):
            visitor.join(self.everybody)
            visitor.join(self.room, f"user-{number}")
        await await_until(
            lambda: all(len(visitor.joined) == 2 for visitor in self.visitors),
            PATIENCE,
            "all have joined",
        )

    async def publish(self) -> bool:
        """Publish the next number; return whether the server took it."""
        self._number += 1
        try:
            await to_thread(self.api.publish, self.everybody, self._number)
        except (RuntimeError, OSError):
            return False
        return True

    async def flows(self, within: float = PATIENCE) -> None:
        """See that messages reach all again, and that they come in order and once."""

        async def arrives() -> bool:
            await self.publish()
            return await until(self._is_heard, 0.5)

        await await_until(arrives, within, "messages flow")
        first = self._number + 1
        for _ in range(20):
            assert await self.publish()
        wanted = list(range(first, self._number + 1))
        await await_until(
            lambda: all(v.heard[self.everybody][-20:] == wanted for v in self.visitors), PATIENCE
        )
        for visitor in self.visitors:
            assert visitor.heard[self.everybody] == sorted(set(visitor.heard[self.everybody]))
            assert visitor.is_open

    async def know_each_other(self) -> None:
        """See that those who stayed, a newcomer and the API agree on who is there."""
        (late,) = await self.open()
        self.guests.append(late)
        late.join(self.room, "late")
        users = {"late", *(f"user-{number}" for number in range(VISITORS))}
        await await_until(
            lambda: all(v.members.get(self.room) == users for v in (late, *self.visitors)),
            PATIENCE,
            "all know all",
        )
        await await_until(lambda: to_thread(self._is_listed, users), PATIENCE, "all are listed")
        for visitor in self.visitors:
            gone = [change for change in visitor.changes if change[1] == "-"]
            assert not gone, "Somebody was said to have left who has not"

    def _is_listed(self, users: set[str]) -> bool:
        listed = self.api.get(f"/channels/{self.room}/users")["users"]
        count = self.api.get(f"/channels/{self.everybody}", info="subscription_count")
        return ({user["id"] for user in listed}, count["subscription_count"]) == (users, VISITORS)

    def _is_heard(self) -> bool:
        heard = [visitor.heard.get(self.everybody, [0])[-1] for visitor in self.visitors]
        return set(heard) == {self._number}


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Return a Redis that this module may ill-treat."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def site(bus: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    """Return a server of two workers on it."""
    with served_sites(tmp_path_factory.mktemp("site")) as start:
        yield start(
            *("--workers", "2", "--sockets-only"),
            DJANGO_SETTINGS_MODULE="tests.adapters.site_settings",
            REDIS_URL=bus.url,
        )


@pytest_asyncio.fixture
async def crowd(
    site: ServedSite, bus: RedisServer, request: pytest.FixtureRequest
) -> AsyncIterator[Crowd]:
    """Return twelve visitors; afterwards see that the server has borne it."""
    bus.start()

    def is_well() -> bool:
        return site.is_ready() and metrics(site.port)["bus_up"] == 2

    await await_until(lambda: to_thread(is_well), PATIENCE, "both workers are well")
    crowd = Crowd(site, bus, request.node.name)
    before, log = sum(map(memory, site.workers())), len(site.log())
    await crowd.fill()
    yield crowd
    for visitor in (*crowd.visitors, *crowd.guests):
        visitor.close()
    assert sum(map(memory, site.workers())) - before < 80 * 2**20
    said = site.log()[log:]
    assert "Traceback" not in said, said
    assert "ERROR" not in said, said


class TestRedis:
    async def test_it_stops_and_comes_back_empty(self, crowd: Crowd) -> None:
        """Not ready meanwhile; publishing fails, whoever comes is asked to come again."""
        crowd.redis.stop()
        await await_until(lambda: not crowd.site.is_ready(), PATIENCE, "not ready")
        assert not await crowd.publish()
        (early,) = await crowd.open()
        crowd.guests.append(early)
        early.join("another")
        await await_until(lambda: not early.is_open, PATIENCE, "is asked to come again")
        assert early.close_code == 4100
        await to_thread(crowd.redis.start)
        await await_until(crowd.site.is_ready, PATIENCE, "ready")
        await crowd.flows()
        await crowd.know_each_other()

    async def test_it_hangs_up_on_everybody(self, crowd: Crowd) -> None:
        """Subscribers subscribe again to everything; publishers and keepers of presence, too."""
        with redis.Redis(port=crowd.redis.port) as client:
            for _ in range(2):
                assert client.client_kill_filter(_type="pubsub") >= 2
                client.client_kill_filter(_type="normal", skipme=True)
                await crowd.flows()
        await crowd.know_each_other()

    async def test_it_is_frozen(self, crowd: Crowd) -> None:
        """Whoever publishes is told so in time, sockets live on, and nobody has left."""
        with redis.Redis(port=crowd.redis.port) as client:
            pid = client.info("server")["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            assert not await crowd.publish()
            (alive,) = await crowd.open()
            crowd.guests.append(alive)
            alive.say("pusher:subscribe", {})
            await await_until(lambda: alive.errors, PATIENCE, "an answer")
        finally:
            os.kill(pid, signal.SIGCONT)
        await crowd.flows()
        await crowd.know_each_other()

    async def test_it_cuts_off_slow_subscribers(self, crowd: Crowd) -> None:
        """A burst is more than it keeps for one; what comes through is in order, and then all."""
        before = metrics(crowd.site.port)["bus_reconnects_total"]
        with redis.Redis(port=crowd.redis.port) as client:
            client.config_set("client-output-buffer-limit", "pubsub 16kb 16kb 1")
            room = "x" * 9_000

            def burst() -> None:
                for _ in range(BURST):
                    with suppress(RuntimeError, OSError):
                        crowd.api.publish("burst", room)

            for visitor in crowd.visitors:
                visitor.join("burst")
            await asyncio.gather(*(to_thread(burst) for _ in range(4)))
            client.config_set("client-output-buffer-limit", "pubsub 32mb 8mb 60")
        await crowd.flows()
        assert metrics(crowd.site.port)["bus_reconnects_total"] > before, "It was cut off"
        await crowd.know_each_other()
