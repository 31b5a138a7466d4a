"""``manage.py broadcast_restart``."""

import asyncio
import io
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from broadcasting.drivers.base import CONTROL, RESTART
from broadcasting.drivers.registry import close_broker, get_broker
from tests.conftest import ROOT, RedisServer
from tests.drivers.contract import Inbox
from tests.serving.site import ServedSite, farewell, served_sites
from tests.utils import await_until

REDIS = "broadcasting.drivers.redis.RedisBroadcaster"


async def test_the_bus_is_told(settings: Settings, redis_server: RedisServer) -> None:
    """On a channel that every server hears, and no client."""
    settings.BROADCASTING = {
        "DEFAULT": "redis",
        "CONNECTIONS": {"redis": {"DRIVER": REDIS, "URL": redis_server.url}},
    }
    heard = Inbox()
    output = io.StringIO()
    broker = get_broker()
    await broker.connect(heard)
    await broker.subscribe(f"1:{CONTROL}")
    try:
        await asyncio.to_thread(call_command, "broadcast_restart", stdout=output)
        await await_until(lambda: heard, what="it is heard")
        await asyncio.to_thread(call_command, "broadcast_restart", verbosity=0, stdout=output)
    finally:
        await close_broker()
    assert {(message.event, message.channel) for message in heard} == {(RESTART, CONTROL)}
    assert output.getvalue().startswith("Told the servers through connection 'redis'.")
    assert output.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("broadcasting", "words"),
    [
        ({"DEFAULT": "memory"}, "'memory' ends at the server's process.*kill -HUP"),
        ({"DEFAULT": "log"}, "'memory' ends at the server's process"),
        ({"SERVER": {"CONNECTION": "log"}}, "whose driver only writes"),
        (
            {
                "DEFAULT": "redis",
                "CONNECTIONS": {"redis": {"DRIVER": REDIS, "URL": "redis://127.0.0.1:1/0"}},
            },
            "(?i)redis",
        ),
    ],
)
def test_what_cannot_be_told_is_one_line(
    settings: Settings, broadcasting: dict[str, object], words: str
) -> None:
    """With what to do in its place."""
    settings.BROADCASTING = broadcasting
    with pytest.raises(CommandError, match=words) as caught:
        call_command("broadcast_restart")
    assert "\n" not in str(caught.value)


async def test_all_workers_restart_one_after_the_other(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    """Of each server; one without workers ends, for whoever started it to start it again."""
    at_once = ("--drain-delay", "0", "--drain-seconds", "0")
    with served_sites(tmp_path) as serve:
        several = serve("--workers", "2", *at_once, REDIS_URL=redis_server.url)
        single = serve(*at_once, REDIS_URL=redis_server.url)
        await see_them_restart(several, single, redis_server)


async def see_them_restart(
    several: ServedSite, single: ServedSite, redis_server: RedisServer
) -> None:
    """Ask for it twice, and look at the order."""
    before = several.workers()
    clients = [await several.join() for _ in range(4)]
    # One is too many. A worker that has just taken another's place would obey a late one.
    await asyncio.gather(*(asyncio.to_thread(restart, redis_server) for _ in range(2)))

    assert {(await farewell(client))[0] for client in clients} == {4200}
    assert await asyncio.to_thread(single.status, 120) == 0
    await await_until(lambda: len(several.workers() - before) == 2, 120, "both are replaced")
    await await_until(lambda: len(several.workers()) == 2, 60, "the old ones are gone")
    await await_until(several.is_ready, 60, "it is ready")
    left = sorted(times_of_leaving(several) + times_of_leaving(single))
    assert len(left) == 3
    # Each waits until the one before has gone, and some seconds for its clients to come back.
    assert (left[1] - left[0]).total_seconds() > 4
    assert (left[2] - left[1]).total_seconds() > 4


def restart(redis_server: RedisServer) -> None:
    """Run the command as another process of the site does."""
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.serving.settings",
        "BROADCAST_CONNECTION": "redis",
        "REDIS_URL": redis_server.url,
    }
    subprocess.run(
        [sys.executable, "manage.py", "broadcast_restart"],
        cwd=ROOT,
        env=os.environ | env,
        capture_output=True,
        check=True,
    )


def times_of_leaving(site: ServedSite) -> list[datetime]:
    """Return when each of a site's processes began to leave."""
    found = re.findall(r"^(\S+ \S+),\d+ INFO broadcasting.server: Leaving: not", site.log(), re.M)
    return [datetime.strptime(text, "%Y-%m-%d %H:%M:%S") for text in found]
