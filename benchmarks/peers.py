"""What others have written: installed into var/bench on first use, and Redis."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from broadcasting.applications import Application

from .dialects import Keys
from .processes import Started
from .publishers import EVENT

SCRATCH = Path(__file__).resolve().parent.parent / "var" / "bench"
NODE = SCRATCH / "node"
VENV = SCRATCH / "venv"

SOKETI = "1.6.1"
NODE_PACKAGES = {
    "private": True,
    "dependencies": {"@soketi/soketi": SOKETI, "socket.io": "4.8.1"},
    # soketi takes its WebSocket server from GitHub; this is the same one from the registry.
    "overrides": {"uWebSockets.js": "npm:@trufflesuite/uws-js-unofficial@20.30.0-unofficial.0"},
}
PYTHON_PACKAGES = (
    "python-socketio==5.16.1",
    "uvicorn==0.54.0",
    "uvloop==0.23.0",
    "httptools==0.9.0",
    "websockets==17.4",
)


class NotInstalled(Exception):
    """A program or a package is missing and cannot be had."""


def install(need: str) -> None:
    """
    See that `need` is there: ``redis``, ``node`` or ``venv``.

    Raises:
        NotInstalled: It is not, and why.
    """
    {"redis": _find_redis, "node": _install_node, "venv": _install_venv}[need]()


def _find_redis() -> None:
    if shutil.which("redis-server") is None:
        raise NotInstalled("redis-server is not installed: apt-get install redis-server")


def _install_node() -> None:
    manifest = json.dumps(NODE_PACKAGES, indent=2)
    stamp = NODE / "installed.json"
    if stamp.is_file() and stamp.read_text() == manifest:
        return
    if shutil.which("npm") is None:
        raise NotInstalled("npm is not installed: apt-get install nodejs npm")
    NODE.mkdir(parents=True, exist_ok=True)
    (NODE / "package.json").write_text(manifest)
    _run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"])
    stamp.write_text(manifest)  # Last: an interrupted installation begins again.


def _install_venv() -> None:
    wanted = "\n".join(PYTHON_PACKAGES)
    stamp = VENV / "installed.txt"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    _run([sys.executable, "-m", "venv", "--clear", str(VENV)])
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    _run([*pip, "--disable-pip-version-check", *PYTHON_PACKAGES])
    stamp.write_text(wanted)


def _run(command: list[str]) -> None:
    SCRATCH.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(
            command,
            cwd=NODE if command[0] == "npm" else SCRATCH,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
    except subprocess.CalledProcessError as exc:
        reason = (exc.stderr or exc.stdout or "").strip().splitlines()[-1:]
        raise NotInstalled(f"{' '.join(command[:3])} failed: {' '.join(reason)}") from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise NotInstalled(f"{' '.join(command[:3])} failed: {exc}") from exc


class Redis:
    """A redis-server of our own, with nothing on disk, until `stop`."""

    def __init__(self) -> None:
        self._process = Started(
            [
                *("redis-server", "--bind", "127.0.0.1", "--port", "{port}"),
                *("--save", "", "--appendonly", "no"),
            ],
            {},
            SCRATCH,
            SCRATCH / "logs" / "redis.log",
        )
        self.url = f"redis://127.0.0.1:{self._process.port}/0"

    def send_signal(self, number: signal.Signals) -> None:
        """Send the process a signal, such as SIGSTOP, which makes it hang."""
        os.kill(self._process.pid, number)

    def publisher(self, keys: Keys, channel: str) -> Callable[[str], None]:
        """Return a function that publishes as a process of the site does."""
        from broadcasting.drivers.redis.broadcaster import RedisBroadcaster

        app = Application(id=keys.app_id, key=keys.key, secret=keys.secret)
        broadcaster = RedisBroadcaster(app=app, first_app_id=app.id, url=self.url)

        def publish(data: str) -> None:
            broadcaster.broadcast([channel], EVENT, data)

        return publish

    def stop(self) -> None:
        """End it."""
        with suppress(OSError):
            self._process.stop()
