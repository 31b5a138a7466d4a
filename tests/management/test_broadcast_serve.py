"""``manage.py broadcast_serve``: what it is told, what it refuses, what it tells."""

import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from pytest_django import Settings

from broadcasting.adapters.uvicorn import supervisor as uvicorn_supervisor
from broadcasting.adapters.uvicorn.options import Options
from broadcasting.adapters.uvicorn.reload import own_directories
from broadcasting.management.commands import broadcast_serve
from broadcasting.server.metrics import workers as worker_module
from broadcasting.server.metrics.workers import get_worker
from tests.conftest import ROOT
from tests.serving.site import served_sites
from tests.utils import await_until, free_port

PEM = str(ROOT / "tests" / "server" / "webhooks" / "hooks.test.pem")  # A key and its certificate.
REDIS = "broadcasting.drivers.redis.RedisBroadcaster"
IN_MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
APP = {"ID": "1", "KEY": "the-key", "SECRET": "the-secret"}


class Served:
    """What the command would have served with."""

    def __init__(self) -> None:
        self.options = Options()
        self.addresses: list[Any] = []
        self.directory: Path | None = None
        self.mode = 0
        self.output = ""
        self.errors = ""

    def __call__(
        self,
        options: Options,
        sockets: list[socket.socket],
        on_ready: Callable[[], object],
        on_end: Callable[[], object],
    ) -> None:
        """Take the place of what serves."""
        self.options = options
        self.addresses = [sock.getsockname() for sock in sockets]
        self.directory = get_worker().directory
        if self.directory is not None:
            self.mode = self.directory.stat().st_mode & 0o777
        on_ready()
        on_end()
        assert self.directory is None or not self.directory.exists()

    def run(self, *arguments: str) -> "Served":
        """Run the command."""
        output, errors = io.StringIO(), io.StringIO()
        call_command("broadcast_serve", *arguments, stdout=output, stderr=errors)
        self.output, self.errors = output.getvalue(), errors.getvalue()
        return self


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Served:
    """Return what the command serves with, in place of a server."""
    instance = Served()
    monkeypatch.setattr(broadcast_serve, "serve", instance)
    monkeypatch.setattr(worker_module, "_worker", get_worker())
    settings.BROADCASTING = {"DEFAULT": "memory", "SERVER": {"PORT": free_port()}}
    return instance


def test_it_serves_where_the_settings_say(served: Served, settings: Settings) -> None:
    """Without an option the address is the project's. A name stands for all its addresses."""
    port = free_port()
    settings.BROADCASTING = {"DEFAULT": "memory", "SERVER": {"HOST": "127.0.0.2", "PORT": port}}
    assert served.run().addresses == [("127.0.0.2", port)]
    assert served.run("--host", "127.0.0.1", "--port", "0").addresses[0][0] == "127.0.0.1"
    addresses = served.run("--host", "localhost").addresses
    assert "127.0.0.1" in [address[0] for address in addresses]
    assert {address[1] for address in addresses} == {port}


def test_defaults_are_safe(
    served: Served, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """One process, the nearest proxy believed, no log of requests, time to leave."""
    driver = "broadcasting.drivers.memory.MemoryBroadcaster"
    settings.BROADCASTING = {
        "DEFAULT": "here",
        "CONNECTIONS": {"here": {"DRIVER": driver, "URL": "http://127.0.0.1:1"}},
    }
    options = served.run("--port", str(port := free_port())).options
    assert f"listens on port {port}, but other processes send" in caplog.text
    assert options.app == "broadcasting.asgi:application"
    assert (options.workers, options.forwarded_allow_ips) == (1, None)
    assert (options.drain_delay, options.drain_seconds, options.handshake_timeout) == (5, 10, 10)
    assert not any((options.reload, options.debug, options.access_log))
    assert options.max_sockets is not None
    assert options.max_open is not None
    assert options.max_sockets < options.max_open


def test_options_reach_the_server(served: Served, settings: Settings) -> None:
    """Each under its own name. Compression and uvicorn's logging stay off."""
    settings.BROADCASTING = {
        "DEFAULT": "memory",
        "SERVER": {"MAX_CONNECTIONS": 7, "HANDSHAKE_TIMEOUT": 3},
    }
    options = served.run(
        *("--port", "0", "--tls-cert", PEM, "--forwarded-allow-ips", "10.0.0.0/8"),
        *("--keep-alive", "75", "--drain-delay", "0.5", "--drain-seconds", "20"),
        *("--sockets-only", "--debug", "--access-log"),
    ).options
    assert options == Options(
        app="broadcasting.asgi:sockets_only_application",
        tls_cert=PEM,
        forwarded_allow_ips="10.0.0.0/8",
        keep_alive=75,
        drain_delay=0.5,
        drain_seconds=20.0,
        debug=True,
        access_log=True,
        max_sockets=7,
        max_open=1007,
        handshake_timeout=3,
    )
    config = options.config()
    assert (config.ws_max_size, config.ws_per_message_deflate) == (65_536, False)
    assert (config.log_config, config.server_header, config.timeout_keep_alive) == (None, False, 75)
    assert (config.ssl_certfile, config.forwarded_allow_ips) == (PEM, "10.0.0.0/8")


def test_the_projects_own_files_are_watched() -> None:
    """Those of its apps and settings; what is installed does not change."""
    places = {Path(place) for place in own_directories()}
    assert {ROOT / "broadcasting", ROOT / "whik", ROOT / "tests"} <= places
    assert not any("site-packages" in place.parts for place in places)


def test_it_says_where_it_serves(served: Served, settings: Settings, tmp_path: Path) -> None:
    """In one line, with the address that clients need."""
    settings.BROADCASTING = {"DEFAULT": "memory", "SERVER": {"PATH": "/live/"}, "APPS": [APP]}
    port = free_port()
    assert served.run("--port", str(port)).output == (
        f"Serving http://127.0.0.1:{port}/ and ws://127.0.0.1:{port}/live/app/the-key through "
        f"connection 'memory', with 1 worker. Ctrl+C stops it.\n"
    )
    output = served.run("--port", str(port), "--tls-cert", PEM).output
    assert f"https://127.0.0.1:{port}/ and wss://127.0.0.1:{port}/live/app/the-key" in output
    path = tmp_path / "site.sock"
    assert f"Serving {path} and its /live/app/" in served.run("--uds", str(path)).output
    assert not path.exists()


def test_workers_meet_in_a_place_of_their_own(
    served: Served, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else reads it. Without one, several workers have no metrics in common."""

    def fail(**kwargs: object) -> str:
        raise FileNotFoundError("No usable temporary directory found")

    assert served.run().mode == 0o700
    monkeypatch.setattr("tempfile.TemporaryDirectory", fail)
    served.run()
    assert (served.directory, served.errors) == (None, "")
    supervise = Mock()
    monkeypatch.setattr(uvicorn_supervisor, "supervise", supervise)
    settings.BROADCASTING = {**settings.BROADCASTING, "DEFAULT": "redis"}
    settings.BROADCASTING["CONNECTIONS"] = {"redis": {"DRIVER": REDIS}}
    assert "TMPDIR" in served.run("--workers", "2").errors
    assert supervise.call_args.args[2] is None
    supervise.return_value = False
    with pytest.raises(CommandError, match="No worker could start"):
        served.run("--workers", "2")


def test_a_limit_that_does_not_fit_is_told(served: Served, settings: Settings) -> None:
    """With the number to set."""
    settings.BROADCASTING = {"DEFAULT": "memory", "SERVER": {"MAX_CONNECTIONS": 90_000_000}}
    served.run("--port", "0")
    assert "90000000" in served.errors
    assert "LimitNOFILE=90000256" in served.errors
    assert served.options.max_sockets is not None
    assert served.options.max_sockets < 90_000_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workers", "2"), "'memory' ends at the process.*RedisBroadcaster"),
        (("--workers", "2", "--reload"), "leave --workers out"),
        (("--workers", "0"), "from 1 to"),
        (("--workers", "two"), "not a whole number"),
        (("--port", "65536"), "from 0 to 65535"),
        (("--port", "²"), "from 0 to 65535"),
        (("--drain-delay", "-1"), "from 0 to 3600"),
        (("--drain-seconds", "nan"), "from 0 to 3600"),
        (("--keep-alive", "1.5"), "not a whole number"),
        (("--tls-key", PEM), "--tls-cert FILE"),
        (("--tls-cert", "/nowhere.pem"), "/nowhere.pem: .*No such file"),
        (("--tls-cert", __file__), "cannot be loaded"),
        (("--uds", "/tmp/x.sock", "--port", "80"), "exclude each other"),
        (("--uds", "/tmp/x.sock", "--fd", "3"), "exclude each other"),
        (("--uds", __file__), "is no socket"),
        (("--uds", "/nowhere/x.sock"), "No such file"),
        (("--fd", "12345"), "file descriptor 12345: Bad file descriptor"),
        (("--host", "192.0.2.1"), r"192.0.2.1 port \d+: Cannot assign"),
        (("--host", "no.such.host.invalid"), "Cannot listen on no.such.host.invalid port"),
    ],
)
def test_what_cannot_be_is_refused(served: Served, arguments: tuple[str, ...], words: str) -> None:
    """In one line that says what to change, before anything is begun."""
    with pytest.raises(CommandError, match=words) as caught:
        served.run(*arguments)
    assert "\n" not in str(caught.value)
    assert served.addresses == []


@pytest.mark.parametrize(
    ("broadcasting", "words"),
    [
        ({"DEFAULT": "channels"}, "'channels' ends at the process"),
        ({"DEFAULT": "log"}, "'memory' ends at the process"),
        ({"SERVER": {"CONNECTION": "log"}}, "whose driver only writes"),
        ({"SERVER": {"PORT": "8000"}}, r'"PORT"\] is '),
    ],
)
def test_a_connection_that_workers_cannot_share_is_refused(
    served: Served, settings: Settings, broadcasting: dict[str, Any], words: str
) -> None:
    """As are settings that are wrong."""
    settings.BROADCASTING = broadcasting
    settings.CHANNEL_LAYERS = IN_MEMORY
    with pytest.raises((CommandError, SystemCheckError), match=words):
        served.run("--workers", "2")


def test_a_missing_package_is_named() -> None:
    """With the extra that brings it: the command is found without its packages."""
    code = (
        "import sys; sys.modules['httptools'] = None\n"
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('broadcast_serve', '--skip-checks')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert "httptools" in last
    assert "whik[serve]" in last


def test_a_place_that_is_taken_is_refused(served: Served, tmp_path: Path) -> None:
    """By another server; so is a descriptor that does not listen."""
    path = str(tmp_path / "taken.sock")
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        socket.socket(socket.AF_UNIX) as local,
        socket.socket() as deaf,
    ):
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"127.0.0.1 port {port}: Address already in use"):
            served.run("--port", str(port))
        local.bind(path)
        local.listen()
        with pytest.raises(CommandError, match="Somebody listens there already"):
            served.run("--uds", path)
        deaf.bind(("127.0.0.1", 0))
        with pytest.raises(CommandError, match="no socket that listens"):
            served.run("--fd", str(deaf.fileno()))
    assert Path(path).exists()


async def test_sockets_are_served_alone_on_a_given_descriptor(tmp_path: Path) -> None:
    """Without a page, every frame printed. The descriptor is left to whoever opened it."""
    with served_sites(tmp_path) as serve, socket.create_server(("127.0.0.1", 0)) as given:
        given.set_inheritable(True)
        arguments = ("--sockets-only", "--debug", "--fd", str(given.fileno()))
        site = serve(*arguments, "--drain-delay", "0", pass_fds=[given.fileno()])
        site.port = given.getsockname()[1]
        await (await site.join()).close()
        await await_until(lambda: "connection_established" in site.log(), 30, "a frame is printed")
        assert (await site.aget("/live"))[0] == 200
        assert (await site.aget("/wait/0"))[0] == 404
        site.tell(signal.SIGTERM)
        assert site.status() == 0
        # Its clients wait for the next server.
        socket.create_connection(given.getsockname(), 60).close()
