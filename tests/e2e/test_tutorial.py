"""
The tutorial, done as it is written: its commands, its files, its pages, in real programs.

The wheel is installed into a new virtual environment, which borrows the libraries of the
tests' own so that nothing is downloaded. Two things differ from what a reader does: the
server listens on a free port, and other processes are told so.
"""

import asyncio
import doctest
import os
import re
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.conftest import ROOT, NewPage, end
from tests.utils import await_until, free_port

TUTORIAL = ROOT / "docs" / "tutorial.md"
ADDRESS = "http://127.0.0.1:8000"

# What a step looks like, in the order of the text.
STEP = re.compile(
    r"^\*\*`(?P<path>[^`]+)`\*\*(?P<at_end>, at the end)?:?\n\n```\w+\n(?P<content>.*?)^```$"
    r"|^```console\n(?P<console>.*?)^```$"
    r"|Open <(?P<visit>http[^>]+)>"
    r"|Log in at <(?P<login>http[^>]+)> as \*\*(?P<name>\w+)\*\*"
    r" with the password \*\*(?P<password>[^*]+)\*\*"
    r"|shows \*\*(?P<shown>[^*]+)\*\*",
    re.MULTILINE | re.DOTALL,
)
JOINED = """(() => {
  const channels = Object.values(window.Echo?.connector?.pusher.channels.channels ?? {});
  return channels.length > 0 && channels.every((channel) => channel.subscribed);
})()"""
REFUSED = """new Promise((resolve) => {
  Echo.private("inbox.1").error((error) => resolve(error.status));
})"""


@dataclass(frozen=True)
class Command:
    """A line after ``$``, and what is printed below it in the tutorial."""

    text: str
    output: str

    def check(self, printed: str) -> None:
        """Fail unless `printed` is what the reader is told; `...` stands for anything."""
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        if self.output and not doctest.OutputChecker().check_output(self.output, printed, flags):
            pytest.fail(f"$ {self.text}\nprinted\n{printed}\nand not\n{self.output}")


def commands_of(console: str) -> Iterator[Command]:
    """Yield the commands of a block, each with its output."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        text, _, output = part.partition("\n")
        yield Command(text, output)


class Terminal:
    """A shell that keeps its folder and its environment from one command to the next."""

    TIMEOUT = 60.0  # Seconds that a command may take.
    _END = "the command has ended with status"

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["/bin/bash", "--noprofile", "--norc"],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, command: str) -> str:
        """Run a command line and return what it printed. Fail if it fails."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f'{command} < /dev/null\necho "{self._END} $?"\n'.encode())
        self._shell.stdin.flush()
        lines: list[str] = []
        alarm = threading.Timer(self.TIMEOUT, self._shell.kill)
        alarm.start()
        for line in map(bytes.decode, iter(self._shell.stdout.readline, b"")):
            if line.startswith(self._END):
                alarm.cancel()
                status = line.removeprefix(self._END).strip()
                break
            lines.append(line)
        else:
            status = f"nothing within {self.TIMEOUT:g} s"
        printed = "".join(lines)
        if status != "0":
            pytest.fail(f"$ {command}\nended with {status}:\n{printed}")
        return printed

    def close(self) -> None:
        """End the shell."""
        end(self._shell)
        for pipe in (self._shell.stdin, self._shell.stdout):
            if pipe is not None:
                pipe.close()


class Reader:
    """Who does the tutorial: with a terminal, an editor, a server and a browser."""

    def __init__(self, directory: Path, wheels: Path, new_page: NewPage) -> None:
        self.pages: list[Page] = []
        self._directory = directory
        self._new_page = new_page
        self._port = free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self._log = directory / "server.log"
        self._terminal = Terminal(directory, _environment(wheels))

    async def do(self, step: re.Match[str]) -> None:
        """Do one step of the text."""
        found = {name: text for name, text in step.groupdict().items() if text is not None}
        match found:
            case {"path": path, "content": content}:
                self._write(path, content, at_end="at_end" in found)
            case {"console": console}:
                for command in commands_of(console):
                    await asyncio.to_thread(self._run, command)
            case {"visit": address}:
                await self._visit(address)
                await self._join()
            case {"login": address, "name": name, "password": password}:
                page = await self._visit(address)
                await page.get_by_label("Username").fill(name)
                await page.get_by_label("Password").fill(password)
                await page.get_by_role("button").click()
                await self._join()
            case {"shown": text}:
                await expect(self.pages[-1].get_by_text(text)).to_be_visible(timeout=30_000)

    def close(self) -> None:
        """End what was started."""
        self._terminal.close()
        if self._server is not None:
            end(self._server)

    def _write(self, name: str, content: str, *, at_end: bool) -> None:
        path = self._directory / "mysite" / name
        assert path.exists() == at_end or path.stat().st_size < 100, name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if at_end else "w") as file:
            file.write(f"\n\n{content}" if at_end else content)

    def _run(self, command: Command) -> None:
        if command.text.startswith("python manage.py runserver"):
            self._serve(command.text)
            return
        # The server that is to be found does not listen where others look for it.
        text = command.text.replace("manage.py shell", "manage.py shell --settings elsewhere")
        command.check(self._terminal.run(text))
        if "-m venv" in text:
            (site_packages,) = self._directory.glob(".venv/lib/python*/site-packages")
            (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
        if "startproject" in text:
            (self._directory / "mysite" / "elsewhere.py").write_text(
                "from mysite.settings import *\n"
                'BROADCASTING = {**globals().get("BROADCASTING", {}), "CONNECTIONS": {"memory": {'
                '"DRIVER": "broadcasting.drivers.memory.MemoryBroadcaster", '
                f'"URL": "http://127.0.0.1:{self._port}"' + "}}}\n"
            )

    def _serve(self, text: str) -> None:
        if self._server is not None:
            end(self._server)
        environment = self._terminal.run("env -0; echo").split("\0")
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(
                [*text.split(), f"127.0.0.1:{self._port}"],
                cwd=self._directory / "mysite",
                env=dict(entry.split("=", 1) for entry in environment if "=" in entry),
                executable=str(self._directory / ".venv" / "bin" / "python"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def _visit(self, address: str) -> Page:
        assert address.startswith(ADDRESS)
        await await_until(self._listens, 60, "runserver listens")
        # A connection that ends with the server, and what is refused, are seen in the console.
        page = await self._new_page("ERR_CONNECTION_REFUSED", "WebSocket", "403", "favicon")
        response = await page.goto(address.replace(ADDRESS, f"http://127.0.0.1:{self._port}"))
        assert response is not None
        assert response.ok, self._log.read_text()
        self.pages.append(page)
        return page

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=5):
            return True
        return False

    async def _join(self) -> None:
        page = self.pages[-1]
        await page.wait_for_function(JOINED, timeout=30_000)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and return its folder."""
    directory = tmp_path_factory.mktemp("wheels")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(directory),
    ]
    subprocess.run(
        [*command, str(ROOT)], cwd=directory, check=True, capture_output=True, timeout=60
    )
    return directory


@pytest.mark.asyncio(loop_scope="session")
async def test_tutorial_leads_where_it_says(
    wheels: Path, tmp_path: Path, new_page: NewPage
) -> None:
    """Who follows the printed steps sees a public and a private event, and tests that pass."""
    reader = Reader(tmp_path, wheels, new_page)
    try:
        for step in STEP.finditer(TUTORIAL.read_text()):
            await reader.do(step)
        visitor, user = reader.pages
        await expect(visitor.locator("li")).to_have_text(["It works"])
        await expect(user.locator("li")).to_have_text(["Dear Ada"])
        await visitor.reload()
        await visitor.wait_for_function(JOINED, timeout=30_000)
        assert await visitor.evaluate(REFUSED) == 403
    finally:
        reader.close()


def test_every_block_is_a_step() -> None:
    """A block without a file's name above it would be read, and not be tested."""
    text = TUTORIAL.read_text()
    blocks = len(re.findall(r"^```\w+$", text, re.MULTILINE))
    steps = [step for step in STEP.finditer(text) if step["content"] or step["console"]]
    assert len(steps) == blocks


def _environment(wheels: Path) -> dict[str, str]:
    own = {"DJANGO_SETTINGS_MODULE", "PYTHONPATH", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in own} | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONUNBUFFERED": "1",
    }
