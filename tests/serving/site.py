"""``manage.py broadcast_serve`` in processes of its own, and what a test asks of them."""

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from time import monotonic

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.conftest import ROOT, end
from tests.utils import decode, free_port, wait_until

KEY = "d4132441feb294e09229"  # Derived from the demo's SECRET_KEY.


class ServedSite:
    """
    A server that was started with `arguments`, from the moment when it says that it serves.

    Attributes:
        port: Where it answers.
        process: The process that was started; with workers, their supervisor.
        directory: Where its temporary files go.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        directory: Path,
        env: dict[str, str],
        files: int | None,
        pass_fds: Sequence[int],
    ) -> None:
        self.port = free_port()
        self.directory = directory
        self._log = directory / "site.log"
        place = () if {"--uds", "--fd"} & set(arguments) else ("--port", str(self.port))
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "broadcast_serve", *place, *arguments],
                cwd=ROOT,
                env=os.environ
                | {
                    "DJANGO_SETTINGS_MODULE": "tests.serving.settings",
                    "BROADCAST_CONNECTION": "redis" if "REDIS_URL" in env else "memory",
                    "BROADCAST_URL": f"http://127.0.0.1:{self.port}",
                    "WHIK_DATABASE": str(directory / "none.sqlite3"),
                    "TMPDIR": str(directory),
                    "PYTHONUNBUFFERED": "1",
                }
                | env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=pass_fds,
                preexec_fn=None if files is None else _limit(files),
            )

    def log(self) -> str:
        """Return what it has written so far."""
        return self._log.read_text(errors="replace")

    def wait_for_log(self, text: str, timeout: float = 60.0, count: int = 1) -> None:
        """Wait until it has written `text`, `count` times."""
        try:
            wait_until(
                lambda: self.log().count(text) >= count or self.process.poll() is not None,
                timeout,
                f"{text!r} in the log",
            )
        except AssertionError as exc:
            pytest.fail(f"{exc}:\n{self.log()}", pytrace=False)
        assert self.log().count(text) >= count, self.log()

    def tell(self, number: int) -> None:
        """Send a signal to the process that was started."""
        self.process.send_signal(number)

    def status(self, timeout: float = 60.0) -> int:
        """Return the exit status, once it has ended."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"It did not end within {timeout:g} s:\n{self.log()}", pytrace=False)

    def workers(self) -> set[int]:
        """Return the process ids of its workers."""
        return {pid for pid in _children(self.process.pid) if b"spawn_main" in _command_line(pid)}

    # Requests

    def open(self) -> HTTPConnection:
        """Return a connection that is kept."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.connect()
        return connection

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and the body of a page."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    async def aget(self, path: str) -> tuple[int, str]:
        """Do as `get` without holding up the loop."""
        return await asyncio.to_thread(self.get, path)

    def accepts(self) -> bool:
        """Tell whether somebody listens at the port."""
        with socket.socket() as probe:
            probe.settimeout(5)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def is_ready(self) -> bool:
        """Tell what ``/ready`` says; `False` where nobody answers."""
        with suppress(OSError, HTTPException):
            return self.get("/ready")[0] == 200
        return False

    async def join(self) -> ClientConnection:
        """Return a client that was greeted. Raise `ConnectionRefusedError` if it was not."""
        client = await connect(
            f"ws://127.0.0.1:{self.port}/app/{KEY}?protocol=7", open_timeout=60, ping_interval=None
        )
        try:
            greeting = decode(str(await client.recv()))
        except ConnectionClosed:
            raise ConnectionRefusedError(client.close_code, client.close_reason) from None
        assert greeting["event"] == "pusher:connection_established"
        return client


async def farewell(client: ClientConnection) -> tuple[int | None, float]:
    """Wait until `client` is closed; return the code, and when."""
    with suppress(ConnectionClosed):
        async with asyncio.timeout(60):
            while True:
                await client.recv()
    return client.close_code, monotonic()


@contextmanager
def served_sites(directory: Path) -> Iterator[Callable[..., ServedSite]]:
    """
    Yield a function that starts a server and waits for it; all are ended afterwards.

    Its arguments are the command's. `server` is ``BROADCASTING["SERVER"]``, `files` the
    hard limit of open files, `wait` whether to wait; the rest is its environment.
    """
    sites: list[ServedSite] = []

    def start(
        *arguments: str,
        server: dict[str, object] | None = None,
        files: int | None = None,
        pass_fds: Sequence[int] = (),
        wait: bool = True,
        **env: str,
    ) -> ServedSite:
        place = directory / f"site-{len(sites) + 1}"
        place.mkdir()
        own = {"SERVER": json.dumps(server or {}), **env}
        site = ServedSite(arguments, place, own, files, pass_fds)
        sites.append(site)
        if wait:
            site.wait_for_log("Ctrl+C stops it", 90)
        return site

    try:
        yield start
    finally:
        for site in sites:
            end(site.process, 0.2)


def is_alive(pid: int) -> bool:
    """Tell whether a process is there, and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _children(pid: int) -> set[int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return set()


def _command_line(pid: int) -> bytes:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _limit(files: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, 100), files))
