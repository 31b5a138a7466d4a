"""``manage.py broadcast_doctor``."""

import io
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from pytest_django import Settings

from broadcasting.conf import get_settings
from tests.conftest import RedisServer, RunningServer, RunServer
from tests.utils import free_port

REDIS = "broadcasting.drivers.redis.RedisBroadcaster"
MEMORY = "broadcasting.drivers.memory.MemoryBroadcaster"


def run(*arguments: str) -> tuple[list[str], str]:
    """Return the lines that the command printed, and how it failed."""
    output, error = io.StringIO(), ""
    try:
        call_command("broadcast_doctor", *arguments, stdout=output, no_color=True)
    except CommandError as exc:
        error = str(exc)
    return output.getvalue().splitlines(), error


def about(subject: str, lines: list[str]) -> str:
    """Return what was found about `subject`, with its fix."""
    for number, line in enumerate(lines):
        if line[9:].startswith(subject):
            fix = lines[number + 1 : number + 2]
            return line + ("".join(fix) if fix and fix[0].startswith(" ") else "")
    return ""


@pytest.fixture(autouse=True)
def _in_development(settings: Settings) -> None:
    settings.DEBUG = True  # The checks of a site in production are not what these tests are about.


@pytest.fixture(scope="module")
def site(module_runserver: RunServer) -> RunningServer:
    """Return the demo, served through the memory connection."""
    return module_runserver("memory")


@pytest.fixture
def _at_the_site(site: RunningServer, settings: Settings) -> None:
    settings.BROADCASTING = {
        "DEFAULT": "here",
        "CONNECTIONS": {"here": {"DRIVER": MEMORY, "URL": site.url}},
    }


@pytest.fixture
def stranger() -> Iterator[str]:
    """Return the address of a server that is none of ours, and whose clock is an hour slow."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"hi")

        do_POST = do_GET

        def date_time_string(self, timestamp: float | None = None) -> str:
            import time

            return super().date_time_string(int(time.time()) - 3600)

        def log_message(self, *args: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("_at_the_site")
class TestServer:
    def test_nothing_is_wrong(self, site: RunningServer) -> None:
        """Each thing that was looked at has a line; ``--json`` has the same ones."""
        lines, error = run()
        assert error == ""
        for subject, text in {
            "Settings": "DEFAULT is 'here'; 1 application.",
            f"Server {site.url}": "answers requests of application '1'",
            "Socket": f"can open one to {site.url}",
            "Authorization": "refuses strangers",
            "Open files": "room for",
        }.items():
            line = about(subject, lines)
            assert line.startswith("ok")
            assert text in line
        found = json.loads("\n".join(run("--json")[0]))
        assert {each["subject"]: each["level"] for each in found}["Socket"] == "ok"

    def test_origin_that_is_not_allowed(self) -> None:
        """The line names the setting."""
        lines, error = run("--origin", "https://elsewhere.example")
        assert error.startswith("1 of ")
        line = about("Socket", lines)
        assert line.startswith("error")
        assert "A page of https://elsewhere.example cannot open one" in line
        assert "ALLOWED_ORIGINS" in line

    @pytest.mark.parametrize(
        ("wrong", "subject"),
        [({"SECRET": "not that one" * 3}, "Server"), ({"KEY": "unknown"}, "Socket")],
    )
    def test_application_that_the_server_does_not_know(
        self, wrong: dict[str, str], subject: str, settings: Settings
    ) -> None:
        """By its secret or its key; the line says what to compare."""
        app = get_settings().apps[0]
        app_here = {"ID": "1", "KEY": app.key, "SECRET": app.secret, **wrong}
        settings.BROADCASTING = {**settings.BROADCASTING, "APPS": [app_here]}
        assert "Compare KEY" in about(subject, run()[0])


def test_absent_server(settings: Settings) -> None:
    """The line says how to start one."""
    url = f"http://127.0.0.1:{free_port()}"
    settings.BROADCASTING = {
        "DEFAULT": "here",
        "CONNECTIONS": {"here": {"DRIVER": MEMORY, "URL": url}},
    }
    lines, error = run()
    assert error.startswith("3 of ")
    assert "manage.py runserver" in about(f"Server {url}", lines)
    assert "Start the server" in about("Socket", lines)
    assert "does not answer" in about("Authorization", lines)


def test_site_without_addresses(stranger: str, settings: Settings) -> None:
    """Nobody can ask to join a channel; the line says what to include."""
    settings.ROOT_URLCONF = "django.contrib.auth.urls"
    assert 'include("broadcasting.urls")' in about("Authorization", run("--url", stranger)[0])


def test_process_without_pages(stranger: str, settings: Settings) -> None:
    """It has no addresses of its own, and takes the one that Echo does."""
    del settings.ROOT_URLCONF
    lines, _ = run("--url", stranger)
    assert f"{stranger}/broadcasting/auth answers 200 to a stranger" in about("Auth", lines)


def test_server_of_somebody_else(stranger: str) -> None:
    """It answers, neither as an API nor with a socket, and its clock is wrong."""
    lines, _ = run("--url", stranger)
    text = "\n".join(lines)
    assert re.search("Its clock is 360[01] s behind this machine's", text)  # Whole seconds.
    assert "Let NTP set the clocks" in text
    assert "have the proxy pass Upgrade and Connection for /app/" in about("Socket", lines)
    assert "answers 200 to a stranger" in about("Authorization", lines)


@pytest.mark.parametrize("url", ["", "shop", "ftp://shop", "http://[::1", "http://a:pass@shop"])
def test_url_that_is_none(url: str) -> None:
    """Nothing is tried, and a password in it is not repeated."""
    lines, error = run("--url", url)
    assert lines == []
    assert error.startswith("--url: ")
    assert "pass" not in error


def test_settings_that_make_no_sense(settings: Settings) -> None:
    """Nothing else is tried."""
    settings.BROADCASTING = {"DEFAULT": "nowhere"}
    lines, error = run()
    assert error.startswith("1 of 1 ")
    assert "There is no broadcast connection 'nowhere'" in lines[0]


def test_an_error_of_a_check_does_not_end_the_command(settings: Settings) -> None:
    """One thing that is wrong may hide another."""
    settings.BROADCASTING = {
        "DEFAULT": "here",
        "CONNECTIONS": {"here": {"DRIVER": "nowhere.Broadcaster"}},
        "SERVER": {"CONNECTION": "memory"},
    }
    lines, _ = run()
    assert "nowhere.Broadcaster" in about("broadcasting.E001", lines)
    assert about("Socket", lines)


class TestRedis:
    @staticmethod
    def _found(settings: Settings, url: str) -> str:
        settings.BROADCASTING = {
            "DEFAULT": "redis",
            "CONNECTIONS": {"redis": {"DRIVER": REDIS, "URL": url}},
        }
        return about("Redis", run()[0])

    def test_version_and_round_trip(self, redis_server: RedisServer, settings: Settings) -> None:
        """A message was published and came back."""
        line = self._found(settings, redis_server.url)
        assert line.startswith(f"ok       Redis 127.0.0.1:{redis_server.port}: ")
        assert "round trip " in line
        assert "a message takes " in line

    @pytest.mark.parametrize(
        ("has_server", "fix"), [(False, "Start Redis there"), (True, "Correct user and password")]
    )
    def test_absent_redis_or_wrong_password(
        self, has_server: bool, fix: str, redis_server: RedisServer, settings: Settings
    ) -> None:
        """The password is not repeated."""
        port = redis_server.port if has_server else free_port()
        line = self._found(settings, f"redis://nobody:hush-hush@127.0.0.1:{port}/0")
        assert line.startswith("error")
        assert fix in line
        assert "hush-hush" not in line

    def test_user_who_may_not_publish(self, redis_server: RedisServer, settings: Settings) -> None:
        """The rules are in the documents."""
        with redis.Redis(port=redis_server.port) as client:
            client.acl_setuser("reader", enabled=True, nopass=True, commands=["+ping", "+time"])
            try:
                line = self._found(settings, redis_server.url.replace("//", "//reader:x@"))
            finally:
                client.acl_deluser("reader")
        assert "Give the user the rules of docs/redis.md" in line

    def test_redis_that_evicts(self, redis_server: RedisServer, settings: Settings) -> None:
        """Members would be forgotten."""
        with redis.Redis(port=redis_server.port) as client:
            client.config_set("maxmemory", "100mb")
            client.config_set("maxmemory-policy", "allkeys-lru")
            try:
                self._found(settings, redis_server.url)
                text = "\n".join(run()[0])
            finally:
                client.config_set("maxmemory", "0")
                client.config_set("maxmemory-policy", "noeviction")
        assert "maxmemory-policy is allkeys-lru" in text
        assert "Set maxmemory-policy noeviction" in text


class TestChannelLayer:
    @pytest.mark.parametrize("layer", ["core", "pubsub"])
    def test_message_comes_back(
        self, layer: str, redis_server: RedisServer, settings: Settings
    ) -> None:
        """It was sent through the layer."""
        line = self._found(settings, layer, redis_server.url)
        assert line.startswith("ok       Channel layer 'default': A message takes ")

    def test_absent_redis(self, settings: Settings) -> None:
        """With the setting."""
        line = self._found(settings, "core", f"redis://127.0.0.1:{free_port()}/0")
        assert line.startswith("error")
        assert "Start what CHANNEL_LAYERS['default'] leads to" in line

    @staticmethod
    def _found(settings: Settings, layer: str, url: str) -> str:
        kind = {"core": "core.RedisChannelLayer", "pubsub": "pubsub.RedisPubSubChannelLayer"}[layer]
        hosts = [{"address": url, "socket_timeout": None}]
        settings.CHANNEL_LAYERS = {
            "default": {"BACKEND": f"channels_redis.{kind}", "CONFIG": {"hosts": hosts}}
        }
        settings.BROADCASTING = {"DEFAULT": "channels"}
        return about("Channel layer", run()[0])
