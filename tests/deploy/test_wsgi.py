"""
A site that stays on WSGI: gunicorn serves it, and ``broadcast_serve`` nothing but sockets.

nginx has the shipped file, with gunicorn as the second upstream; one Redis is between them.
"""

import json
import sys
from asyncio import to_thread
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.conftest import RedisServer
from tests.deploy.clients import call, connect, fetch, publish
from tests.deploy.conftest import READY, Site
from tests.deploy.programs import Process, Proxy, start_nginx
from tests.e2e.client import Client

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True)
class Split:
    """
    One site in two servers.

    Attributes:
        proxy: Before both of them.
        gunicorn: Serves the pages.
        sockets: Serves sockets and the HTTP API.
    """

    proxy: Proxy
    gunicorn: Process
    sockets: Process


@pytest.fixture(scope="module")
def split(
    tmp_path_factory: pytest.TempPathFactory,
    _migrated_database: Path,
    _deploy_redis: RedisServer,
) -> Iterator[Split]:
    """Serve with gunicorn, ``broadcast_serve --sockets-only`` and nginx."""
    directory = tmp_path_factory.mktemp("split")
    site = Site(directory, _migrated_database, _deploy_redis.url)
    for_sockets, for_pages = directory / "serve.sock", directory / "gunicorn.sock"
    sockets = site.serve(
        *("--sockets-only", "--uds", str(for_sockets), "--keep-alive", "75"),
        *("--forwarded-allow-ips", "*"),
    )
    gunicorn = site.keep(
        Process(
            [
                *(sys.executable, "-m", "gunicorn", "tests.deploy.site.wsgi:application"),
                *("--bind", f"unix:{for_pages}", "--workers", "1", "--threads", "4"),
                *("--worker-tmp-dir", str(directory)),
            ],
            directory / "gunicorn.log",
            site.env,
        )
    )
    sockets.wait_for_log(READY)
    gunicorn.wait_for_log("Booting worker")
    upstreams = [f"unix:{for_sockets}"] * 2, [f"unix:{for_pages}"] * 2
    proxy = start_nginx(directory / "nginx", *upstreams)
    site.keep(proxy.process)
    yield Split(proxy, gunicorn, sockets)
    site.stop()


async def authorize(proxy: Proxy, client: Client, channel: str) -> tuple[int, str]:
    """Ask the site for a client's authorization, as pusher-js does; return status and body."""
    _, _, found = await to_thread(fetch, proxy, "GET", "/chat/")
    cookies: SimpleCookie = SimpleCookie()
    for text in found.get_all("Set-Cookie", []):
        cookies.load(text)
    body = urlencode({"socket_id": client.socket_id, "channel_name": channel})
    headers = {
        **FORM,
        "Cookie": "; ".join(f"{name}={each.value}" for name, each in cookies.items()),
        "X-CSRFToken": cookies["csrftoken"].value,
        "Referer": f"https://127.0.0.1:{proxy.port}/",
    }
    status, answer, _ = await to_thread(
        fetch, proxy, "POST", "/broadcasting/auth", body=body, headers=headers
    )
    return status, answer


async def test_an_event_of_the_wsgi_site_reaches_whom_it_let_in(split: Split) -> None:
    """Gunicorn authorizes the channel and fires the event; the other server delivers it."""
    client = await connect(split.proxy)
    status, answer = await authorize(split.proxy, client, "private-desk.open")
    assert status == 200
    await client.join("private-desk.open", auth=json.loads(answer)["auth"])
    status, server, _ = await to_thread(fetch, split.proxy, "POST", "/fire/private-desk.open")
    assert status == 200
    assert server.startswith("gunicorn")
    heard = await client.heard("Fired", "private-desk.open")
    assert heard == [{"server": server, "scheme": "https"}]
    await client.close()


async def test_the_wsgi_site_refuses_by_its_rules(split: Split) -> None:
    """The socket's server has the same rules, and is not asked."""
    client = await connect(split.proxy)
    status, _ = await authorize(split.proxy, client, "private-desk.closed")
    assert status == 403
    await client.close()


async def test_the_wsgi_site_leaves_out_who_has_asked(split: Split) -> None:
    """`to_others` takes the socket's id from the request's header, as everywhere."""
    asking, other = await connect(split.proxy), await connect(split.proxy)
    for client in (asking, other):
        await client.join("desks")
    headers = {"X-Socket-ID": asking.socket_id}
    await to_thread(fetch, split.proxy, "POST", "/fire/desks", headers=headers)
    await publish(split.proxy, "desks", "End")
    for client in (asking, other):
        await client.heard("End", "desks")
    assert len(other.log("Fired", "desks")) == 1
    assert asking.log("Fired", "desks") == []
    for client in (asking, other):
        await client.close()


async def test_the_api_is_the_socket_servers(split: Split) -> None:
    """What asks about sockets is answered where they are; gunicorn hears nothing of it."""
    client = await connect(split.proxy)
    await client.join("counted")
    answer = await to_thread(
        call, split.proxy, "GET", "/channels/counted", info="subscription_count"
    )
    assert answer == (200, '{"occupied":true,"subscription_count":1}')
    await client.close()
