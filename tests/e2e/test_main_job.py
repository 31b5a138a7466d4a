"""
The main job, with real parts: an event fired in Django appears in real browsers.

``manage.py runserver``, Chromium with the vendored pusher-js and Echo, redis-server.
"""

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import Callable
from typing import Any

import pytest
from django.test import override_settings
from playwright.async_api import Page, expect

from broadcasting.conf import get_settings
from tests.conftest import RedisServer, RunningServer, RunServer, find_program
from tests.e2e.client import Client
from tests.utils import await_until
from whik import settings as demo

pytestmark = pytest.mark.asyncio(loop_scope="session")

# How each driver is asked for: the connection's alias and the demo's environment.
DRIVERS: dict[str, tuple[str, dict[str, str]]] = {
    "memory": ("memory", {}),
    "channels in-memory": ("channels", {}),
    "channels pubsub": ("channels", {"CHANNEL_LAYER": "pubsub"}),
    "channels core": ("channels", {"CHANNEL_LAYER": "core"}),
    "redis": ("redis", {}),
}
ON_REDIS = ["channels pubsub", "channels core", "redis"]

FIRE = """
from broadcasting import event
from whik.events import NewUserCreated
from whik.factories import UserFactory
for user in UserFactory.create_batch({count}):
    event(NewUserCreated(user))
"""

Start = Callable[[str], RunningServer]


@pytest.fixture
def start(runserver: RunServer, redis_server: RedisServer) -> Start:
    """Return a function that starts the demo with one of `DRIVERS`."""

    def start(driver: str) -> RunningServer:
        alias, environment = DRIVERS[driver]
        if driver in ON_REDIS:
            environment = environment | {"REDIS_URL": redis_server.url}
        return runserver(alias, **environment)

    return start


async def open_sub(page: Page, site: RunningServer) -> None:
    """Open ``/sub`` and wait until its channel is joined."""
    await page.goto(f"{site.url}/sub")
    # Not wait_for_function: the page's content security policy forbids its eval.
    joined = "Echo.connector.pusher.channel('whik')?.subscribed === true"
    await await_until(lambda: page.evaluate(joined), what="whik is joined")


async def wait_for_rows(page: Page, count: int) -> list[dict[str, Any]]:
    """Return the users on `page`, oldest first, when there are `count` rows."""
    rows = page.locator("[data-rows] > li")
    await expect(rows).to_have_count(count)
    texts = await rows.locator("[data-payload]").all_text_contents()
    return [json.loads(text)["user"] for text in reversed(texts)]


async def listen(site: RunningServer) -> Client:
    """Return a client that has subscribed to ``whik``."""
    with override_settings(SECRET_KEY=demo.SECRET_KEY, BROADCASTING={"DEFAULT": "memory"}):
        client = await Client.open(site.port, get_settings().apps[0])
    await client.join("whik")
    return client


@pytest.mark.parametrize("driver", DRIVERS)
async def test_everybody_gets_what_any_process_publishes(
    driver: str, start: Start, page: Page
) -> None:
    """Bursts of a visit to ``/pub`` and of another process reach tabs and sockets in order."""
    site = start(driver)
    tabs = [page, await page.context.new_page()]
    for tab in tabs:
        await open_sub(tab, site)
    clients = await asyncio.gather(*(listen(site) for _ in range(10)))
    made = json.loads(await asyncio.to_thread(site.fetch, "/pub?count=100"))["users"]
    await asyncio.to_thread(site.shell, FIRE.format(count=100))
    first, second = [await wait_for_rows(tab, 200) for tab in tabs]
    assert first == second
    assert first[:100] == made
    assert [user["id"] for user in first] == list(range(1, 201))
    for client in clients:
        async with client:
            users = [data["user"]["id"] for _, _, data in await client.events(200)]
            assert users == list(range(1, 201))
    assert "Traceback" not in site.log_text()


@pytest.mark.parametrize("driver", ["channels pubsub", "redis"])
async def test_page_survives_a_restart_of_redis(
    driver: str, start: Start, page: Page, redis_server: RedisServer
) -> None:
    """Redis is killed and comes back empty: the page and the server go on, with one line each."""
    site = start(driver)
    await open_sub(page, site)
    await asyncio.to_thread(site.shell, FIRE.format(count=1))
    await wait_for_rows(page, 1)
    socket_id = await page.evaluate("Echo.socketId()")

    lost, back = (
        ("Lost Redis", "Redis is back; 2 channels")
        if driver == "redis"
        else ("Lost channel layer 'default'", "Channel layer 'default' is back; 2 groups")
    )
    await asyncio.to_thread(redis_server.stop)
    await asyncio.to_thread(site.wait_for_log, lost)
    await asyncio.to_thread(redis_server.start)

    async def arrives() -> bool:
        await asyncio.to_thread(site.fetch, "/pub")
        return len(await page.locator("[data-rows] > li").all()) > 1

    await await_until(arrives, what="a new row after the restart")
    assert await page.evaluate("Echo.socketId()") == socket_id
    await asyncio.to_thread(site.wait_for_log, back)
    log = site.log_text()
    assert log.count(lost) == 1
    assert log.count(back) == 1
    assert "Traceback" not in log


async def redis_cli(server: RedisServer, *command: str) -> asyncio.subprocess.Process:
    """Start Redis's own command line client, which knows nothing of us."""
    return await asyncio.create_subprocess_exec(
        *(find_program("redis-cli"), "-p", str(server.port), *command), stdout=PIPE
    )


async def test_foreign_programs_publish_and_subscribe(
    start: Start, page: Page, redis_server: RedisServer
) -> None:
    """``redis-cli`` shows a row on the page, disturbs nobody with nonsense, and reads events."""
    site = start("redis")
    await open_sub(page, site)
    for payload in (
        "nonsense",
        '{"event":"NewUserCreated","data":{"user":{"name":"x","email":"y@z"}}}',
    ):
        client = await redis_cli(redis_server, "PUBLISH", "whik", payload)
        assert (await client.communicate())[0] == b"1\n"
    assert await wait_for_rows(page, 1) == [{"name": "x", "email": "y@z"}]
    site.wait_for_log("Dropped a malformed message")

    relay = await redis_cli(redis_server, "SUBSCRIBE", "whik")
    lines = relay.stdout
    assert lines is not None
    assert [await lines.readline() for _ in range(3)] == [b"subscribe\n", b"whik\n", b"1\n"]
    made = json.loads(await asyncio.to_thread(site.fetch, "/pub"))
    assert [await lines.readline() for _ in range(2)] == [b"message\n", b"whik\n"]
    fields = {"event": "NewUserCreated", "data": {"user": made}, "socket": None}
    assert json.loads(await lines.readline()) == fields
    relay.kill()
    await relay.wait()


async def test_log_connection_writes_what_would_be_sent(runserver: RunServer) -> None:
    """The server's log contains the event, the channels and the data of a visit."""
    site = runserver("log")
    made = json.loads(await asyncio.to_thread(site.fetch, "/pub"))
    site.wait_for_log("Broadcasting [NewUserCreated] on channels [whik] with data:")
    site.wait_for_log(made["email"])
