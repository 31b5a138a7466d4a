"""
The programs of a deployment, started with the very files of ``deploy/``.

What a file says of this or that machine (ports, paths, certificates) is replaced;
everything else runs as it is shipped. A text that is to be replaced and is not there
fails the test, so that a file and its test cannot drift apart.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import pytest

from tests.conftest import end
from tests.utils import free_port, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
PEM = ROOT / "tests" / "server" / "webhooks" / "hooks.test.pem"  # A key and its certificate.
START_TIMEOUT = 30.0

# A line of an upstream, as it is shipped and as it is for a port.
ON_SOCKET = "server unix:/run/whik/serve.sock max_fails=0;"
ON_PORT = "server {} max_fails=1 fail_timeout=5s;"


def find(name: str) -> str:
    """Return the path of a program; of those for administrators, too."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        pytest.fail(f"{name} is not installed; `make test` installs it.", pytrace=False)
    return path


def shipped(name: str, changes: Mapping[str, str]) -> str:
    """Return a file of ``deploy/`` with what is particular to a machine replaced."""
    text = (DEPLOY / name).read_text()
    for old, new in changes.items():
        assert old in text, f"deploy/{name} has no {old!r} any more"
        text = text.replace(old, new)
    return text


class Process:
    """
    A program that runs until the test ends.

    Attributes:
        process: For signals.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=pass_fds,
            )

    def log_text(self) -> str:
        """Return what it has written so far."""
        return self._log.read_text(errors="replace")

    def wait_for_log(self, text: str, timeout: float = START_TIMEOUT) -> None:
        """Wait until it has written `text`. Fail with the log where it does not."""

        def is_written() -> bool:
            return text in self.log_text() or self.process.poll() is not None

        with suppress(AssertionError):
            wait_until(is_written, timeout)
        if text not in self.log_text():
            pytest.fail(f"No {text!r}:\n{self.log_text()}", pytrace=False)

    def wait_for_port(self, port: int) -> None:
        """Wait until something listens there."""

        def listens() -> bool:
            if self.process.poll() is not None:
                pytest.fail(f"It ended by itself:\n{self.log_text()}", pytrace=False)
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
            return False

        wait_until(listens, START_TIMEOUT, f"somebody listens on port {port}")

    def stop(self) -> None:
        """End it, and whatever it has started, as Ctrl+C does: nobody is left to drain."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        end(self.process)


def serve(
    *arguments: str, log: Path, env: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> Process:
    """Start ``manage.py broadcast_serve``. It is ready when its log says ``Serving``."""
    command = [sys.executable, "manage.py", "broadcast_serve", *arguments]
    return Process(command, log, env, pass_fds)


@dataclass(frozen=True)
class Place:
    """
    Where clients come.

    Attributes:
        port: On 127.0.0.1.
        plain_port: Where they come who do not know of TLS; 0 where the other one is that.
    """

    port: int
    plain_port: int = 0

    @property
    def is_tls(self) -> bool:
        """Whether clients must encrypt."""
        return self.plain_port != 0


@dataclass(frozen=True)
class Proxy(Place):
    """A proxy before a site, from the moment when it listens."""

    process: Process = field(kw_only=True)

    def __post_init__(self) -> None:
        """Wait until it listens."""
        self.process.wait_for_port(self.port)


def nginx_file(
    directory: Path, port: int, plain_port: int, sockets: Sequence[str], site: Sequence[str]
) -> Path:
    """
    Write ``deploy/nginx.conf``, in a file that includes it, and return that.

    `sockets` and `site` are the two addresses of each upstream: ``127.0.0.1:8000``, or
    ``unix:/path`` twice.
    """
    static = directory / "static"
    static.mkdir(parents=True)
    (static / "note.txt").write_text("A static file.\n")
    text = shipped(
        "nginx.conf",
        {
            "listen 80 ": f"listen 127.0.0.1:{plain_port} ",
            "listen 443 ": f"listen 127.0.0.1:{port} ",
            "/etc/letsencrypt/live/whik.example.com/fullchain.pem": str(PEM),
            "/etc/letsencrypt/live/whik.example.com/privkey.pem": str(PEM),
            "/var/log/nginx/whik.log": str(directory / "access.log"),
            "/srv/whik/var/static/": f"{static}/",
        },
    )
    # Not every machine has IPv6.
    text, found = re.subn(r"^ *listen \[::\].*\n", "", text, flags=re.M)
    assert found == 2
    parts = text.split(ON_SOCKET)
    lines = [_line(address) for address in (*sockets, *site)]
    text = "".join(chain.from_iterable(zip(parts, [*lines, ""], strict=True)))
    (directory / "whik.conf").write_text(text)
    places = "client_body proxy fastcgi uwsgi scgi"
    temporary = " ".join(f"{name}_temp_path {directory}/{name};" for name in places.split())
    main = directory / "nginx.conf"
    main.write_text(
        # Its own user could not read the test's directory.
        f"{'user root;' if os.geteuid() == 0 else ''}\n"
        f"daemon off; worker_processes 2; pid {directory}/nginx.pid;\n"
        f"error_log {directory}/error.log;\n"
        f"events {{ worker_connections 512; }}\n"
        f"http {{ {temporary} include {directory}/whik.conf; }}\n"
    )
    return main


def start_nginx(
    directory: Path, sockets: Sequence[str], site: Sequence[str] | None = None
) -> Proxy:
    """Start nginx; the addresses are those of `nginx_file`."""
    port, plain_port = free_port(), free_port()
    file = nginx_file(directory, port, plain_port, sockets, site or sockets)
    log = directory / "error.log"
    process = Process([find("nginx"), "-e", str(log), "-c", str(file)], log)
    return Proxy(port, plain_port, process=process)


def _line(address: str) -> str:
    if address.startswith("unix:"):
        return ON_SOCKET.replace("unix:/run/whik/serve.sock", address)
    return ON_PORT.format(address)


def haproxy_file(directory: Path, port: int, plain_port: int, servers: Sequence[int]) -> Path:
    """Write ``deploy/haproxy.cfg`` and return its path."""
    a, b = servers
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "haproxy.cfg"
    file.write_text(
        shipped(
            "haproxy.cfg",
            {
                "bind :80\n": f"bind 127.0.0.1:{plain_port}\n",
                "bind :443 ": f"bind 127.0.0.1:{port} ",
                "/etc/haproxy/whik.pem": str(PEM),
                "127.0.0.1:8001": f"127.0.0.1:{a}",
                "127.0.0.1:8002": f"127.0.0.1:{b}",
                "maxconn 50000": "maxconn 500",  # What the limit on files allows.
            },
        )
    )
    return file


def start_haproxy(directory: Path, servers: Sequence[int]) -> Proxy:
    """Start HAProxy before two processes."""
    port, plain_port = free_port(), free_port()
    file = haproxy_file(directory, port, plain_port, servers)
    process = Process([find("haproxy"), "-W", "-db", "-f", str(file)], directory / "haproxy.log")
    return Proxy(port, plain_port, process=process)


def caddy_file(directory: Path) -> Path:
    """Write ``deploy/Caddyfile``, without what would touch the machine; return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "Caddyfile"
    file.write_text(shipped("Caddyfile", {"{\n\tlog {": "{\n\tadmin off\n\tlog {"}))
    return file


def caddy_environment(directory: Path, port: int, servers: Sequence[int]) -> dict[str, str]:
    """Return what the file reads, and where Caddy keeps things."""
    return {
        "WHIK_HOST": f"http://127.0.0.1:{port}",
        "WHIK_UPSTREAM": " ".join(f"127.0.0.1:{server}" for server in servers),
        "HOME": str(directory),
        "XDG_DATA_HOME": str(directory),
        "XDG_CONFIG_HOME": str(directory),
    }


def start_caddy(directory: Path, servers: Sequence[int]) -> Proxy:
    """Start Caddy before some processes, without TLS: its certificates come from elsewhere."""
    port = free_port()
    file = caddy_file(directory)
    env = caddy_environment(directory, port, servers)
    command = [find("caddy"), "run", "--adapter", "caddyfile", "--config", str(file)]
    return Proxy(port, process=Process(command, directory / "caddy.log", env))


def start_proxy(name: str, directory: Path, servers: Sequence[int]) -> Proxy:
    """Start a proxy by its name before processes on two ports."""
    if name == "haproxy":
        return start_haproxy(directory, servers)
    if name == "caddy":
        return start_caddy(directory, servers)
    return start_nginx(directory / "nginx", [f"127.0.0.1:{port}" for port in servers])
