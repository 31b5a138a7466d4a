"""Several processes that serve on the same listening sockets: the states, then real ones."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broadcasting.adapters.uvicorn.link import HURRY, READY, REPLACE
from broadcasting.adapters.uvicorn.options import Options
from broadcasting.adapters.uvicorn.supervisor import (
    KILL_AFTER,
    KILL_AFTER_HURRY,
    READY_TIMEOUT,
    SETTLED,
    Supervisor,
)
from broadcasting.adapters.uvicorn.worker import WorkerProcess
from tests.conftest import RedisServer
from tests.serving.site import ServedSite, farewell, is_alive, served_sites
from tests.utils import FakeClock, await_until

OPTIONS = Options(workers=2, drain_delay=5, drain_seconds=10)


class FakeWorker(WorkerProcess):
    """
    A process of which a test says what it does.

    Attributes:
        said: What it has to say.
        told: What it was told, signals too, in order.
        status: Its exit status, once it has ended.
    """

    status: int | None = None

    def __init__(self, number: int) -> None:
        self.number = number
        self.started = 0.0
        self.is_ready = False
        self.kill_at = None
        self.said: list[bytes] = []
        self.told: list[bytes | str] = []
        self.tell = lambda message: self.told.append(message)
        self.messages = lambda: iter([self.said.pop(0) for _ in range(len(self.said))])
        self.is_alive = lambda: self.status is None
        self.terminate = lambda: self.told.append("terminate")
        self.kill = lambda: self.told.append("kill")


class House:
    """
    A supervisor without processes.

    Attributes:
        workers: All that were started, in order.
        has_room: Whether the system has room for another.
        events: ``ready``, and ``closed`` when it stops listening.
    """

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.workers: list[FakeWorker] = []
        self.has_room = True
        self.events: list[str] = []
        self.supervisor = Supervisor(
            OPTIONS,
            self._start,
            lambda: self.events.append("closed"),
            lambda: self.events.append("ready"),
            self.clock,
        )

    def _start(self, number: int) -> WorkerProcess:
        if not self.has_room:
            raise OSError("Too many open files")
        self.workers.append(FakeWorker(number))
        return self.workers[-1]

    def step(self, seconds: float = 0.0) -> bool:
        """Advance the clock by `seconds`; return whether anything is left to supervise."""
        self.clock.advance(seconds)
        return self.supervisor.step()

    def say(self, message: bytes, *workers: FakeWorker) -> None:
        """Send messages as workers do."""
        for worker in workers:
            worker.said.append(message)
        self.step()

    def end(self, *workers: FakeWorker, status: int = 0) -> bool:
        """End workers."""
        for worker in workers:
            worker.status = status
        return self.step()

    def signal(self, number: int) -> bool:
        """Send the supervisor a signal."""
        self.supervisor.signals.append(number)
        return self.step()


@pytest.fixture
def house() -> House:
    """Return a supervisor whose two workers serve."""
    house = House()
    house.step()
    assert [worker.number for worker in house.workers] == [1, 2]
    house.say(READY, house.workers[0])
    assert house.events == []
    house.say(READY, house.workers[1])
    assert house.events == ["ready"]
    return house


class TestLeaving:
    def test_workers_drain_together(self, house: House) -> None:
        """The supervisor stops listening when they do, and ends when they have."""
        first, second = house.workers
        assert house.signal(signal.SIGTERM)
        assert first.told == second.told == ["terminate"]
        house.signal(signal.SIGTERM)
        assert first.told == ["terminate"]
        assert house.step(OPTIONS.drain_delay - 0.1)
        assert house.events == ["ready"]
        assert house.step(0.1)
        assert house.events == ["ready", "closed"]
        assert house.end(first)
        assert not house.end(second)
        assert len(house.workers) == 2

    def test_in_a_hurry_they_are_told_so(self, house: House) -> None:
        """By the pipe: Ctrl+C of a terminal reaches them, too. A second one kills."""
        first, second = house.workers
        house.signal(signal.SIGHUP)
        house.signal(signal.SIGINT)
        assert first.told == second.told == [HURRY]
        assert house.workers[2].told == [HURRY, "terminate"]  # It may not listen yet.
        assert house.events == ["ready", "closed"]
        house.signal(signal.SIGINT)
        assert first.told == second.told == [HURRY, "kill"]
        assert not house.end(*house.workers, status=-9)

    @pytest.mark.parametrize(
        ("number", "seconds"),
        [(signal.SIGTERM, 5 + 10 + KILL_AFTER), (signal.SIGINT, KILL_AFTER_HURRY)],
    )
    def test_one_that_does_not_leave_is_killed(
        self, house: House, number: int, seconds: float
    ) -> None:
        """Leaving has an end, whatever a worker does."""
        worker = house.workers[0]
        house.signal(number)
        house.step(seconds - 0.1)
        assert "kill" not in worker.told
        house.step(0.1)
        assert worker.told[-1] == "kill"


class TestReplacing:
    def test_one_after_the_other(self, house: House) -> None:
        """The new one is ready before the old one drains, and that has gone before the next."""
        first, second = house.workers
        house.signal(signal.SIGHUP)
        third = house.workers[2]
        assert third.number == 3
        assert first.told == []
        house.say(READY, third)
        assert (first.told, second.told) == (["terminate"], [])
        assert len(house.workers) == 3
        house.end(first)
        fourth = house.workers[3]
        assert fourth.number == 1
        house.say(READY, fourth)
        house.end(second)
        house.step(60)
        assert len(house.workers) == 4
        assert third.told == fourth.told == []

    def test_a_worker_may_ask_for_it(self, house: House) -> None:
        """Once is enough."""
        first, second = house.workers
        house.say(REPLACE, first, first)
        house.say(READY, house.workers[2])
        assert (first.told, second.told) == (["terminate"], [])
        house.end(first)
        assert len(house.workers) == 3

    @pytest.mark.parametrize("how", ["ends", "ends at once", "never ready", "no room"])
    def test_one_that_does_not_start_changes_nothing(self, house: House, how: str) -> None:
        """The old ones go on, and a later attempt is made again."""
        first, second = house.workers
        house.has_room = how != "no room"
        house.say(REPLACE, first, second)
        if how == "ends":
            house.end(house.workers[2], status=1)
        elif how == "ends at once":  # It is not in its place yet, even if it was ready.
            house.workers[2].said.append(READY)
            house.end(house.workers[2], status=1)
        elif how == "never ready":
            house.step(READY_TIMEOUT + 1)
            house.step()
            assert house.workers[2].told == ["kill"]
            house.end(house.workers[2], status=-9)
        house.step(60)
        assert first.told == second.told == []
        started = len(house.workers)
        house.has_room = True
        house.signal(signal.SIGHUP)
        assert len(house.workers) == started + 1

    def test_it_is_given_up_for_the_end(self, house: House) -> None:
        """The replacement that is starting goes as well, and at once."""
        house.signal(signal.SIGHUP)
        house.signal(signal.SIGTERM)
        assert [worker.told for worker in house.workers] == [["terminate"]] * 3
        assert not house.end(*house.workers)

    def test_the_place_of_an_old_one_that_dies_is_taken(self, house: House) -> None:
        """By the one that is starting; if that fails, by a third."""
        first, second = house.workers
        house.say(REPLACE, first)
        house.end(first, status=-9)
        assert len(house.workers) == 3
        house.end(house.workers[2], status=1)
        house.step(1)
        assert len(house.workers) == 4
        house.say(READY, house.workers[3])
        assert second.told == []

    def test_one_that_dies_while_it_waits_for_its_turn_is_started_again(self, house: House) -> None:
        """It need not be replaced any more."""
        first, second = house.workers
        house.signal(signal.SIGHUP)
        house.end(second, status=-9)
        assert len(house.workers) == 4
        house.say(READY, *house.workers[2:])
        house.end(first)
        house.step(60)
        assert len(house.workers) == 4


class TestDeath:
    def test_a_worker_that_dies_is_replaced(self, house: House) -> None:
        """At once, by another of its number."""
        house.end(house.workers[0], status=-9)
        assert [worker.number for worker in house.workers] == [1, 2, 1]

    def test_one_that_keeps_dying_is_started_later_and_later(self, house: House) -> None:
        """Unless it has lived for a while. The other one serves."""
        pauses = []
        for _ in range(10):
            started, pause = len(house.workers), 0.0
            house.end(house.workers[-1], status=1)
            while len(house.workers) == started:
                house.step(0.5)
                pause += 0.5
            pauses.append(pause)
        assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
        house.step(SETTLED)
        house.end(house.workers[-1], status=1)
        assert house.workers[-1].status is None
        assert house.workers[0].told == []

    def test_a_system_without_room_is_asked_again(self, house: House) -> None:
        """Those who are left serve on."""
        house.has_room = False
        house.end(house.workers[0], status=-9)
        house.step(60)
        assert len(house.workers) == 2
        house.has_room = True
        house.step(60)
        assert len(house.workers) == 3

    def test_a_broken_site_ends(self) -> None:
        """Trying again would fail in the same way; so does a system without room for any."""
        house = House()
        house.step()
        house.end(*house.workers, status=1)
        assert not house.step()
        crowded = House()
        crowded.has_room = False
        while crowded.step(1):
            assert crowded.clock() < 1_060

    def test_one_that_does_not_start_does_not_end_the_others(self) -> None:
        """It may have met a machine short of memory; another takes its place."""
        house = House()
        house.step()
        house.end(house.workers[0], status=1)
        assert house.events == []
        house.say(READY, *house.workers[1:])
        assert house.events == ["ready"]


Serve = Callable[..., ServedSite]


@pytest.fixture
def serve(tmp_path: Path, redis_server: RedisServer) -> Iterator[Serve]:
    """Return a function that starts a server of two workers."""
    with served_sites(tmp_path) as start:
        yield lambda *arguments, **options: start(
            "--workers", "2", *arguments, REDIS_URL=redis_server.url, **options
        )


async def test_real_workers_are_replaced_and_drained(serve: Serve) -> None:
    """Somebody is ready at every moment, clients come back, and nothing is left in the end."""
    site = serve("--drain-delay", "0", "--drain-seconds", "0.5")
    before = site.workers()
    assert len(before) == 2
    ends = [asyncio.create_task(farewell(await site.join())) for _ in range(8)]
    site.tell(signal.SIGHUP)

    async def is_done() -> bool:
        assert (await site.aget("/ready"))[0] == 200
        assert 2 <= len(site.workers()) <= 3
        return not site.workers() & before and len(site.workers()) == 2

    await await_until(is_done, 60, "both are replaced")
    assert {(await end)[0] for end in ends} == {4200}
    victim, survivor = site.workers()
    os.kill(victim, signal.SIGKILL)
    await await_until(lambda: len(site.workers() - {victim}) == 2, 60, "another worker")
    assert survivor in site.workers()

    ends = [asyncio.create_task(farewell(await site.join())) for _ in range(8)]
    slow = asyncio.create_task(site.aget("/wait/3000"))
    await await_until(lambda: "wait 3000 begins" in site.log(), 30)
    site.tell(signal.SIGTERM)
    # Nobody is queued for workers that have gone.
    await await_until(lambda: not site.accepts(), 30, "nobody listens")
    assert {(await end)[0] for end in ends} == {4200}
    assert await slow == (200, "waited 3000")
    assert await asyncio.to_thread(site.status, 60) == 0
    assert list(site.directory.glob("broadcast-serve-*")) == []
    assert "Traceback" not in site.log()


async def test_real_workers_do_not_outlive_their_supervisor(serve: Serve) -> None:
    """Nobody could ever end them; their clients are sent elsewhere."""
    site = serve("--drain-delay", "0", "--drain-seconds", "0")
    workers = site.workers()
    client = await site.join()
    site.tell(signal.SIGKILL)
    assert (await farewell(client))[0] == 4200
    await await_until(lambda: not any(map(is_alive, workers)), 60, "they are gone")


async def test_real_workers_obey_the_terminal_through_their_supervisor(serve: Serve) -> None:
    """Ctrl+C reaches all of them, and is meant once."""
    site = serve("--drain-delay", "60", "--drain-seconds", "60")
    workers = site.workers()
    client = await site.join()
    os.killpg(site.process.pid, signal.SIGINT)
    assert (await farewell(client))[0] == 4200
    assert await asyncio.to_thread(site.status, 60) == 0
    assert not any(map(is_alive, workers))
