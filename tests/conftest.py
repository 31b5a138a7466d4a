"""
The suite's own Redis, web servers and browser.

Nothing that already runs on the machine is used or disturbed: every process is
started here, on a free port, and ended here. A missing program fails the tests
that need it; none is skipped.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Protocol

import hypothesis
import pytest
import pytest_asyncio
import redis
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    WebError,
    async_playwright,
    expect,
)

from tests.utils import PATIENCE, free_port, wait_until

ROOT = Path(__file__).resolve().parent.parent

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",  # Chromium refuses to run as root with its sandbox.
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# A busy machine is no reason to fail: examples have no time limit of their own.
hypothesis.settings.register_profile("suite", deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run choose what serves the demo where a test does not say."""
    parser.addoption(
        "--server", choices=sorted(_SERVERS), default="daphne", help="what serves the demo"
    )


def pytest_configure() -> None:
    """Let SIGTERM, which `timeout` and CI send, end the run as Ctrl-C does: with teardown."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not os.environ.get("CI"):  # There hypothesis has a profile that repeats its examples.
        hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker is left alone with it in the end."""
    slow = (ROOT / "tests" / "e2e", ROOT / "tests" / "deploy")
    items.sort(key=lambda item: not any(item.path.is_relative_to(folder) for folder in slow))


def find_program(*names: str) -> str:
    """Return the path of the first of `names` that is installed, else fail the test."""
    for name in names:
        if path := shutil.which(name):
            return path
    pytest.fail(f"{names[0]} is not installed; `make test` installs it.", pytrace=False)


def end(process: subprocess.Popen[bytes], grace: float = 5.0) -> None:
    """End a process and all it started: politely, and after `grace` seconds by force."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    # The group outlives its leader where that has left a child behind.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# Redis


class RedisServer:
    """A redis-server of our own on one port, with nothing on disk. Empty at each start."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the server's process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and wait until it answers. Do nothing where it runs."""
        if self.is_running:
            return
        log = self._directory / "redis.log"
        self._process = subprocess.Popen(
            [
                find_program("redis-server"),
                *("--bind", "127.0.0.1", "--port", str(self.port)),
                *("--save", "", "--appendonly", "no"),
                *("--dir", str(self._directory), "--logfile", str(log)),
            ],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until(self._answers, 10, "redis-server answers PING")
        except AssertionError:
            end(self._process)
            pytest.fail(f"redis-server does not start:\n{log.read_text()}", pytrace=False)

    def stop(self) -> None:
        """Kill the server as a power cut would; return when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def flush(self) -> None:
        """Remove every key."""
        with redis.Redis(port=self.port, socket_timeout=5) as client:
            client.flushall()

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=5) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@pytest.fixture(scope="session")
def _session_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(_session_redis: RedisServer) -> RedisServer:
    """Return the suite's Redis, running and empty. A test may stop it and start it again."""
    _session_redis.start()
    _session_redis.flush()
    return _session_redis


# The demo project in a process of its own


class RunningServer:
    """
    The demo project in a process: ``manage.py runserver``, or another command that serves it.

    Attributes:
        url: Where it answers, without a closing slash.
        port: The port in it.
        process: The server's process, for signals.
    """

    def __init__(self, port: int, command: list[str], env: dict[str, str], log: Path) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._command = command
        self._env = env
        self._log = log
        self.start()

    def start(self) -> None:
        """Start the server, again after `stop`; its log goes on."""
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *self._command],
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self, timeout: float = PATIENCE) -> None:
        """Wait for ``/sub`` to answer 200. Fail with the log where it does not."""

        def is_ready() -> bool:
            return self.process.poll() is not None or self._status("/sub") == 200

        try:
            wait_until(is_ready, timeout, "/sub answers 200")
        except AssertionError as exc:
            pytest.fail(f"{exc}\n{self.log_text()}", pytrace=False)
        if self.process.poll() is not None:
            pytest.fail(f"The server ended by itself:\n{self.log_text()}", pytrace=False)

    def log_text(self) -> str:
        """Return what the server has written so far."""
        return self._log.read_text(errors="replace")

    def wait_for_log(self, text: str, timeout: float = PATIENCE) -> None:
        """Wait until the server has written `text`. Fail with the log where it does not."""
        try:
            wait_until(lambda: text in self.log_text(), timeout, f"{text!r} in the log")
        except AssertionError as exc:
            pytest.fail(f"{exc}\n{self.log_text()}")

    def shell(self, code: str, timeout: float = 30.0) -> str:
        """Run `code` in ``manage.py shell``, another process of this site; return its output."""
        return _manage("shell", "--no-imports", "-c", code, env=self._env, timeout=timeout)

    def fetch(self, path: str, timeout: float = 60.0) -> str:
        """Return the body that GET answers with. Fail with the log where it is not a 200."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        if response.status != 200:
            pytest.fail(f"GET {path} answered {response.status}:\n{self.log_text()}")
        return body

    def stop(self) -> None:
        """End the server and whatever it started."""
        end(self.process)

    def _status(self, path: str) -> int | None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()


class RunServer(Protocol):
    """How a test asks for a server: a connection's alias, and environment variables."""

    def __call__(
        self, connection: str = "channels", *, server: str | None = None, **env: str
    ) -> RunningServer: ...


@pytest.fixture(scope="session")
def _migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("database") / "template.sqlite3"
    _manage("migrate", "--verbosity", "0", env=_site_environment(database))
    return database


@pytest.fixture
def runserver(
    request: pytest.FixtureRequest, _migrated_database: Path, tmp_path: Path
) -> Iterator[RunServer]:
    """
    Return a function that starts the demo project, on a database of its own, and waits for it.

    ``runserver("redis", REDIS_URL=redis_server.url)``: the alias of the broadcast
    connection, and what else the process finds in its environment. `server` is
    ``"daphne"``, ``"uvicorn"`` or ``"broadcast_serve"``; unless given, what the run's
    ``--server`` says.
    """
    yield from _run_servers(_migrated_database, tmp_path, request.config.getoption("--server"))


@pytest.fixture(scope="module")
def module_runserver(
    request: pytest.FixtureRequest,
    _migrated_database: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunServer]:
    """Return a function as `runserver` does, for servers that the tests of a module share."""
    default = request.config.getoption("--server")
    yield from _run_servers(_migrated_database, tmp_path_factory.mktemp("sites"), default)


def _run_servers(template: Path, directory: Path, default: str) -> Iterator[RunServer]:
    servers: list[RunningServer] = []

    def start(
        connection: str = "channels", *, server: str | None = None, **env: str
    ) -> RunningServer:
        port = free_port()
        number = len(servers) + 1
        database = directory / f"site-{number}" / "db.sqlite3"
        database.parent.mkdir()
        shutil.copyfile(template, database)
        environment = _site_environment(database) | {
            "BROADCAST_CONNECTION": connection,
            "BROADCAST_URL": f"http://127.0.0.1:{port}",
            **env,
        }
        command = _SERVERS[server or default](port)
        site = RunningServer(port, command, environment, directory / f"site-{number}.log")
        servers.append(site)
        site.wait_until_ready()
        return site

    yield start
    for site in servers:
        site.stop()


# daphne is what `runserver` runs; uvicorn stands for every other ASGI server; our own
# command is what sites run in production.
_SERVERS: dict[str, Callable[[int], list[str]]] = {
    "daphne": lambda port: ["manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"],
    "uvicorn": lambda port: [
        *("-m", "uvicorn", "whik.asgi:application", "--lifespan", "off"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ],
    "broadcast_serve": lambda port: ["manage.py", "broadcast_serve", "--port", str(port)],
}


def _site_environment(database: Path) -> dict[str, str]:
    # tests.settings has removed from os.environ what a shell had set for its own demo.
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "whik.settings",
        "WHIK_DATABASE": str(database),
        "PYTHONUNBUFFERED": "1",
    }


def _manage(*arguments: str, env: dict[str, str], timeout: float = 60.0) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        pytest.fail(
            f"manage.py {arguments[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


# The browser. Playwright's synchronous API leaves a running loop in the main thread, which
# breaks every async test after it; so these live in the session's loop, as their tests do:
# pytestmark = pytest.mark.asyncio(loop_scope="session").


class NewPage(Protocol):
    """How a test opens a page: with its own cookies, and the console errors it expects."""

    async def __call__(self, *expected_errors: str) -> Page: ...


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Start the distribution's Chromium, once for all tests."""
    executable = find_program("chromium", "chromium-browser")
    async with async_playwright() as playwright:
        instance = await playwright.chromium.launch(
            executable_path=executable, args=CHROMIUM_ARGUMENTS
        )
        expect.set_options(timeout=PATIENCE * 1000)
        yield instance
        await instance.close()


@pytest_asyncio.fixture(loop_scope="session")
async def new_page(browser: Browser) -> AsyncIterator[NewPage]:
    """
    Return a function that opens a page in a browser context of its own.

    An error in the console or an exception in a script fails the test, unless one of the
    regular expressions given for the page matches in its address or text. The same holds
    for further tabs of the same visitor: ``await page.context.new_page()``.
    """
    contexts: list[BrowserContext] = []
    unexpected: list[str] = []

    async def open_page(*expected_errors: str) -> Page:
        def record(where: str, text: str) -> None:
            error = f"{where}: {text}"
            if not any(re.search(pattern, error) for pattern in expected_errors):
                unexpected.append(error)

        def on_console(message: ConsoleMessage) -> None:
            if message.type == "error":
                record(message.location["url"], message.text)

        def on_exception(web_error: WebError) -> None:
            record(web_error.page.url if web_error.page else "a worker", str(web_error.error))

        context = await browser.new_context()
        contexts.append(context)
        context.on("console", on_console)
        context.on("weberror", on_exception)
        return await context.new_page()

    yield open_page
    for context in contexts:
        await context.close()
    assert not unexpected, "Errors in the browser:\n" + "\n".join(unexpected)


@pytest_asyncio.fixture(loop_scope="session")
async def page(new_page: NewPage) -> Page:
    """Return one page that expects no error."""
    return await new_page()
