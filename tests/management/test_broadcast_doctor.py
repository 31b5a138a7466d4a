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
from broadcasting.diagnostics.server import examine_files, examine_proxy, likely_origin
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
        """Each thing that was looked at has a line."""
        lines, error = run()
        assert error == ""
        assert about("Settings", lines).startswith("ok       Settings: DEFAULT is 'here'; 1 app")
        assert "answers requests of application '1'" in about(f"Server {site.url}", lines)
        assert f"may open one to {site.url}" in about("Socket", lines)
        assert "refuses strangers" in about("Authorization", lines)
        assert "room for" in about("Open files", lines)

    def test_foreign_origin_is_told_with_the_setting(self) -> None:
        """As its pages would find out."""
        lines, error = run("--origin", "https://elsewhere.example")
        assert "1 of " in error
        line = about("Socket", lines)
        assert line.startswith("error")
        assert "A page on https://elsewhere.example cannot open one" in line
        assert "Add the origin to ALLOWED_ORIGINS" in line

    def test_other_secret_is_told(self, site: RunningServer, settings: Settings) -> None:
        """The server refuses the signature, and the line says what to compare."""
        settings.BROADCASTING = {
            **settings.BROADCASTING,
            "APPS": [{"ID": "1", "KEY": get_settings().apps[0].key, "SECRET": "not that one" * 3}],
        }
        lines, _ = run()
        assert "Compare KEY" in about(f"Server {site.url}", lines)

    def test_other_key_is_told(self, settings: Settings) -> None:
        """The socket is closed with 4001."""
        app = {"ID": "1", "KEY": "unknown", "SECRET": get_settings().apps[0].secret}
        settings.BROADCASTING = {**settings.BROADCASTING, "APPS": [app]}
        lines, _ = run()
        assert "Compare KEY of the application with that of the server" in about("Socket", lines)

    def test_json_says_the_same(self) -> None:
        """For programs that watch."""
        lines, _ = run("--json")
        found = json.loads("\n".join(lines))
        assert {finding["subject"]: finding["level"] for finding in found}["Socket"] == "ok"


def test_absent_server_is_told(settings: Settings) -> None:
    """With what starts one."""
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


def test_process_without_pages_may_look(stranger: str, settings: Settings) -> None:
    """It has no addresses of its own, and the server has those that Echo asks."""
    del settings.ROOT_URLCONF
    lines, _ = run("--url", stranger)
    assert f"{stranger}/broadcasting/auth answers 200 to a stranger" in about("Auth", lines)


def test_server_of_somebody_else_is_told(stranger: str, settings: Settings) -> None:
    """It answers, and neither as an API nor with a socket; its clock is wrong, too."""
    lines, _ = run("--url", stranger)
    text = "\n".join(lines)
    assert re.search("Its clock is 360[01] s behind this machine's", text)  # Whole seconds.
    assert "Let NTP set the clocks" in text
    assert "have the proxy pass Upgrade and Connection for /app/" in about("Socket", lines)
    assert "answers 200 to a stranger" in about("Authorization", lines)


@pytest.mark.parametrize("url", ["", "shop", "ftp://shop", "http://[::1", "http://a:pass@shop"])
def test_address_that_is_none_is_told(url: str) -> None:
    """And nothing is tried; a password in it is not repeated."""
    lines, error = run("--url", url)
    assert lines == []
    assert error.startswith("--url: ")
    assert "pass" not in error


def test_settings_that_make_no_sense_are_all_there_is_to_say(settings: Settings) -> None:
    """Nothing else is tried."""
    settings.BROADCASTING = {"DEFAULT": "nowhere"}
    lines, error = run()
    assert error == "1 of 1 things are wrong."
    assert "There is no broadcast connection 'nowhere'" in lines[0]


def test_what_the_checks_say_keeps_nobody_from_looking_on(settings: Settings) -> None:
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
    def _found(settings: Settings, **options: Any) -> str:
        settings.BROADCASTING = {
            "DEFAULT": "redis",
            "CONNECTIONS": {"redis": {"DRIVER": REDIS, **options}},
        }
        return about("Redis", run()[0])

    def test_version_and_round_trip_are_told(
        self, redis_server: RedisServer, settings: Settings
    ) -> None:
        """A message was published and came back."""
        line = self._found(settings, URL=redis_server.url)
        assert line.startswith(f"ok       Redis 127.0.0.1:{redis_server.port}: ")
        assert "round trip " in line
        assert "a message takes " in line

    def test_absent_redis_is_told(self, settings: Settings) -> None:
        """With what to do."""
        line = self._found(settings, URL=f"redis://:hush-hush@127.0.0.1:{free_port()}/0")
        assert line.startswith("error")
        assert "Start Redis there, or correct the connection's URL." in line
        assert "hush-hush" not in line

    def test_wrong_password_is_told(self, redis_server: RedisServer, settings: Settings) -> None:
        """And is not repeated."""
        url = redis_server.url.replace("//", "//nobody:hush-hush@")
        line = self._found(settings, URL=url)
        assert "Correct user and password" in line
        assert "hush-hush" not in line

    def test_user_who_may_not_publish_is_told(
        self, redis_server: RedisServer, settings: Settings
    ) -> None:
        """The rules are in the documents."""
        with redis.Redis(port=redis_server.port) as client:
            client.acl_setuser("reader", enabled=True, nopass=True, commands=["+ping", "+time"])
            try:
                line = self._found(settings, URL=redis_server.url.replace("//", "//reader:x@"))
            finally:
                client.acl_deluser("reader")
        assert "Give the user the rules of docs/redis.md" in line

    def test_redis_that_evicts_is_told(self, redis_server: RedisServer, settings: Settings) -> None:
        """Members would be forgotten."""
        with redis.Redis(port=redis_server.port) as client:
            client.config_set("maxmemory", "100mb")
            client.config_set("maxmemory-policy", "allkeys-lru")
            try:
                self._found(settings, URL=redis_server.url)
                text = "\n".join(run()[0])
            finally:
                client.config_set("maxmemory", "0")
                client.config_set("maxmemory-policy", "noeviction")
        assert "maxmemory-policy is allkeys-lru" in text
        assert "Set maxmemory-policy noeviction" in text


class TestChannelLayer:
    @pytest.mark.parametrize("layer", ["core", "pubsub"])
    def test_message_is_sent_through_it(
        self, layer: str, redis_server: RedisServer, settings: Settings
    ) -> None:
        """And read again."""
        line = self._found(settings, layer, redis_server.url)
        assert line.startswith("ok       Channel layer 'default': A message takes ")

    def test_absent_redis_is_told(self, settings: Settings) -> None:
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


def test_more_sockets_than_files_is_an_error(settings: Settings) -> None:
    """What is wanted, and what there is room for."""
    settings.BROADCASTING = {"SERVER": {"MAX_CONNECTIONS": 1_000_000_000}}
    (finding,) = examine_files(get_settings())
    assert finding.level == "error"
    assert 'SERVER["MAX_CONNECTIONS"] is 1000000000' in finding.text
    assert "LimitNOFILE=" in finding.fix


def test_proxy_that_speaks_tls_must_say_so(settings: Settings) -> None:
    """Without the setting a warning, with it the header's name, over plain HTTP nothing."""
    (warning,) = examine_proxy(get_settings(), "https://www.example.com")
    assert warning.level == "warning"
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    (ok,) = examine_proxy(get_settings(), "https://www.example.com")
    assert "x-forwarded-proto: https" in ok.text
    assert examine_proxy(get_settings(), "http://www.example.com") == []


@pytest.mark.parametrize(
    ("app", "hosts", "expected"),
    [
        (
            {"ALLOWED_ORIGINS": ["https://*.a.example", "https://b.example"]},
            [],
            "https://b.example",
        ),
        ({}, ["127.0.0.1"], "http://127.0.0.1:8000"),
        ({}, [".c.example", "d.example"], "http://d.example"),
        ({}, ["*"], "http://127.0.0.1:8000"),
    ],
)
def test_origin_is_that_of_the_sites_pages(
    app: dict[str, Any], hosts: list[str], expected: str, settings: Settings
) -> None:
    """As far as the settings tell it."""
    settings.ALLOWED_HOSTS = hosts
    settings.BROADCASTING = {"APPS": [app]}
    assert likely_origin(get_settings().apps[0], "http://127.0.0.1:8000") == expected
