"""
Redis fails in every way it knows, under two workers and the clients of both.

Nobody is closed; afterwards messages flow, and everybody knows who is there. What was
published meanwhile may be lost, but never comes twice or out of order.
"""

import asyncio
import os
import signal
import time
from asyncio import to_thread
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
import pytest_asyncio
import redis

from benchmarks.dialects import Keys
from benchmarks.visitors import Api, Visitor, open_many, until
from tests.adapters.wire import GRACE, PATIENCE, hurry, memory, metrics
from tests.conftest import RedisServer, RunningServer
from tests.utils import await_until, free_port, wait_until

KEYS = Keys(GRACE.id, GRACE.key, GRACE.secret)
ALL, ROOM = "everybody", "presence-room"
VISITORS = 12
BURST = 400


class Crowd:
    """The visitors of one test, on both workers."""

    def __init__(self, site: RunningServer, redis: RedisServer) -> None:
        self.site = site
        self.redis = redis
        self.visitors: list[Visitor] = []
        self.guests: list[Visitor] = []  # They are closed with the others, and nothing else.
        self.api = Api(("127.0.0.1", site.port), KEYS)
        self._number = 0

    async def fill(self) -> None:
        """Let everybody in."""
        self.visitors = await open_many([("127.0.0.1", self.site.port)] * VISITORS, KEYS)
        for number, visitor in enumerate(self.visitors):
            visitor.join(ALL)
            visitor.join(ROOM, f"user-{number}")
        await await_until(self._all_in, PATIENCE, "all have joined")

    async def publish(self) -> bool:
        """Publish the next number; return whether the server took it."""
        self._number += 1
        try:
            await to_thread(self.api.publish, ALL, self._number)
        except (RuntimeError, OSError):
            return False
        return True

    async def flows(self, within: float = 15.0) -> None:
        """See that messages reach all again, and that they come in order and once."""

        async def arrives() -> bool:
            await self.publish()
            return await until(self._is_heard, 0.5)

        await await_until(arrives, within, "messages flow")
        first = self._number + 1
        for _ in range(20):
            assert await self.publish()
        wanted = list(range(first, self._number + 1))
        await await_until(lambda: all(v.heard[ALL][-20:] == wanted for v in self.visitors))
        for visitor in self.visitors:
            assert visitor.heard[ALL] == sorted(set(visitor.heard[ALL]))
            assert visitor.is_open

    async def know_each_other(self) -> None:
        """See that those who stayed, a newcomer and the API agree on who is there."""
        users = {f"user-{number}" for number in range(VISITORS)}
        (late,) = await open_many([("127.0.0.1", self.site.port)], KEYS)
        self.visitors.append(late)
        late.join(ROOM, "late")
        users.add("late")
        await await_until(
            lambda: all(v.members.get(ROOM) == users for v in self.visitors),
            PATIENCE,
            "all know all",
        )
        listed = await to_thread(self.api.get, f"/channels/{ROOM}/users")
        assert {user["id"] for user in listed["users"]} == users
        count = await to_thread(self.api.get, f"/channels/{ALL}", info="subscription_count")
        assert count["subscription_count"] == VISITORS
        for visitor in self.visitors[:VISITORS]:
            assert ("presence-room", "-", "late") not in visitor.changes
            gone = [change for change in visitor.changes if change[1] == "-"]
            assert not gone, "Somebody was said to have left who has not"

    async def status(self) -> int:
        """Return what ``/ready`` answers."""
        return await to_thread(_status, self.site)

    def _is_heard(self) -> bool:
        return all(visitor.heard.get(ALL, [0])[-1] == self._number for visitor in self.visitors)

    def _all_in(self) -> bool:
        return all(len(visitor.joined) == 2 for visitor in self.visitors)


def _status(site: RunningServer) -> int:
    connection = HTTPConnection("127.0.0.1", site.port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Return a Redis that this module may ill-treat."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def site(bus: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Return a server of two workers on it."""
    directory = tmp_path_factory.mktemp("site")
    port = free_port()
    site = RunningServer(
        port,
        ["manage.py", "broadcast_serve", "--port", str(port), "--workers", "2", "--sockets-only"],
        os.environ
        | {
            "DJANGO_SETTINGS_MODULE": "tests.adapters.manners_settings",
            "BROADCAST_CONNECTION": "redis",
            "REDIS_URL": bus.url,
            "WHIK_DATABASE": str(directory / "db.sqlite3"),
        },
        Path(directory / "site.log"),
    )
    wait_until(partial(_has_two_workers, site), 30, "two workers serve")
    yield site
    hurry(site)
    site.stop()


def _has_two_workers(site: RunningServer) -> bool:
    return _status(site) == 200 and site.process.poll() is None and metrics(site)["bus_up"] == 2


@pytest_asyncio.fixture
async def crowd(site: RunningServer, bus: RedisServer) -> AsyncIterator[Crowd]:
    """Return twelve visitors; afterwards see that the server has borne it."""
    bus.start()
    await await_until(partial(to_thread, _has_two_workers, site), 20, "both workers are well")
    crowd = Crowd(site, bus)
    before, log = memory(site), len(site.log_text())
    await crowd.fill()
    yield crowd
    for visitor in (*crowd.visitors, *crowd.guests):
        visitor.close()
    assert await to_thread(memory, site) - before < 40
    said = site.log_text()[log:]
    assert "Traceback" not in said, said
    assert "ERROR" not in said, said


class TestRedis:
    async def test_it_stops_and_comes_back_empty(self, crowd: Crowd) -> None:
        """Not ready meanwhile; publishing fails, whoever comes is asked to come again."""
        crowd.redis.stop()
        await await_until(partial(_is, crowd, 503), PATIENCE, "not ready")
        assert not await crowd.publish()
        (early,) = await open_many([("127.0.0.1", crowd.site.port)], KEYS)
        crowd.guests.append(early)
        early.join("another")
        await await_until(lambda: not early.is_open, PATIENCE, "is asked to come again")
        assert early.close_code == 4100
        await to_thread(crowd.redis.start)
        await await_until(partial(_is, crowd, 200), PATIENCE, "ready")
        await crowd.flows()
        await crowd.know_each_other()

    async def test_it_hangs_up_on_subscribers(self, crowd: Crowd) -> None:
        """They subscribe again, to everything."""
        with redis.Redis(port=crowd.redis.port) as client:
            killed = 0
            for _ in range(3):
                killed += client.client_kill_filter(_type="pubsub")
                await crowd.flows()
        assert killed >= 6
        await crowd.know_each_other()

    async def test_it_hangs_up_on_everybody(self, crowd: Crowd) -> None:
        """Publishers and keepers of presence, too."""
        with redis.Redis(port=crowd.redis.port) as client:
            client.client_kill_filter(_type="pubsub")
            client.client_kill_filter(_type="normal", skipme=True)
            await crowd.flows()
        await crowd.know_each_other()

    async def test_it_pauses(self, crowd: Crowd) -> None:
        """What is published meanwhile arrives afterwards, in order."""
        with redis.Redis(port=crowd.redis.port) as client:
            client.client_pause(1_500, all=True)
        begin = time.monotonic()
        taken = [await crowd.publish() for _ in range(5)]
        await crowd.flows()
        assert time.monotonic() - begin > 1
        assert all(taken)
        for visitor in crowd.visitors:
            assert visitor.heard[ALL][:5] == [1, 2, 3, 4, 5]
        await crowd.know_each_other()

    async def test_it_is_frozen(self, crowd: Crowd) -> None:
        """Whoever publishes is told so in time, sockets live on, and nobody has left."""
        with redis.Redis(port=crowd.redis.port) as client:
            pid = client.info("server")["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            begin = time.monotonic()
            assert not await crowd.publish()
            assert time.monotonic() - begin < 8
            (alive,) = await open_many([("127.0.0.1", crowd.site.port)], KEYS)
            crowd.guests.append(alive)
            alive.say("pusher:subscribe", {})
            await await_until(lambda: alive.errors, what="an answer")
        finally:
            os.kill(pid, signal.SIGCONT)
        await crowd.flows()
        await crowd.know_each_other()

    async def test_it_cuts_off_slow_subscribers(self, crowd: Crowd) -> None:
        """A burst is more than it keeps for one; what comes through is in order, and then all."""
        before = metrics(crowd.site)["bus_reconnects_total"]
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
        assert metrics(crowd.site)["bus_reconnects_total"] > before, "It was cut off"
        await crowd.know_each_other()


async def _is(crowd: Crowd, status: int) -> bool:
    return await crowd.status() == status
