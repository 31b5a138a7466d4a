"""Several processes that serve on the same listening sockets."""

import asyncio
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.serving.site import ServedSite, farewell, is_alive, served_sites
from tests.utils import await_until, wait_until

Serve = Callable[..., ServedSite]
QUICK = ("--drain-delay", "0", "--drain-seconds", "0")


@pytest.fixture
def serve(tmp_path: Path, redis_server: RedisServer) -> Iterator[Serve]:
    """Return a function that starts a server of two workers."""
    with served_sites(tmp_path) as start:
        yield lambda *arguments, **options: start(
            "--workers", "2", *arguments, REDIS_URL=redis_server.url, **options
        )


async def test_workers_share_the_clients(serve: Serve) -> None:
    """And all of them drain when their supervisor is told to leave."""
    site = serve("--drain-delay", "1", "--drain-seconds", "1")
    workers = site.workers()
    assert len(workers) == 2
    clients = [await site.join() for _ in range(12)]
    ends = [asyncio.create_task(farewell(client)) for client in clients]
    site.tell(signal.SIGTERM)
    await await_until(lambda: not site.is_ready(), what="none of them is ready")
    assert await asyncio.to_thread(site.accepts)
    assert (await site.aget("/live"))[0] == 200
    assert not any(end.done() for end in ends)
    await await_until(lambda: not site.accepts(), what="nobody listens")
    assert {(await end)[0] for end in ends} == {4200}
    assert await asyncio.to_thread(site.status) == 0
    assert not any(is_alive(pid) for pid in workers)
    assert list(site.directory.glob("broadcast-serve-*")) == []
    assert "Traceback" not in site.log()


def test_nobody_is_left_waiting_for_workers_that_have_gone(serve: Serve) -> None:
    """A client that comes late is refused, not queued: another server would take it."""
    site = serve(*QUICK, "--drain-seconds", "4")
    with closing(site.open()) as client:
        client.request("GET", "/wait/3000")
        site.wait_for_log("wait 3000 begins")
        site.tell(signal.SIGTERM)
        wait_until(lambda: not site.accepts(), 2, "it refuses while it drains")
        assert site.process.poll() is None
        assert client.getresponse().read() == b"waited 3000"
    assert site.status() == 0


async def test_at_the_terminal_it_does_not_wait(serve: Serve) -> None:
    """Ctrl+C reaches supervisor and workers, and means the same to all."""
    site = serve("--drain-delay", "60", "--drain-seconds", "60")
    workers = site.workers()
    clients = [await site.join() for _ in range(3)]
    os.killpg(site.process.pid, signal.SIGINT)
    assert [(await farewell(client))[0] for client in clients] == [4200] * 3
    assert await asyncio.to_thread(site.status, 5) == 0
    assert not any(is_alive(pid) for pid in workers)


def test_a_second_ctrl_c_waits_for_nothing(serve: Serve) -> None:
    """Not even for workers that do not answer."""
    site = serve("--drain-delay", "60")
    workers = site.workers()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    site.tell(signal.SIGINT)
    site.wait_for_log("Leaving at once")
    site.tell(signal.SIGINT)
    assert site.status(5) == 0
    assert not any(is_alive(pid) for pid in workers)


def test_a_reload_replaces_one_after_the_other(serve: Serve) -> None:
    """Somebody is ready at every moment, and the next waits until the last has gone."""
    site = serve(*QUICK)
    before = site.workers()
    site.tell(signal.SIGHUP)
    most = 0

    def is_done() -> bool:
        nonlocal most
        now = site.workers()
        most = max(most, len(now))
        assert site.get("/ready")[0] == 200
        assert len(now) >= 2
        return len(now) == 2 and not now & before

    wait_until(is_done, 30, "both are replaced")
    assert most == 3
    assert not any(is_alive(pid) for pid in before)


async def test_a_reload_sends_the_clients_to_those_who_stay(serve: Serve) -> None:
    """They are asked to come back, and find somebody."""
    site = serve("--drain-delay", "0", "--drain-seconds", "0.5")
    before = site.workers()
    clients = [await site.join() for _ in range(6)]
    site.tell(signal.SIGHUP)
    for client in clients:
        assert (await farewell(client))[0] == 4200
        await (await site.join()).close()
    await await_until(lambda: not site.workers() & before, 20, "both are replaced")


def test_a_reload_that_cannot_start_changes_nothing(serve: Serve, tmp_path: Path) -> None:
    """The old workers go on, and a later reload is tried again."""
    broken = tmp_path / "broken"
    site = serve(*QUICK, BROKEN=str(broken))
    before = site.workers()
    broken.touch()
    site.tell(signal.SIGHUP)
    site.wait_for_log("the others stay as they are")
    assert site.workers() == before
    assert site.get("/ready")[0] == 200
    broken.unlink()
    site.tell(signal.SIGHUP)
    wait_until(lambda: len(site.workers()) == 2 and not site.workers() & before, 30, "both")


def test_a_reload_is_given_up_for_the_end(serve: Serve) -> None:
    """The replacement that is starting goes as well, and at once."""
    site = serve(*QUICK)
    before = site.workers()
    site.tell(signal.SIGHUP)
    started = wait_until(lambda: site.workers() - before, 10, "a replacement")
    site.tell(signal.SIGTERM)
    assert site.status(6) == 0
    assert not any(is_alive(pid) for pid in before | started)


def test_a_worker_that_dies_is_replaced(serve: Serve) -> None:
    """By another, whose number is the one that has become free."""
    site = serve(*QUICK)
    first, second = sorted(site.workers())
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: second in site.workers() and len(site.workers()) == 2, 10, "another")
    site.wait_for_log("ended by itself, with status -9")
    wait_until(site.is_ready, 20, "it serves")
    assert first not in site.workers()


def test_a_worker_that_keeps_dying_is_started_later_and_later(serve: Serve, tmp_path: Path) -> None:
    """The machine has better things to do, and the other worker serves."""
    broken = tmp_path / "broken"
    site = serve(*QUICK, BROKEN=str(broken))
    victim, survivor = sorted(site.workers())
    broken.touch()
    os.kill(victim, signal.SIGKILL)
    site.wait_for_log("ended by itself", 30, count=3)
    assert site.workers() >= {survivor}
    assert site.get("/ready")[0] == 200
    broken.unlink()
    wait_until(lambda: len(site.workers()) == 2, 20, "another worker")
    site.tell(signal.SIGTERM)
    assert site.status() == 0


def test_a_machine_without_room_for_another_worker_loses_none(serve: Serve) -> None:
    """Those who are left serve on, and it is tried again."""
    site = serve(*QUICK)
    supervisor, (victim, survivor) = site.process.pid, sorted(site.workers())
    limits = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    # Fewer than it has open, and as many as it waits for at a time.
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (6, limits[1]))
    site.tell(signal.SIGHUP)
    site.wait_for_log("could not be started")
    os.kill(victim, signal.SIGKILL)
    site.wait_for_log("Cannot start a worker", count=3)
    assert site.get("/ready")[0] == 200
    assert site.workers() == {survivor}
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, limits)
    wait_until(lambda: len(site.workers()) == 2, 20, "another worker")
    assert "Traceback" not in site.log()


async def test_workers_do_not_outlive_their_supervisor(serve: Serve) -> None:
    """Nobody could ever end them; their clients are sent elsewhere."""
    site = serve("--drain-delay", "0.2", "--drain-seconds", "0.2")
    workers = site.workers()
    client = await site.join()
    site.tell(signal.SIGKILL)
    assert (await farewell(client))[0] == 4200
    await await_until(lambda: not any(map(is_alive, workers)), 15, "they are gone")
    assert not site.accepts()


def test_a_worker_that_does_not_leave_is_killed(serve: Serve) -> None:
    """Leaving has an end, whatever a worker does."""
    site = serve(*QUICK)
    stopped = min(site.workers())
    os.kill(stopped, signal.SIGSTOP)
    site.tell(signal.SIGTERM)
    assert site.status(25) == 0
    assert not is_alive(stopped)
    assert "Killing worker" in site.log()


def test_a_broken_site_does_not_start(serve: Serve, tmp_path: Path) -> None:
    """Trying again would fail in the same way."""
    (tmp_path / "broken").touch()
    site = serve("--skip-checks", wait=False, BROKEN=str(tmp_path / "broken"))
    assert site.status() == 1
    assert "No worker could start" in site.log()
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", site.port)) != 0


def test_one_worker_that_does_not_start_does_not_end_the_others(
    serve: Serve, tmp_path: Path
) -> None:
    """It may have met a machine short of memory; another takes its place."""
    broken = tmp_path / "broken"
    broken.touch()
    site = serve(*QUICK, "--skip-checks", BROKEN_ONCE=str(broken))
    wait_until(lambda: len(site.workers()) == 2, 20, "two workers")
    assert not broken.exists()
    assert "ended by itself" in site.log()
    site.tell(signal.SIGTERM)
    assert site.status() == 0
