"""What every server of ours does alike, held with real ones."""

import asyncio
import json
import random
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from django.test import override_settings
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from broadcasting.adapters.consumer import AsgiSocket
from broadcasting.applications import Application
from broadcasting.conf import get_settings
from broadcasting.drivers.pusher import PusherBroadcaster
from tests.adapters.conversations import (
    CONVERSATIONS,
    Close,
    Conversation,
    Hear,
    Join,
    Say,
    SignIn,
    check,
)
from tests.adapters.strangers import Stranger
from tests.conftest import RunningServer, RunServer
from tests.utils import decode, frame, pong, subscribe, unsubscribe


async def join(site: RunningServer, channel: str, **options: Any) -> ClientConnection:
    """Return a client that has subscribed to `channel`."""
    client = await connect(address(site), **options)
    assert decode(str(await client.recv()))["event"] == "pusher:connection_established"
    await client.send(subscribe(channel))
    assert "subscription_succeeded" in str(await client.recv())
    return client


def address(site: RunningServer, conversation: Conversation | None = None) -> str:
    """Return where a client connects to."""
    key, query = demo_app().key, "protocol=7"
    if conversation is not None:
        key, query = conversation.key or key, conversation.query
    return f"ws://127.0.0.1:{site.port}/app/{key}?{query}"


def demo_app() -> Application:
    """Return the demo's application, from the demo's own settings."""
    from whik import settings as demo

    with override_settings(SECRET_KEY=demo.SECRET_KEY, BROADCASTING={"DEFAULT": "memory"}):
        return get_settings().apps[0]


def publisher(site: RunningServer) -> PusherBroadcaster:
    """Return a client of the site's HTTP API."""
    app = demo_app()
    return PusherBroadcaster(app=app, first_app_id=app.id, url=site.url)


@pytest.fixture(params=["daphne", "uvicorn", "broadcast_serve"])
def site(request: pytest.FixtureRequest, runserver: RunServer) -> RunningServer:
    """Return the demo under an ASGI server."""
    return runserver("memory", server=request.param)


async def hold(site: RunningServer, conversation: Conversation) -> None:
    """Hold one conversation with a real server."""
    origin = None if conversation.origin is None else Origin(conversation.origin)
    async with connect(address(site, conversation), origin=origin) as client:
        if conversation.greeted:
            greeting = decode(str(await client.recv()))
            assert greeting["event"] == "pusher:connection_established"
            assert greeting["data"]["activity_timeout"] == 30
        for step in conversation.steps:
            match step:
                case Say(text):
                    # A refused client may have been closed before it could speak.
                    with nullcontext() if conversation.greeted else suppress(ConnectionClosed):
                        await client.send(text)
                case Join() | SignIn():
                    await client.send(step.text(demo_app(), greeting["data"]["socket_id"]))
                case Hear():
                    check(str(await asyncio.wait_for(client.recv(), 5)), step)
                case Close(code):
                    with pytest.raises(ConnectionClosed):
                        await asyncio.wait_for(client.recv(), 5)
                    assert client.close_code == code


async def test_server_holds_every_conversation(site: RunningServer) -> None:
    """The consumer says under real servers what the session says by itself."""
    for conversation in CONVERSATIONS:
        try:
            await hold(site, conversation)
        except Exception as exc:
            raise AssertionError(f"{conversation.name}: {exc!r}\n{site.log_text()}") from exc
    assert "Traceback" not in site.log_text()


async def test_an_unknown_address_is_refused_for_good(site: RunningServer) -> None:
    """With 4005 and without a traceback; an HTTP error would be tried again for ever."""
    for path in ("/", "/app/", "/app/x/y", "/elsewhere/app/x", "/app/%2F"):
        async with connect(f"ws://127.0.0.1:{site.port}{path}") as client:
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(client.recv(), 5)
        assert client.close_code == 4005
    assert "Traceback" not in site.log_text()


async def test_slow_reader_is_closed_and_nobody_else_notices(
    site: RunningServer, request: pytest.FixtureRequest
) -> None:
    """A client that stops reading is closed; the others get everything in order."""
    count, size = 300, 9_000
    healthy = [await join(site, "whik") for _ in range(5)]
    slow = await join(site, "whik", max_queue=1)

    async def read(client: ClientConnection) -> list[int]:
        numbers: list[int] = []
        while len(numbers) < count:
            message = decode(str(await client.recv()))
            if message["event"] == "pusher:ping":
                await client.send(pong())
            else:
                numbers.append(message["data"]["n"])
        return numbers

    readers = [asyncio.create_task(read(client)) for client in healthy]
    broadcaster = publisher(site)
    for number in range(count):
        data = json.dumps({"n": number, "text": "x" * size})
        await broadcaster.abroadcast(["whik"], "Big", data)
    for numbers in await asyncio.gather(*readers):
        assert numbers == list(range(count))
    site.wait_for_log("Closing a slow reader")
    received = await drain(slow)
    assert received < count
    if request.node.callspec.params["site"] == "broadcast_serve":
        # What the kernel and the transport had taken; the client's kernel took some, too.
        assert received * size <= 1024 * 1024
    else:
        # Without an answer to the ping that followed them, this much and no more was sent.
        assert received * size <= AsgiSocket.WINDOW + 2 * size
    for client in healthy:
        await client.close()
    broadcaster.close()


async def drain(client: ClientConnection) -> int:
    """Count the big messages that are still to come before the connection ends."""
    received = 0
    with suppress(ConnectionClosed):
        while True:
            received += "Big" in str(await asyncio.wait_for(client.recv(), 10))
    return received


async def test_sockets_that_come_and_go_leave_the_server_well(site: RunningServer) -> None:
    """Clients that leave at any moment of a subscription disturb nobody."""
    witness = await join(site, "whik")

    async def come_and_go(number: int) -> None:
        client = await connect(address(site))
        for _ in range(number % 4):
            await client.send(subscribe("whik"))
            await client.send(unsubscribe("whik"))
        await client.send(subscribe("whik"))
        if number % 2:
            client.transport.abort()
        else:
            await client.close()

    for start in range(0, 60, 20):
        await asyncio.gather(*(come_and_go(n) for n in range(start, start + 20)))
    broadcaster = publisher(site)
    await broadcaster.abroadcast(["whik"], "Still here", "{}")
    assert decode(str(await asyncio.wait_for(witness.recv(), 5)))["event"] == "Still here"
    await witness.send(frame("pusher:ping", {}))
    assert "pusher:pong" in str(await witness.recv())
    await witness.close()
    broadcaster.close()
    assert "Traceback" not in site.log_text()


async def test_server_on_another_port_says_where_others_post(runserver: RunServer) -> None:
    """A server whose address differs from the connection's warns with its first client."""
    site = runserver("memory", BROADCAST_URL="http://127.0.0.1:1")
    client = await join(site, "whik")
    site.wait_for_log(f"This server listens on port {site.port}")
    await client.close()


async def test_strangers_do_a_server_no_harm(
    site: RunningServer, request: pytest.FixtureRequest
) -> None:
    """Hundreds of broken handshakes and frames; who came before and who comes after is served."""
    server = request.node.callspec.params["site"]
    key, choose = demo_app().key, random.Random(1)
    strangers = [Stranger(site.port, key, choose, careful=server != "daphne")]
    if server == "broadcast_serve":  # uvicorn's own class serves none but other paths there.
        strangers.append(Stranger(site.port, key, choose, careful=False, paths=[]))
    witness = await join(site, "whik")
    for stranger in strangers * (20 // len(strangers)):
        await asyncio.gather(*(stranger.visit() for _ in range(20)))
    for conversation in CONVERSATIONS:
        await hold(site, conversation)
    broadcaster = publisher(site)
    await broadcaster.abroadcast(["whik"], "Still here", "{}")
    assert decode(str(await asyncio.wait_for(witness.recv(), 5)))["event"] == "Still here"
    await witness.close()
    broadcaster.close()
    assert "Traceback" not in site.log_text(), site.log_text()


async def test_a_ping_frame_is_answered_with_its_payload(site: RunningServer) -> None:
    """By a pong frame, beside the pings of Pusher's protocol."""
    client = await join(site, "whik")
    await asyncio.wait_for(await client.ping(b"payload"), 5)
    await client.close()


async def test_only_websocket_is_an_upgrade(site: RunningServer) -> None:
    """A request to change to something else is HTTP, and answered so; Reverb takes any."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(
        f"GET /app/{demo_app().key} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n"
        f"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n".encode()
    )
    status = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    assert status.split()[1] == b"404"
