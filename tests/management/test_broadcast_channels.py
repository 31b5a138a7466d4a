"""``manage.py broadcast_channels``."""

import io
import json
import re
from asyncio import to_thread
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from broadcasting import channel_authorizer
from broadcasting.authorization import rules as authorization
from tests.conftest import RedisServer, RunServer
from tests.e2e.client import Client
from tests.e2e.sdks import APP
from tests.utils import await_until, free_port

CALL = "from django.core.management import call_command; call_command('broadcast_channels', *{!r})"


def join_chat(user: object, room: str) -> bool:
    """Let everybody in."""
    return True


def run(*arguments: str) -> str:
    """Run the command and return what it printed."""
    output = io.StringIO()
    call_command("broadcast_channels", *arguments, stdout=output, no_color=True)
    return output.getvalue()


def away(url: str, **more: Any) -> dict[str, Any]:
    """Return settings whose server listens at `url`."""
    memory = {"DRIVER": "broadcasting.drivers.memory.MemoryBroadcaster", "URL": url}
    return {"DEFAULT": "here", "CONNECTIONS": {"here": memory}, **more}


@pytest.fixture(autouse=True)
def _rules(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(authorization, "_rules", [])
    settings.BROADCASTING = away(f"http://127.0.0.1:{free_port()}")


def test_it_lists_the_rules() -> None:
    """Pattern and handler in columns, in the order of registration, and who else is asked."""
    channel_authorizer("chat.{room}", join_chat)
    channel_authorizer("r.{room}", join_chat, guests=True)
    handler = f"{__name__}.join_chat"
    assert run().splitlines()[:3] == [
        "Rules",
        f"  chat.{{room}}  {handler}",
        f"  r.{{room}}     {handler}  guests, too",
    ]


def test_a_project_without_rules_is_told_where_they_go() -> None:
    """An empty list looks like a fault."""
    assert run().splitlines()[1] == "  None. Write them into channel_auth.py of an app."


@pytest.mark.parametrize(
    ("driver", "scheme", "text"),
    [
        ("memory.MemoryBroadcaster", "http", "No server answers at http://127.0.0.1:"),
        ("redis.RedisBroadcaster", "redis", ""),
    ],
)
def test_a_server_or_bus_that_is_away_takes_one_line(
    driver: str, scheme: str, text: str, settings: Settings
) -> None:
    """The rules are shown all the same."""
    channel_authorizer("chat.{room}", join_chat)
    url = f"{scheme}://127.0.0.1:{free_port()}"
    connection = {"DRIVER": f"broadcasting.drivers.{driver}", "URL": url}
    settings.BROADCASTING = {"DEFAULT": "x", "CONNECTIONS": {"x": connection}}
    lines = run().splitlines()
    assert (lines[0], lines[2]) == ("Rules", "Channels of application 1")
    assert lines[3].startswith(f"  Unknown. {text}")
    assert len(lines) == 4


def test_json_has_the_same(settings: Settings) -> None:
    """For programs: an error is a field."""
    channel_authorizer("chat.{room}", join_chat)
    value = json.loads(run("--json"))
    handler = f"{__name__}.join_chat"
    assert value["rules"] == [{"pattern": "chat.{room}", "handler": handler, "guests": False}]
    (application,) = value["applications"]
    assert (application["id"], application["channels"]) == ("1", {})
    assert "No server answers" in application["error"]


def test_an_unknown_application_is_refused(settings: Settings) -> None:
    """The known ones are named."""
    apps = [{"ID": f"{n}", "KEY": f"key-{n}", "SECRET": "secret"} for n in (1, 2)]
    settings.BROADCASTING = away("http://127.0.0.1:1", APPS=apps)
    with pytest.raises(CommandError, match=r"no application '3'\. Known applications: 1, 2\."):
        run("--app", "3")
    assert "application 1" not in run("--app", "2")


def test_wrong_settings_are_said_in_one_line(settings: Settings) -> None:
    """No traceback."""
    settings.BROADCASTING = {"DEFAULT": "nowhere"}
    with pytest.raises(CommandError, match="no broadcast connection 'nowhere'"):
        run()


@pytest.mark.parametrize("answer", [b"{}", b'{"channels":[]}', b'{"channels":{"a":{}}}', b"<html>"])
def test_an_answer_of_another_kind_is_no_traceback(answer: bytes, settings: Settings) -> None:
    """Something else listens at the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        settings.BROADCASTING = away(f"http://127.0.0.1:{server.server_address[1]}")
        last = run().splitlines()[-1]
        thread.join()
    assert re.search("not answer as a Pusher server|something else than a JSON object", last)


@pytest.mark.parametrize("driver", ["memory", "channels over Redis", "redis", "pusher"])
async def test_it_counts_the_sockets_of_a_running_site(
    driver: str, runserver: RunServer, redis_server: RedisServer
) -> None:
    """Whatever the driver: from the bus where presence is shared, else from the server."""
    environment = {"DJANGO_SETTINGS_MODULE": "tests.e2e.sdk_settings"}
    if driver in {"channels over Redis", "redis"}:
        environment["REDIS_URL"] = redis_server.url
    site = await to_thread(runserver, driver.partition(" ")[0], **environment)

    def listed(*arguments: str) -> Any:
        (found,) = json.loads(site.shell(CALL.format(["--json", *arguments])))["applications"]
        assert (found["id"], found["error"]) == (APP.id, None)
        return found["channels"]

    first, second = [await Client.open(site.port, APP) for _ in range(2)]
    async with first as one, second as other:
        for page, user in ((one, "1"), (other, "2")):
            await page.join("news")
            await page.join("presence-room", user)
        await one.sign_in("1")
        news = {"news": {"subscription_count": 2}}
        room = {"presence-room": {"subscription_count": 2, "user_count": 2}}

        # Subscribers are counted a moment after they were confirmed.
        await await_until(lambda: to_thread(lambda: listed() == {**news, **room}))
        prefix = ("--prefix", "presence-r", "--app", APP.id)
        assert await to_thread(listed, *prefix) == room
        text = await to_thread(site.shell, CALL.format(["--no-color"]))
        assert text.splitlines()[-2:] == [
            "  news           2 sockets",
            "  presence-room  2 sockets  2 users",
        ]
    await await_until(lambda: to_thread(lambda: listed() == {}), what="all are gone")
