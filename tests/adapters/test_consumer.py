"""The Channels consumer: its outbox by itself, then everything on real servers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress
from typing import Any

import pytest
import pytest_asyncio
from django.test import override_settings
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from broadcasting.adapters.consumer import AsgiSocket
from broadcasting.conf import get_settings
from broadcasting.credentials import Application
from broadcasting.drivers.pusher import PusherBroadcaster
from broadcasting.protocol.messages import PING, Frame
from broadcasting.server import open_session, stop_hub
from tests.adapters.conversations import (
    CONVERSATIONS,
    Close,
    Conversation,
    Hear,
    Join,
    Say,
    SignIn,
)
from tests.conftest import RunningServer, RunServer
from tests.utils import await_until, decode, frame, pong, subscribe, unsubscribe


class Wire:
    """An ASGI ``send`` that a test can hold up."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, message: dict[str, Any]) -> None:
        """Take `message` when the wire is open."""
        await self.open.wait()
        self.sent.append(message)

    @property
    def texts(self) -> list[str]:
        """The frames sent, pings left out."""
        return [m["text"] for m in self.sent if m.get("text", PING.text) != PING.text]

    @property
    def pings(self) -> int:
        """How many pings were put into the stream."""
        return sum(m.get("text") == PING.text for m in self.sent)

    @property
    def close_code(self) -> int | None:
        """The code of the close, if there was one."""
        codes = [m["code"] for m in self.sent if m["type"] == "websocket.close"]
        assert len(codes) <= 1
        return codes[0] if codes else None


KILOBYTE = Frame("x" * 1024)


class TestAsgiSocket:
    """The outbox."""

    @pytest_asyncio.fixture
    async def wire(self) -> Wire:
        """Return an open wire."""
        return Wire()

    @pytest_asyncio.fixture
    async def socket(self, wire: Wire) -> AsyncIterator[AsgiSocket]:
        """Yield an outbox in front of `wire` that holds 100 kB for ten seconds."""
        socket = AsgiSocket(wire, limit=100 * 1024, patience=10)
        yield socket
        await socket.stop()

    async def test_sends_in_order(self, socket: AsgiSocket, wire: Wire) -> None:
        """Frames leave in the order in which they were queued."""
        for number in range(50):
            socket.send(Frame(str(number)))
        await await_until(lambda: len(wire.texts) == 50)
        assert wire.texts == [str(n) for n in range(50)]
        assert wire.pings == 0

    async def test_closes_after_what_waits(self, socket: AsgiSocket, wire: Wire) -> None:
        """A close follows the frames before it; what comes later is dropped."""
        socket.send(Frame("last words"))
        socket.close(4001, "Application does not exist")
        socket.send(Frame("too late"))
        socket.close(4200, "again")
        await await_until(lambda: wire.close_code)
        assert wire.sent == [
            {"type": "websocket.send", "text": "last words"},
            {"type": "websocket.close", "code": 4001, "reason": "Application does not exist"},
        ]

    async def test_asks_now_and_then_what_was_read(self, socket: AsgiSocket, wire: Wire) -> None:
        """After each 64 kB a ping goes out, one at a time."""
        for _ in range(65):
            socket.send(KILOBYTE)
        await await_until(lambda: wire.pings == 1)
        for _ in range(100):
            socket.send(KILOBYTE)
        await await_until(lambda: len(wire.texts) == 165)
        assert wire.pings == 1
        socket.acknowledge(1)
        socket.send(KILOBYTE)
        await await_until(lambda: wire.pings == 2)

    async def test_stops_at_the_window(self, socket: AsgiSocket, wire: Wire) -> None:
        """A client that does not answer gets no more than the window; one that does, all."""
        for _ in range(300):
            socket.send(KILOBYTE)
            await asyncio.sleep(0)  # The task has its turn.
        assert len(wire.texts) == 256
        socket.acknowledge(1)
        await await_until(lambda: not socket._frames)
        assert wire.close_code is None

    async def test_too_many_waiting_bytes_close_it(
        self, socket: AsgiSocket, wire: Wire, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Over the limit the socket is closed with 4100, without what waited, and it is logged."""
        caplog.set_level("INFO", "broadcasting.server")
        wire.open.clear()
        for _ in range(200):
            socket.send(KILOBYTE)
        wire.open.set()
        await await_until(lambda: wire.close_code == 4100)
        assert len(wire.texts) <= 1
        assert caplog.text.count("Closing a slow reader") == 1

    async def test_waiting_too_long_closes_it(self, socket: AsgiSocket, wire: Wire) -> None:
        """A frame that waits longer than the patience closes the socket with 4100."""
        now = asyncio.get_running_loop().time()
        wire.open.clear()
        for _ in range(3):
            socket.send(KILOBYTE)
        await asyncio.sleep(0)
        socket.tick(now + 9)
        assert socket._closing is None
        socket.tick(now + 11)
        wire.open.set()
        await await_until(lambda: wire.close_code == 4100)

    async def test_pongs_that_nobody_asked_for_count_for_nothing(
        self, socket: AsgiSocket, wire: Wire
    ) -> None:
        """A client cannot acknowledge in advance."""
        socket.acknowledge(5)
        for _ in range(70):
            socket.send(KILOBYTE)
        await await_until(lambda: wire.pings == 1)
        assert socket._acknowledged == 0

    async def test_a_client_that_has_gone_ends_the_task(self) -> None:
        """Servers raise `OSError` from ``send`` after a disconnect; that is no error here."""

        async def gone(message: dict[str, Any]) -> None:
            raise OSError

        socket = AsgiSocket(gone)
        socket.send(KILOBYTE)
        await asyncio.wait_for(asyncio.shield(socket._task), 5)
        socket.send(KILOBYTE)
        await socket.stop()


# Conversations


def check(heard: str, expected: Hear) -> None:
    """Compare a frame with what the script says."""
    assert json.loads(heard) == expected.frame


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda c: c.name)
async def test_session_holds_the_conversation(conversation: Conversation) -> None:
    """A session without any I/O says what the script says."""
    wire = Wire()
    broadcasting = {"DEFAULT": "memory", "APPS": [{"CLIENT_EVENTS": True}]}
    with override_settings(BROADCASTING=broadcasting, ALLOWED_HOSTS=["127.0.0.1"]):
        socket = AsgiSocket(wire)
        app = get_settings().apps[0]
        session = open_session(
            key=conversation.key or app.key,
            version=dict(p.split("=") for p in conversation.query.split("&") if p).get("protocol"),
            origin=conversation.origin,
            socket=socket,
        )
        position = 0

        async def hear() -> dict[str, Any]:
            nonlocal position
            await await_until(lambda: len(wire.sent) > position)
            position += 1
            return wire.sent[position - 1]

        if conversation.greeted:
            assert "connection_established" in (await hear())["text"]
        for step in conversation.steps:
            match step:
                case Say(str(text)):
                    session.receive(text)
                case Join() | SignIn():
                    session.receive(step.text(app, session.socket_id))
                case Hear():
                    check((await hear())["text"], step)
                case Close(code):
                    assert (await hear())["code"] == code
        session.closed()
        await socket.stop()
        await stop_hub()
        assert position == len(wire.sent)


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


@pytest.fixture(params=["daphne", "uvicorn"])
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


async def test_slow_reader_is_closed_and_nobody_else_notices(site: RunningServer) -> None:
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
