"""
Clients, and servers that publish, behind each proxy with the file that is shipped for it.

Behind it are two processes, as two workers on a Unix socket or on two ports, and one Redis.
"""

import re
from asyncio import to_thread
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest_asyncio

from broadcasting.applications import Application
from tests.deploy.clients import MAIN, SECURE, call, connect, fetch, marks, publish
from tests.deploy.conftest import Front
from tests.deploy.site.settings import MAX_PER_ADDRESS, METRICS_TOKEN
from tests.e2e.client import Client
from tests.utils import await_until, client_event

BEARER = {"Authorization": f"Bearer {METRICS_TOKEN}"}


class Open(Protocol):
    """How a test connects: as `connect`, until the test ends."""

    async def __call__(self, app: Application = MAIN, **how: Any) -> Client: ...


@pytest_asyncio.fixture
async def enter(front: Front) -> AsyncIterator[Open]:
    """Return a function that connects through the proxy, until the test ends."""
    async with AsyncExitStack() as clients:

        async def enter(app: Application = MAIN, **how: Any) -> Client:
            return await clients.enter_async_context(await connect(front.proxy, app, **how))

        yield enter


async def test_an_event_goes_in_and_comes_out(front: Front, enter: Open) -> None:
    """A signed request reaches a process, and its event the client of a socket."""
    client = await enter()
    await client.join("news")
    await publish(front.proxy, "news", "Deployed", data='{"version": "1.2"}')
    assert await client.heard("Deployed", "news") == [{"version": "1.2"}]


async def test_clients_of_all_processes_are_together(front: Front, enter: Open) -> None:
    """Nothing binds a client to a process, and members, whispers and events know no border."""
    room, number = f"presence-room-{next(marks)}", 8
    clients = [await enter() for _ in range(number)]

    async def are_spread() -> bool:
        counts = await to_thread(front.open_sockets)
        return len(counts) == 2 and min(counts) >= 2 and sum(counts) >= number

    await await_until(are_spread, what="clients on both processes")
    for index, client in enumerate(clients):
        await client.join(room, f"u{index}")
    everybody = {f"u{index}" for index in range(number)}
    (last,) = clients[-1].log("subscription_succeeded", room)
    assert set(last["presence"]["ids"]) == everybody
    await clients[0].send(client_event(room, "client-wave", {}))
    for client in clients[1:]:
        await client.heard("client-wave", room)
    # The order of a channel is the same for everybody: a later event has the earlier behind it.
    await publish(front.proxy, room, "Moved", but=clients[1])
    await publish(front.proxy, room, "End")
    for client in clients:
        await client.heard("End", room)
    assert [len(client.log("client-wave", room)) for client in clients] == [0] + [1] * 7
    assert [len(client.log("Moved", room)) for client in clients] == [1, 0] + [1] * 6


async def test_the_limit_of_an_address_is_the_clients(front: Front, enter: Open) -> None:
    """Two processes let in twice as many, whatever a client says where it is; others go in."""
    attempts = 2 * MAX_PER_ADDRESS + 1
    address = f"127.250.{next(marks)}.1"
    clients = [
        await enter(
            address=address,
            headers={"X-Forwarded-For": f"10.1.2.{number}", "Forwarded": f"for=10.1.3.{number}"},
        )
        for number in range(attempts)
    ]
    refused = [client for client in clients if not client.socket_id]
    assert 0 < len(refused) <= attempts - MAX_PER_ADDRESS
    assert {await client.close_code() for client in refused} == {4100}
    # These say that they are the one who has used up the limit.
    others = [await enter(headers={"X-Forwarded-For": address}) for _ in range(attempts)]
    assert all(client.socket_id for client in others)


async def test_the_proxy_says_whether_a_client_encrypts(front: Front, enter: Open) -> None:
    """An application that wants TLS has it, by the word of the proxy and not of the client."""
    if front.proxy.is_tls:
        assert (await enter(SECURE, headers={"X-Forwarded-Proto": "http"})).socket_id
    else:
        client = await enter(SECURE, headers={"X-Forwarded-Proto": "https"})
        assert await client.close_code() == 4000


async def test_who_comes_without_tls_is_sent_there(front: Front) -> None:
    """The address stays the same, and so does the method."""
    if not front.proxy.is_tls:
        assert front.name == "caddy"  # Which does it by itself where it has a certificate.
        return
    target = "/apps/1/events?a=b"
    status, _, headers = await to_thread(fetch, front.proxy, "POST", target, plain=True)
    assert status == 308
    assert headers["location"].startswith("https://127.0.0.1")
    assert headers["location"].endswith("/apps/1/events?a=b")


async def test_a_signed_path_arrives_as_it_was_signed(front: Front, enter: Open) -> None:
    """Escaped characters stay escaped, in whatever way they were."""
    client = await enter()
    await client.join("presence-a@b;c=d,e", "ana")
    for spelling in ("presence-a%40b%3Bc%3Dd%2Ce", "presence-a%40b%3bc=d,e", "presence-a@b;c=d,e"):
        status, answer = await to_thread(
            call, front.proxy, "GET", f"/channels/{spelling}", info="user_count"
        )
        assert (status, answer) == (200, '{"occupied":true,"user_count":1}')


async def test_the_largest_batch_passes(front: Front) -> None:
    """Ten events, each as long as may be, in the longest spelling of JSON; and no longer ones."""
    event = {"name": "e", "channel": "c", "data": "\x01" * 10_240}
    status, answer = await to_thread(
        call, front.proxy, "POST", "/batch_events", {"batch": [event] * 10}
    )
    assert (status, answer) == (200, "{}")
    too_long = {"batch": [event] * 25}
    status, _ = await to_thread(call, front.proxy, "POST", "/batch_events", too_long)
    assert status == 413


async def test_metrics_are_not_for_the_world(front: Front) -> None:
    """Not even for one with the token."""
    status, _, _ = await to_thread(
        fetch, front.proxy, "GET", "/metrics", headers=BEARER, address="127.0.0.77"
    )
    assert status == 403


async def test_metrics_beside_nginx_need_the_token(front: Front) -> None:
    """A proxy stands between, so being on this machine is not enough."""
    if not front.name.startswith("nginx"):
        status, _, _ = await to_thread(fetch, front.proxy, "GET", "/metrics", headers=BEARER)
        assert status == 403
        return
    assert (await to_thread(fetch, front.proxy, "GET", "/metrics"))[0] == 403
    assert (await to_thread(fetch, front.proxy, "GET", "/metrics", headers=BEARER))[0] == 200


async def test_pages_are_served(front: Front, enter: Open) -> None:
    """By Django, which knows from the proxy how the client has come."""
    status, answer, _ = await to_thread(fetch, front.proxy, "POST", "/fire/pages")
    assert (status, answer) == (200, "ASGI")
    client = await enter()
    await client.join("pages")
    await to_thread(fetch, front.proxy, "POST", "/fire/pages")
    (fired,) = await client.heard("Fired", "pages")
    assert fired["scheme"] == ("https" if front.proxy.is_tls else "http")


async def test_a_stranger_protocol_is_not_switched_to(front: Front) -> None:
    """An upgrade to anything but a WebSocket is an ordinary request."""
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": ""}
    status, _, _ = await to_thread(fetch, front.proxy, "GET", "/live", headers=headers)
    assert status == 200


async def test_no_signature_is_logged(front: Front) -> None:
    """What a proxy writes of requests does not let anybody send them again."""
    path = "/apps/1/channels/logged"
    status, answer = await to_thread(call, front.proxy, "GET", "/channels/logged")
    assert (status, answer) == (200, '{"occupied":false}')
    if front.name != "caddy":  # Which logs only what fails.
        await await_until(lambda: path in front.log_text(), what=f"{path} in the log")
    assert not re.search("auth_signature=[0-9a-f]", front.log_text())
