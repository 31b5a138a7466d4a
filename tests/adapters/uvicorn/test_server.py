"""One process that serves, and how it leaves: in the test's own process, then real ones."""

import asyncio
import multiprocessing
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from broadcasting.adapters.uvicorn import drain, server
from broadcasting.adapters.uvicorn.link import HURRY, READY, REPLACE, Link
from broadcasting.adapters.uvicorn.listeners import listen
from broadcasting.adapters.uvicorn.options import Options
from broadcasting.adapters.uvicorn.server import Server
from broadcasting.conf import get_settings
from broadcasting.exceptions import BroadcastError
from broadcasting.server.hub import Hub
from broadcasting.server.hubs import get_hub
from tests.adapters.wire import request
from tests.conftest import ROOT
from tests.serving import urls
from tests.serving.site import ServedSite, farewell, is_alive, served_sites
from tests.utils import await_until, wait_until

PEM = str(ROOT / "tests" / "server" / "webhooks" / "hooks.test.pem")  # A key and its certificate.


class Site:
    """
    A server in the test's own process.

    Attributes:
        lifespan: What the project has heard of it.
        may_answer: Set when requests are answered.
        task: Done when the server has left.
    """

    def __init__(self, link: Link | None = None, **options: Any) -> None:
        self.lifespan: list[str] = []
        self.may_answer = asyncio.Event()
        self.requests = 0
        self._is_ready = asyncio.Event()
        options = {"drain_delay": 0, "drain_seconds": 0} | options
        self.server = Server(Options(**options), link, on_ready=self._is_ready.set)
        self.server.config.app = lambda: self._project
        self.port = 0
        self.task: asyncio.Task[None]

    async def start(self) -> None:
        """Return when it serves."""
        sockets = listen("127.0.0.1", 0)
        self.port = sockets[0].getsockname()[1]
        self.task = asyncio.create_task(self.server.serve(sockets))
        ready = asyncio.create_task(self._is_ready.wait())
        await asyncio.wait([ready, self.task], return_when=asyncio.FIRST_COMPLETED)
        assert ready.done()

    async def _project(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                self.lifespan.append((await receive())["type"].rpartition(".")[2])
                await send({"type": f"lifespan.{event}.complete"})
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
        else:
            self.requests += 1
            await self.may_answer.wait()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    async def ask(self) -> bytes:
        """Return the answer to a request, or what there is of it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        try:
            return await reader.readline()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    async def asking(self) -> "asyncio.Task[bytes]":
        """Return a request that is under way."""
        before, task = self.requests, asyncio.create_task(self.ask())
        await await_until(lambda: self.requests > before, 30, "it is served")
        return task

    async def join(self) -> ClientConnection:
        """Return a client that was greeted."""
        key = get_settings().apps[0].key
        client = await connect(
            f"ws://127.0.0.1:{self.port}/app/{key}?protocol=7", open_timeout=60, ping_interval=None
        )
        assert "connection_established" in str(await client.recv())
        return client

    async def come(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a client that was greeted, and answers nothing."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request(f"/app/{get_settings().apps[0].key}"))
        await reader.readuntil(b"connection_established")
        return reader, writer

    async def accepts(self) -> bool:
        """Whether somebody listens."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


@asynccontextmanager
async def serving(link: Link | None = None, **options: Any) -> AsyncIterator[Site]:
    """Serve in this process, and leave in the end."""
    site = Site(link, **options)
    await site.start()
    yield site
    site.may_answer.set()
    site.server.should_exit = True
    await site.task


pytestmark = pytest.mark.usefixtures("served")


async def test_it_serves_until_it_is_told_to_leave() -> None:
    """The project's lifespan begins before the first client, and ends after the last."""
    async with serving() as site:
        assert site.lifespan == ["startup"]
        site.may_answer.set()
        assert (await site.ask()).startswith(b"HTTP/1.1 204 ")
        client = await site.join()
        site.server.should_exit = True
        assert (await farewell(client))[0] == 4200
        await site.task
        assert site.lifespan == ["startup", "shutdown"]
        assert not await site.accepts()


async def test_it_leaves_in_steps() -> None:
    """Not ready, then deaf to newcomers; sockets go, requests end, and so does it."""
    async with serving(drain_delay=600, drain_seconds=600) as site:
        client, asking = await site.join(), await site.asking()
        own = await connect(f"ws://127.0.0.1:{site.port}/own")
        site.server.should_exit = True
        await await_until(lambda: get_hub().is_draining, 30, "it is not ready")
        late = await site.join()  # Everything works on.
        assert client.state is late.state
        site.server.handle_exit(signal.SIGINT, None)
        assert [(await farewell(each))[0] for each in (client, late)] == [4200, 4200]
        assert (await farewell(own))[0] == 1012
        assert not await site.accepts()
        assert not site.task.done()
        site.may_answer.set()
        assert (await asking).startswith(b"HTTP/1.1 204 ")
        await site.task


@pytest.mark.parametrize("is_forced", [True, False], ids=["a second Ctrl+C", "in the end"])
async def test_what_does_not_end_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_forced: bool
) -> None:
    """A request that is under way gets no answer."""
    monkeypatch.setattr(drain, "HURRY_GRACE", 600.0)
    monkeypatch.setattr(drain, "REQUEST_GRACE", 600.0 if is_forced else 0.0)
    async with serving() as site:
        asking, (reader, writer) = await site.asking(), await site.come()
        if is_forced:
            site.server.handle_exit(signal.SIGINT, None)
            await await_until(lambda: get_hub().is_closing, 30, "it closes connections")
            site.server.handle_exit(signal.SIGINT, None)
        else:
            site.server.handle_exit(signal.SIGTERM, None)
        await site.task
        assert not (await asking).startswith(b"HTTP/1.1 204 ")
        with suppress(ConnectionResetError):
            await reader.read()
        writer.close()
    assert "connections and 1 requests" in caplog.text
    assert ("shutdown" in site.lifespan) is not is_forced


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signals_are_obeyed(number: int) -> None:
    """Without workers a reload is an end: whoever started the process starts it again."""
    async with serving() as site:
        os.kill(os.getpid(), number)
        await site.task


async def test_a_closed_terminal_ends_nothing_that_shall_outlive_it() -> None:
    """``nohup`` has the signal ignored, and so it stays; else it is obeyed, for as long."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with serving():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        async with serving():
            assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, former)


async def test_a_worker_and_its_supervisor_talk() -> None:
    """It says that it is ready, and asks for another when all restart; it is told to hurry."""
    ours, theirs = map(Link, multiprocessing.Pipe())

    async def heard() -> bytes:
        return await await_until(lambda: next(ours.messages(), b""), 30, "a message")

    async with serving(theirs, drain_delay=600) as site:
        assert await heard() == READY
        on_restart = get_hub().on_restart
        assert on_restart is not None
        on_restart()
        assert await heard() == REPLACE
        assert not site.server.should_exit
        ours.tell(HURRY)
        await site.task


async def test_a_supervisor_that_has_gone_says_no_more() -> None:
    """The worker serves on until it learns of its parent's end."""
    ours, theirs = map(Link, multiprocessing.Pipe())
    async with serving(theirs) as site:
        ours.connection.close()
        await await_until(lambda: theirs.is_over, 30, "the pipe is closed")
        site.may_answer.set()
        assert (await site.ask()).startswith(b"HTTP/1.1 204 ")


async def test_a_restart_of_all_ends_a_process_without_workers() -> None:
    """When its turn comes."""
    async with serving() as site:
        on_restart = get_hub().on_restart
        assert on_restart is not None
        on_restart()
        await site.task


async def test_a_bus_that_is_away_does_not_keep_it_from_serving(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes back, and clients with it."""

    async def fail(hub: Hub) -> None:
        raise BroadcastError("nobody answers")

    monkeypatch.setattr(Hub, "start", fail)
    async with serving() as site:
        site.may_answer.set()
        assert (await site.ask()).startswith(b"HTTP/1.1 204 ")
    assert "The bus cannot be reached yet" in caplog.text


async def test_a_hub_that_does_not_stop_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For longer than it may take."""
    monkeypatch.setattr(server, "STOP_TIMEOUT", 0.0)

    async def hang() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(server, "stop_hub", hang)
    async with serving():
        pass
    assert "The end did not come in time" in caplog.text


async def test_it_serves_with_a_certificate() -> None:
    """And a client that begins no handshake has to come in time, too."""
    context = ssl.create_default_context(cafile=PEM)
    context.check_hostname = False
    async with serving(tls_cert=PEM, handshake_timeout=1) as site:
        site.may_answer.set()
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=context)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 204 ")
        writer.close()
        silent, writer = await asyncio.open_connection("127.0.0.1", site.port)
        assert await silent.read() == b""
        writer.close()


Serve = Callable[..., ServedSite]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that starts a server, as `served_sites` describes it."""
    with served_sites(tmp_path) as start:
        yield start


async def test_a_thread_that_hangs_does_not_hold_up_the_end(serve: Serve, tmp_path: Path) -> None:
    """Python would wait for it for ever; what the command has made is removed all the same."""
    path = tmp_path / "site.sock"
    with socket.socket(socket.AF_UNIX) as dead:  # What a dead server left is in nobody's way.
        dead.bind(str(path))
    site = serve("--uds", str(path))
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"GET /hang/600 HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await await_until(lambda: "hang 600 begins" in site.log(), 60)
    assert list(site.directory.glob("broadcast-serve-*"))
    site.tell(signal.SIGINT)
    assert await reader.read() == b""
    assert await asyncio.to_thread(site.status, 60) == 0
    assert list(site.directory.glob("broadcast-serve-*")) == []
    assert not path.exists()
    writer.close()


def test_a_changed_file_starts_it_again(serve: Serve) -> None:
    """And Ctrl+C ends both processes."""
    site = serve("--reload")
    wait_until(site.is_ready, 60, "it serves")
    before = site.workers()
    assert len(before) == 1

    def is_another() -> bool:
        os.utime(urls.__file__)
        return bool(site.workers() - before)

    wait_until(is_another, 60, "another process")
    wait_until(site.is_ready, 60, "it serves again")
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
