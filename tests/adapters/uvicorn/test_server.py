"""One process that serves: what it bears, and how it leaves."""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

import pytest

from broadcasting.adapters.uvicorn.options import Options
from broadcasting.adapters.uvicorn.server import Server
from tests.serving import urls
from tests.serving.site import ServedSite, farewell, is_alive, served_sites
from tests.utils import await_until, wait_until

Serve = Callable[..., ServedSite]
QUICK = ("--drain-delay", "0", "--drain-seconds", "0")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that starts a server, as `served_sites` describes it."""
    with served_sites(tmp_path) as start:
        yield start


async def test_it_serves_pages_and_sockets_until_it_is_told_to_leave(serve: Serve) -> None:
    """Status 0 tells a supervisor that all is well, and nothing is left behind."""
    site = serve(*QUICK)
    assert site.get("/wait/0") == (200, "waited 0")
    async with await site.join():
        assert [path.name for path in site.directory.glob("broadcast-serve-*")]
        site.tell(signal.SIGTERM)
        assert await asyncio.to_thread(site.status) == 0
    assert list(site.directory.glob("broadcast-serve-*")) == []
    assert "Traceback" not in site.log()


async def test_it_leaves_in_steps(serve: Serve) -> None:
    """Not ready, then closed to newcomers; sockets go evenly, requests end, and so does it."""
    site = serve("--drain-delay", "1.5", "--drain-seconds", "1.5")
    clients = [await site.join() for _ in range(16)]
    ends = [asyncio.create_task(farewell(client)) for client in clients]
    idle = site.open()
    idle.request("GET", "/live")
    assert idle.getresponse().read()
    slow = asyncio.create_task(site.aget("/wait/3000"))
    await await_until(lambda: "wait 3000 begins" in site.log())

    site.tell(signal.SIGTERM)
    await await_until(lambda: not_ready(site), what="/ready says no")
    assert (await site.aget("/live"))[0] == 200
    late = await site.join()  # Everything works on.
    assert not any(end.done() for end in ends)
    ends.append(asyncio.create_task(farewell(late)))

    await await_until(lambda: refuses(site), what="nobody listens")
    assert not all(end.done() for end in ends)
    told = sorted([await end for end in ends], key=lambda each: each[1])
    assert {code for code, _ in told} == {4200}
    assert 1.0 < told[-1][1] - told[0][1] < 4.0
    gaps = [after[1] - before[1] for before, after in pairwise(told)]
    assert max(gaps) < 0.7  # Of 1.5 s; all at once would leave one of nearly all of it.
    assert await slow == (200, "waited 3000")
    assert await asyncio.to_thread(site.status) == 0
    with closing(idle):
        assert idle.sock is None or idle.sock.recv(1) == b""


async def not_ready(site: ServedSite) -> bool:
    """Tell whether the site answers that it is not ready."""
    return (await site.aget("/ready"))[0] == 503


async def refuses(site: ServedSite) -> bool:
    """Tell whether nobody listens."""
    return not await asyncio.to_thread(site.accepts)


async def test_at_the_terminal_it_does_not_wait(serve: Serve) -> None:
    """Ctrl+C closes all sockets at once, with the code after which clients come back."""
    site = serve("--drain-delay", "60", "--drain-seconds", "60")
    clients = [await site.join() for _ in range(3)]
    site.tell(signal.SIGINT)
    assert [(await farewell(client))[0] for client in clients] == [4200] * 3
    assert await asyncio.to_thread(site.status, 4) == 0


async def test_a_second_ctrl_c_waits_for_nothing(serve: Serve) -> None:
    """A request that is under way is cut off."""
    site = serve("--drain-delay", "60")
    slow = asyncio.create_task(site.aget("/wait/60000"))
    await await_until(lambda: "wait 60000 begins" in site.log())
    site.tell(signal.SIGINT)
    await await_until(lambda: refuses(site), what="nobody listens")
    site.tell(signal.SIGINT)
    assert await asyncio.to_thread(site.status, 1.5) == 0
    assert (await asyncio.gather(slow, return_exceptions=True))[0] != (200, "waited 60000")


async def test_a_thread_that_hangs_does_not_hold_up_the_end(serve: Serve) -> None:
    """Python would wait for it for ever."""
    site = serve(*QUICK)
    hanging = asyncio.create_task(site.aget("/hang/600"))
    await await_until(lambda: "hang 600 begins" in site.log())
    site.tell(signal.SIGINT)
    assert await asyncio.to_thread(site.status, 12) == 0
    assert list(site.directory.glob("broadcast-serve-*")) == []
    assert isinstance((await asyncio.gather(hanging, return_exceptions=True))[0], Exception)


async def test_without_workers_a_reload_is_an_end(serve: Serve) -> None:
    """Whoever started the process starts it again."""
    site = serve("--drain-delay", "0.2", "--drain-seconds", "0.2")
    client = await site.join()
    site.tell(signal.SIGHUP)
    assert (await farewell(client))[0] == 4200
    assert await asyncio.to_thread(site.status) == 0


def test_a_closed_terminal_ends_nothing_that_shall_outlive_it() -> None:
    """``nohup`` has the signal ignored, and so it stays; else it is obeyed, for as long."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Server(Options()).capture_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with Server(Options()).capture_signals():
            assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, former)


# What a client may do before it has asked


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    """Return a server that waits one second for the head of a request."""
    with served_sites(tmp_path_factory.mktemp("hasty")) as start:
        yield start(server={"HANDSHAKE_TIMEOUT": 1})


def dribble(client: socket.socket) -> bytes:
    """Send the head of a request that never ends; return what comes back."""
    client.settimeout(0.1)
    client.sendall(b"GET /live HTTP/1.1\r\nhost: a\r\n")

    received: list[bytes] = []

    def is_over() -> bool:
        try:
            client.send(b"x: y\r\n")
            received.append(client.recv(4096))
        except TimeoutError:
            return False
        except OSError:
            return True
        return not received[-1]

    wait_until(is_over, 6, "an answer, and the end")
    return b"".join(received)


def refused(site: ServedSite, reason: str) -> int:
    """Return how many clients were refused for `reason`, as the metrics tell."""
    lines = site.get("/metrics")[1].splitlines()
    found = [line for line in lines if "refused" in line and f'"{reason}"' in line]
    return sum(int(float(line.rpartition(" ")[2])) for line in found)


def connect(site: ServedSite) -> socket.socket:
    """Return a client of a site, which reads whatever it gets."""
    return socket.create_connection(("127.0.0.1", site.port), timeout=10)


def test_the_head_of_a_request_has_to_come_in_time(hasty: ServedSite) -> None:
    """However many bytes come, each for itself in time."""
    before = refused(hasty, "handshake_timeout")
    with connect(hasty) as client:
        assert dribble(client).startswith(b"HTTP/1.1 408 ")
    wait_until(lambda: refused(hasty, "handshake_timeout") == before + 1, what="it is counted")


def test_each_further_head_has_to_come_in_time(hasty: ServedSite) -> None:
    """The first request of a kept connection buys no time for the next."""
    with connect(hasty) as client:
        client.sendall(b"GET /wait/1500 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"waited 1500"):  # Longer than a head may take.
            answer += client.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert dribble(client).startswith(b"HTTP/1.1 408 ")


def test_who_says_nothing_is_told_nothing(hasty: ServedSite) -> None:
    """A browser opens connections in advance, and would show the answer."""
    with connect(hasty) as client:
        assert client.recv(4096) == b""


def test_a_head_has_a_size(hasty: ServedSite) -> None:
    """Else a client could fill the memory within the time that it has."""
    with connect(hasty) as client:
        client.sendall(b"GET /live HTTP/1.1\r\n")
        for _ in range(17):  # The last of them is over it; who sends on may miss the answer.
            client.sendall(b"x: " + b"y" * 4000 + b"\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 431 ")


def test_a_body_may_be_longer_than_a_head(hasty: ServedSite) -> None:
    """What has begun in time is no young connection."""
    with closing(hasty.open()) as client:
        client.request("POST", "/apps/1/events?x=1", body=b"x" * 200_000)
        assert client.getresponse().status in (400, 401, 413)


def test_a_kept_connection_serves_many(hasty: ServedSite) -> None:
    """The limits are for heads, not for connections."""
    with closing(hasty.open()) as client:
        for milliseconds in (0, 600, 600, 0):
            client.request("GET", f"/wait/{milliseconds}")
            assert client.getresponse().read() == f"waited {milliseconds}".encode()


def test_one_connection_too_many_is_closed(serve: Serve) -> None:
    """Before files run out, since then nobody could be accepted, nor anything opened."""
    site = serve(files=300)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(site)) for _ in range(225)]
        assert not any(is_closed(client) for client in clients)
        more = [stack.enter_context(connect(site)) for _ in range(20)]
        wait_until(lambda: all(is_closed(client) for client in more), what="they are closed")
        assert not any(is_closed(client) for client in clients)
    wait_until(lambda: site.is_ready(), what="there is room again")
    assert refused(site, "too_many") >= 20
    assert "Too many open files" not in site.log()


def is_closed(client: socket.socket) -> bool:
    """Tell whether the other side has closed the connection."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


async def test_sockets_too_many_are_told(serve: Serve) -> None:
    """By the code that says so, within what the limit on files allows."""
    site = serve(server={"MAX_CONNECTIONS": 2})
    first, second = await site.join(), await site.join()
    with pytest.raises(ConnectionRefusedError, match="4100"):
        await site.join()
    await first.close()
    await await_until(lambda: joins(site), what="its place is free")
    await second.close()


async def joins(site: ServedSite) -> bool:
    """Tell whether one more client is greeted."""
    try:
        await (await site.join()).close()
    except ConnectionRefusedError:
        return False
    return True


# Where it listens


def test_it_serves_on_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    """What a dead server left behind is in nobody's way, and it leaves nothing itself."""
    path = tmp_path / "site.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    site = serve("--uds", str(path), *QUICK)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET /live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
    site.tell(signal.SIGTERM)
    assert site.status() == 0
    assert not path.exists()


def test_it_serves_with_a_certificate(serve: Serve, tmp_path: Path) -> None:
    """And a client that begins no handshake has to come in time, too."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-out", str(certificate), "-keyout", str(key)),
        ],
        check=True,
        capture_output=True,
    )
    site = serve(
        *("--tls-cert", str(certificate), "--tls-key", str(key)), server={"HANDSHAKE_TIMEOUT": 1}
    )
    context = ssl.create_default_context(cafile=str(certificate))
    with (
        socket.create_connection(("127.0.0.1", site.port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(b"GET /live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
    with connect(site) as silent:
        assert silent.recv(1) == b""


def test_requests_are_logged_without_signatures(serve: Serve) -> None:
    """For some minutes a signed request could be sent again."""
    site = serve("--access-log", *QUICK)
    site.get("/wait/0?auth_key=k&auth_signature=5ec4e7&token=s3cr3t&page=7")
    site.wait_for_log("page=7")
    assert "5ec4e7" not in site.log()
    assert "s3cr3t" not in site.log()


def test_requests_are_not_logged_unasked(serve: Serve) -> None:
    """One line each would be most of the work."""
    site = serve(*QUICK)
    site.get("/wait/0?page=7")
    site.tell(signal.SIGTERM)
    assert site.status() == 0
    assert "page=7" not in site.log()


def test_a_changed_file_starts_it_again(serve: Serve) -> None:
    """And Ctrl+C ends both processes."""
    site = serve("--reload")
    wait_until(site.is_ready, 20, "it serves")
    before = site.workers()
    assert len(before) == 1

    def is_another() -> bool:
        os.utime(urls.__file__)
        return bool(site.workers() - before)

    wait_until(is_another, 20, "another process")
    wait_until(site.is_ready, 20, "it serves again")
    after = site.workers()
    site.tell(signal.SIGINT)
    assert site.status() == 0
    assert not any(is_alive(pid) for pid in before | after)


def test_a_broken_site_is_no_success(serve: Serve, tmp_path: Path) -> None:
    """The status says so, and the traceback why."""
    (tmp_path / "broken").touch()
    site = serve("--skip-checks", wait=False, BROKEN=str(tmp_path / "broken"))
    assert site.status() != 0
    assert "This site is broken" in site.log()
