"""Sockets under any ASGI server: the outbox by itself, and whatever a server hands over."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
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
from broadcasting.server.hubs import get_hub, stop_hub
from tests.server.fakes import settle
from tests.utils import await_until, client_event, frame, ping, pong, sign_in, subscribe

KILOBYTE = Frame("x" * 1024)


class Outbox(AsgiSocket):
    """An outbox of 300 kB in front of a wire that a test can hold up."""

    LIMIT = 300 * 1024

    def __init__(self, fail: Callable[[], None] = lambda: None) -> None:
        self.sent: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.failed = asyncio.Event()
        self._fail = fail
        super().__init__(self._take)

    async def _take(self, message: dict[str, Any]) -> None:
        await self.open.wait()
        self.failed.set()
        self._fail()
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


class TestAsgiSocket:
    @pytest_asyncio.fixture
    async def socket(self) -> AsyncIterator[Outbox]:
        """Yield an outbox."""
        socket = Outbox()
        yield socket
        await socket.stop()

    async def test_sends_in_order_and_closes_after_what_waits(self, socket: Outbox) -> None:
        """What comes behind a close is dropped."""
        for number in range(50):
            socket.send(Frame(str(number)))
        socket.close(4001, "Application does not exist")
        socket.send(Frame("too late"))
        socket.close(4200, "again")
        await await_until(lambda: socket.close_code)
        assert socket.texts == [str(number) for number in range(50)]
        assert socket.pings == 0
        assert socket.sent[-1] == {
            **{"type": "websocket.close", "code": 4001, "reason": "Application does not exist"},
        }

    async def test_asks_now_and_then_what_was_read(self, socket: Outbox) -> None:
        """After each 64 kB a ping goes out, one at a time."""
        for _ in range(65):
            socket.send(KILOBYTE)
        await await_until(lambda: socket.pings == 1)
        for _ in range(100):
            socket.send(KILOBYTE)
        await await_until(lambda: len(socket.texts) == 165)
        assert socket.pings == 1
        socket.acknowledge(1)
        socket.send(KILOBYTE)
        await await_until(lambda: socket.pings == 2)

    async def test_stops_at_the_window(self, socket: Outbox) -> None:
        """A client that does not answer gets no more; one that does, all."""
        for _ in range(290):
            socket.send(KILOBYTE)
            await asyncio.sleep(0)  # The task has its turn.
        assert len(socket.texts) == 256
        socket.acknowledge(1)
        await await_until(lambda: len(socket.texts) == 290)
        assert socket.close_code is None

    async def test_pongs_that_nobody_asked_for_count_for_nothing(self, socket: Outbox) -> None:
        """A client cannot acknowledge in advance."""
        socket.acknowledge(5)
        for _ in range(290):
            socket.send(KILOBYTE)
            await asyncio.sleep(0)
        assert len(socket.texts) == 256

    async def test_too_many_waiting_bytes_close_it(self, socket: Outbox) -> None:
        """With 4100, without what waited, and it says so once."""
        told: list[str] = []
        socket.on_slow = lambda: told.append("slow")
        socket.open.clear()
        for _ in range(400):
            socket.send(KILOBYTE)
        socket.open.set()
        await await_until(lambda: socket.close_code == 4100)
        assert len(socket.texts) <= 1
        assert told == ["slow"]

    async def test_waiting_too_long_closes_it(self, socket: Outbox) -> None:
        """With 4100, however little waits."""
        now = asyncio.get_running_loop().time()
        socket.open.clear()
        for _ in range(3):
            socket.send(KILOBYTE)
        await asyncio.sleep(0)
        socket.tick(now + 9)
        socket.tick(now + 11)
        socket.tick(now + 12)
        socket.open.set()
        await await_until(lambda: socket.close_code == 4100)
        assert len(socket.texts) <= 1

    @pytest.mark.parametrize("error", [OSError(), RuntimeError("Unexpected ASGI message")])
    @pytest.mark.parametrize("is_told", [True, False], ids=["told", "not told"])
    async def test_a_servers_own_error_is_logged_unless_the_client_has_gone(
        self,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
        is_told: bool,
    ) -> None:
        """Servers raise `OSError` after a disconnect; uvicorn has another before it tells of it."""
        monkeypatch.setattr(AsgiSocket, "FAREWELL", 60 if is_told else 0)

        def fail() -> None:
            raise error

        socket = Outbox(fail)
        socket.send(KILOBYTE)
        await socket.failed.wait()
        is_logged = not is_told and not isinstance(error, OSError)
        await await_until(lambda: "Cannot write to a socket" in caplog.text or not is_logged)
        await socket.stop()
        assert ("Cannot write to a socket" in caplog.text) is is_logged


# Whatever a server hands over

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
FRAMES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(ping(), pong(), subscribe("x"), subscribe("cache-y")),
                *(subscribe("private-x", auth="a:b"), subscribe("#server-to-user-1", auth="")),
                *(sign_in("{", "a:b"), client_event("private-x", "client-a", {}), "x" * 20_000),
            ]
        ).map(lambda text: {"text": text}),
        TEXTS.map(lambda text: {"text": text, "bytes": None}),
        st.builds(
            lambda event, data: {"text": json.dumps({"event": event, "data": data})}, TEXTS, TEXTS
        ),
        st.binary(max_size=40).map(lambda data: {"bytes": data}),
        st.just({}),
    ),
    max_size=6,
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"origin", b"x-forwarded-proto", b"host", b"cookie", b"x"]),
        st.binary(max_size=40)
        | st.sampled_from(
            [b"http://testserver", b"null", b"http://[", b"https", b"http://h:99999"]
        ),
    ),
    max_size=4,
)
SCOPES = st.fixed_dictionaries(
    {
        "type": st.just("websocket"),
        # `None` stands for the right key.
        "path": st.none() | TEXTS.map("/app/{}".format) | TEXTS.map("/{}".format),
        "headers": HEADERS,
    },
    optional={
        "query_string": st.binary(max_size=20)
        | st.sampled_from([b"protocol=7", b"protocol=", b"protocol=5", b"protocol=7&protocol=8"]),
        "client": st.sampled_from([None, ("127.0.0.1", 8000), ("", 0)]),
        "scheme": st.sampled_from(["ws", "wss"]),
        "server": st.sampled_from([None, ("127.0.0.1", 8000), ("/tmp/socket", None)]),
    },
)
LAST = frame("LAST")  # Is answered with an error that names it.


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
        """Whether it is over, or `LAST` was answered."""
        answered = any("LAST" in message.get("text", "") for message in self.sent)
        return self.task.done() or self.is_closed or answered


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scope=SCOPES, frames=FRAMES)
async def test_any_socket_is_served_or_closed(
    scope: dict[str, Any], frames: list[dict[str, Any]]
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
        routing = import_module("broadcasting.routing")
        application = URLRouter([*routing.websocket_urlpatterns, routing.websocket_fallback])
        path = f"/app/{get_settings().apps[0].key}"
        is_ours = scope["path"] in (None, path)
        visit = Visit(application, scope | {"path": scope["path"] or path})
        for received in (*frames, {"text": LAST}):
            visit.say({"type": "websocket.receive", **received})
        await await_until(lambda: visit.is_settled, 60, "the last answer or a close")
        visit.say({"type": "websocket.disconnect", "code": 1006})
        await visit.task
        accepted, first, *_ = visit.sent
        assert accepted["type"] == "websocket.accept"
        if visit.is_closed:
            assert visit.sent[-1]["code"] in {4001, 4005, 4006, 4007, 4009, 4100}
            assert len(visit.sent[-1]["reason"]) <= 123
        else:
            assert "pusher:connection_established" in first["text"]
            assert is_ours
        for message in visit.sent[1:]:
            message.get("text", "").encode()
        hub = get_hub()
        await settle()
        assert (hub.session_count, hub.topics) == (0, {})
        await stop_hub()
