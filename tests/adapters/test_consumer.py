"""The Channels consumer: its outbox by itself, and whatever a server hands over."""

import asyncio
import json
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import pytest
import pytest_asyncio
from channels.routing import URLRouter
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcasting.adapters.consumer import AsgiSocket
from broadcasting.conf import get_settings
from broadcasting.protocol.messages import PING, Frame
from broadcasting.server.hubs import get_hub, open_session, stop_hub
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
from tests.server.fakes import settle
from tests.utils import (
    await_until,
    client_event,
    frame,
    ping,
    pong,
    sign_in,
    subscribe,
    unsubscribe,
)


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

    async def test_too_many_waiting_bytes_close_it(self, socket: AsgiSocket, wire: Wire) -> None:
        """Over the limit the socket is closed with 4100, without what waited, and says so once."""
        told: list[str] = []
        socket.on_slow = lambda: told.append("slow")
        wire.open.clear()
        for _ in range(200):
            socket.send(KILOBYTE)
        wire.open.set()
        await await_until(lambda: wire.close_code == 4100)
        assert len(wire.texts) <= 1
        assert told == ["slow"]

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

    @pytest.mark.parametrize("is_told", [True, False])
    async def test_a_servers_own_error_is_logged_unless_the_client_has_gone(
        self, is_told: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Uvicorn raises before it tells of a client that broke the rules of WebSockets."""

        async def fail(message: dict[str, Any]) -> None:
            raised.set()
            raise RuntimeError("Unexpected ASGI message, after sending 'websocket.close'")

        raised = asyncio.Event()
        socket = AsgiSocket(fail, farewell=60 if is_told else 0)
        socket.send(KILOBYTE)
        await raised.wait()
        if not is_told:
            await asyncio.wait_for(asyncio.shield(socket._task), 5)
        await socket.stop()
        assert ("Cannot write to a socket" in caplog.text) is not is_told


# Whatever a server hands over

PROTOCOL_FRAMES = st.sampled_from(
    [
        *(ping(), pong(), subscribe("x"), unsubscribe("x"), subscribe("cache-y")),
        *(subscribe("private-x", auth="a:b"), subscribe("#server-to-user-1", auth="")),
        *(
            sign_in("{", "a:b"),
            client_event("private-x", "client-a", {}),
            frame("pusher:subscribe"),
        ),
    ]
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
FRAMES = st.lists(
    st.one_of(
        PROTOCOL_FRAMES.map(lambda text: {"text": text}),
        TEXTS.map(lambda text: {"text": text}),
        TEXTS.map(lambda text: {"text": text, "bytes": None}),
        st.builds(
            lambda event, data: {"text": json.dumps({"event": event, "data": data})}, TEXTS, TEXTS
        ),
        st.binary(max_size=40).map(lambda data: {"bytes": data}),
        st.binary(max_size=40).map(lambda data: {"bytes": data, "text": None}),
        st.just({"text": "x" * 20_000}),
        st.just({}),
    ),
    max_size=6,
)
# `None` stands for the right key.
PATHS = st.none() | TEXTS.map(lambda text: f"/app/{text}") | TEXTS.map(lambda text: f"/{text}")
QUERIES = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.binary(max_size=5).map(lambda value: b"protocol=" + value),
    st.sampled_from([b"", b"protocol=7", b"protocol=5&client=java", b"protocol=7&protocol=8"]),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"origin", b"x-forwarded-proto", b"host", b"cookie"])
        | st.from_regex(rb"[a-z-]{1,10}", fullmatch=True),
        st.binary(max_size=40)
        | st.sampled_from(
            [b"http://testserver", b"null", b"http://[", b"https", b"http://h:99999"]
        ),
    ),
    max_size=4,
)
OPTIONAL = st.fixed_dictionaries(
    {},
    optional={
        "scheme": st.sampled_from(["ws", "wss"]),
        "server": st.sampled_from([None, ("127.0.0.1", 8000), ("/tmp/socket", None)]),
        "root_path": st.just(""),
        "subprotocols": st.just(["x"]),
    },
)


@pytest.fixture
def application() -> URLRouter:
    """Return the routes of a project, as its ``asgi.py`` puts them together."""
    routing = import_module("broadcasting.routing")
    return URLRouter([*routing.websocket_urlpatterns, routing.websocket_fallback])


class Visit:
    """One socket as an ASGI server serves it."""

    def __init__(self, application: URLRouter, scope: dict[str, Any]) -> None:
        self.sent: list[dict[str, Any]] = []
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.say({"type": "websocket.connect"})
        self.task = asyncio.create_task(application(scope, self._said.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        assert not self.is_closed, "something was sent after the close"
        self.sent.append(message)

    def say(self, message: dict[str, Any]) -> None:
        """Hand a message over."""
        self._said.put_nowait(message)

    @property
    def is_closed(self) -> bool:
        """Whether the application has closed the socket."""
        return bool(self.sent) and self.sent[-1]["type"] == "websocket.close"

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.task.done() or self.is_closed or self.is_answered

    @property
    def is_answered(self) -> bool:
        """Whether `LAST` was answered."""
        return any("LAST" in m.get("text", "") for m in self.sent)


LAST = frame("LAST")  # Is answered with an error that names it.


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=PATHS, query=QUERIES, headers=HEADERS, frames=FRAMES, optional=OPTIONAL)
async def test_any_socket_is_served_or_closed(
    application: URLRouter,
    path: str | None,
    query: bytes | None,
    headers: list[tuple[bytes, bytes]],
    frames: list[dict[str, Any]],
    optional: dict[str, Any],
) -> None:
    """
    Whatever the address, the headers and the frames, nothing raises.

    Every socket is accepted; then it is greeted and answered to the end, or closed with
    a code that clients know.
    """
    broadcasting = {"DEFAULT": "memory", "APPS": [{"CLIENT_EVENTS": True}]}
    with override_settings(
        BROADCASTING=broadcasting, SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")
    ):
        key = get_settings().apps[0].key
        scope: dict[str, Any] = {
            "type": "websocket",
            "path": f"/app/{key}" if path is None else path,
        }
        scope |= {"headers": headers} | optional
        if query is not None:
            scope["query_string"] = query
        visit = Visit(application, scope)
        for received in frames:
            visit.say({"type": "websocket.receive", **received})
        visit.say({"type": "websocket.receive", "text": LAST})
        await await_until(lambda: visit.is_settled, what="the last answer or a close")
        visit.say({"type": "websocket.disconnect", "code": 1006})
        await asyncio.wait_for(visit.task, 5)
        accepted, first, *_ = visit.sent
        assert accepted["type"] == "websocket.accept"
        if visit.is_closed:
            assert visit.sent[-1]["code"] in {4001, 4005, 4006, 4007, 4009, 4100}
            assert len(visit.sent[-1]["reason"]) <= 123
        else:
            assert "pusher:connection_established" in first["text"]
            assert path is None or path.endswith(key)
        for message in visit.sent[1:]:
            message.get("text", "").encode()
        hub = get_hub()
        await settle()
        assert (hub.session_count, hub.topics) == (0, {})
        await stop_hub()


# Conversations


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
