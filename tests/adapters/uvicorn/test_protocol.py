"""The protocol class on a transport that a test can hold up; real ones are in test_servers."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from django.test import override_settings
from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.client import ClientProtocol
from websockets.frames import Close, Opcode
from websockets.frames import Frame as WebSocketFrame
from websockets.uri import parse_uri

from broadcasting.adapters.uvicorn.protocol import PusherProtocol
from broadcasting.conf import get_settings
from broadcasting.protocol.messages import Frame, Message
from broadcasting.server.admission import get_admission
from broadcasting.server.hubs import get_hub, stop_hub
from tests.server.fakes import settle
from tests.utils import await_until, ping, subscribe

BROADCASTING = {"DEFAULT": "memory", "APPS": [{"ALLOWED_ORIGINS": ["*"]}]}


class FakeTransport(asyncio.Transport):
    """
    Keeps what is written; what it "holds" is what a test says that nobody reads.

    Attributes:
        writes: What was written, one entry for each call.
        is_read: Whether it would hand over what the client sends.
        is_half_closed: Whether the client has been told that nothing more comes.
        waiting: Bytes that count as not sent yet.
        end: ``closed`` or ``aborted``, once it is.
    """

    def __init__(self, **extra: Any) -> None:
        super().__init__({"peername": ("192.0.2.1", 50_000), **extra})
        self.writes: list[bytes] = []
        self.is_read = True
        self.waiting = 0
        self.is_half_closed = False
        self.end: str | None = None
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: Any) -> None:
        """Keep `data`."""
        self.writes.append(bytes(data))

    def pause_reading(self) -> None:
        """Note it."""
        self.is_read = False

    def resume_reading(self) -> None:
        """Note it."""
        self.is_read = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take them for granted."""

    def get_write_buffer_size(self) -> int:
        """Return what a test has set."""
        return self.waiting

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Note it."""
        self.protocol = protocol

    def can_write_eof(self) -> bool:
        """It is like TCP."""
        return True

    def write_eof(self) -> None:
        """Note it."""
        self.is_half_closed = True

    def is_closing(self) -> bool:
        """Tell whether it has ended."""
        return self.end is not None

    def close(self) -> None:
        """Note it."""
        self.end = self.end or "closed"

    def abort(self) -> None:
        """Note it."""
        self.end = "aborted"


class Visitor:
    """A client and the server's protocol, joined by a fake transport."""

    def __init__(self, path: str | None = None, *headers: tuple[str, str], **extra: Any) -> None:
        self.state = ServerState()
        self.config = Config("whik.asgi:application", proxy_headers=True)
        self.transport = FakeTransport(**extra)
        self.protocol = PusherProtocol(self.config, self.state, {})
        self.protocol.connection_made(self.transport)
        path = path or f"/app/{get_settings().apps[0].key}?protocol=7"
        self.client = ClientProtocol(parse_uri(f"ws://testserver{path}"))
        request = self.client.connect()
        for name, value in headers:
            request.headers[name] = value
        self.client.send_request(request)
        self.protocol.data_received(b"".join(self.client.data_to_send()))

    def say(self, text: str) -> None:
        """Send a text frame."""
        self.client.send_text(text.encode())
        self.pass_on()

    def pass_on(self) -> None:
        """Let the server have what the client has to send."""
        self.protocol.data_received(b"".join(self.client.data_to_send()))

    async def hear(self) -> list[Any]:
        """Return what was written since the last call: events, and the close."""
        await settle()
        data, self.transport.writes = b"".join(self.transport.writes), []
        self.client.receive_data(data)
        heard: list[Any] = []
        for frame in self.client.events_received():
            if isinstance(frame, WebSocketFrame):
                if frame.opcode is Opcode.TEXT:
                    heard.append(json.loads(bytes(frame.data))["event"])
                elif frame.opcode is Opcode.CLOSE:
                    heard.append(Close.parse(frame.data))
                else:
                    heard.append((frame.opcode, bytes(frame.data)))
        return heard

    def is_heard(self) -> bool:
        """Tell whether the server reads what the visitor says."""
        return self.transport.is_read

    async def join(self, channel: str) -> None:
        """Subscribe, and forget what was said so far."""
        self.say(subscribe(channel))
        await settle()
        assert (await self.hear())[-1] == "pusher_internal:subscription_succeeded"


@pytest_asyncio.fixture(autouse=True)
async def _settings() -> AsyncIterator[None]:
    with override_settings(BROADCASTING=BROADCASTING, ALLOWED_HOSTS=["testserver"]):
        yield
        await stop_hub()


@pytest_asyncio.fixture
async def visitor(_settings: None) -> AsyncIterator[Visitor]:
    """Return a visitor who has been greeted."""
    visitor = Visitor()
    await visitor.hear()
    yield visitor
    visitor.protocol.connection_lost(None)


def message(data: str = "{}") -> Message:
    """Return a message on the channel ``a``."""
    return Message(f"{get_settings().apps[0].id}:a", "News", data)


class TestWriting:
    async def test_frames_of_one_turn_are_one_write(self, visitor: Visitor) -> None:
        """However many they are, and in their order."""
        await visitor.join("a")
        for number in range(5):
            get_hub().deliver(message(str(number)))
        assert visitor.transport.writes == []
        await settle()
        (write,) = visitor.transport.writes
        frames = [Frame.of(message(str(number))).websocket for number in range(5)]
        assert write == b"".join(frames)

    async def test_a_socket_at_rest_holds_nothing(self, visitor: Visitor) -> None:
        """No list, no timer and no task: an idle connection is as small as can be."""
        await visitor.join("a")
        get_hub().deliver(message())
        await settle()
        assert visitor.protocol._frames is None
        assert visitor.protocol._farewell is None
        assert visitor.protocol._partial is None

    async def test_what_comes_during_a_stall_is_sent_after_it(self, visitor: Visitor) -> None:
        """In order, in one write; and until then the client is not listened to."""
        await visitor.join("a")
        get_hub().deliver(message("0"))
        visitor.protocol.pause_writing()
        get_hub().deliver(message("1"))
        await settle()
        assert visitor.transport.writes == []
        assert visitor.is_heard() is False
        visitor.protocol.resume_writing()
        assert visitor.is_heard() is True
        assert await visitor.hear() == ["News", "News"]
        get_hub().deliver(message("2"))
        await settle()
        assert await visitor.hear() == ["News"]

    async def test_too_many_waiting_bytes_close_with_4100(self, visitor: Visitor) -> None:
        """What waits in the transport counts; what waited here is not sent any more."""
        await visitor.join("a")
        visitor.transport.waiting = PusherProtocol.LIMIT - 100
        visitor.protocol.pause_writing()
        get_hub().deliver(message("x" * 50))
        get_hub().deliver(message("x" * 50))
        get_hub().deliver(message("x" * 50))
        await settle()
        assert await visitor.hear() == [Close(4100, "Too slow a reader")]
        assert get_hub().stats.slow_readers == 1
        assert get_hub().session_count == 0
        assert get_hub().stats.closed == {4100: 1}

    async def test_waiting_too_long_closes_with_4100(self, visitor: Visitor) -> None:
        """A stall has an end, however little waits."""
        await visitor.join("a")
        visitor.protocol.pause_writing()
        now = asyncio.get_running_loop().time()
        visitor.protocol.tick(now + PusherProtocol.PATIENCE - 1)
        await settle()
        assert await visitor.hear() == []
        visitor.protocol.tick(now + PusherProtocol.PATIENCE + 1)
        visitor.protocol.tick(now + PusherProtocol.PATIENCE + 2)
        await settle()
        assert await visitor.hear() == [Close(4100, "Too slow a reader")]
        assert get_hub().stats.slow_readers == 1

    async def test_one_socket_that_fails_costs_the_others_nothing(
        self, visitor: Visitor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A transport that raises is logged, and the turn goes on."""
        other = Visitor()
        await other.hear()
        await visitor.join("a")
        await other.join("a")

        def fail(data: bytes) -> None:
            raise RuntimeError("the handler is closed")

        monkeypatch.setattr(visitor.transport, "write", fail)
        get_hub().deliver(message())
        await settle()
        assert await other.hear() == ["News"]
        assert "Cannot write to a socket" in caplog.text
        other.protocol.connection_lost(None)


class TestClosing:
    async def test_what_waits_is_sent_before_the_close(self, visitor: Visitor) -> None:
        """A farewell comes last."""
        await visitor.join("a")
        get_hub().deliver(message())
        visitor.protocol.close(4200, "Server is going away")
        assert await visitor.hear() == ["News", Close(4200, "Server is going away")]
        get_hub().deliver(message())
        await settle()
        assert await visitor.hear() == []
        assert get_hub().session_count == 0

    async def test_a_client_that_does_not_answer_the_close_is_cut_off(
        self, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After the farewell's seconds."""
        monkeypatch.setattr(PusherProtocol, "FAREWELL", 0.01)
        visitor.protocol.close(4200, "")
        assert visitor.transport.end is None
        await await_until(lambda: visitor.transport.end == "aborted")

    async def test_a_client_that_answers_is_let_go(self, visitor: Visitor) -> None:
        """The connection ends with the closing handshake."""
        visitor.protocol.close(4200, "")
        await visitor.hear()
        visitor.pass_on()  # `ClientProtocol` has answered by itself.
        assert visitor.transport.end == "closed"

    async def test_behind_a_close_nothing_is_said(self, visitor: Visitor) -> None:
        """Who floods and does not read would fill the memory with pongs."""
        visitor.protocol.close(4200, "")
        visitor.transport.writes.clear()
        visitor.client.send_ping(b"there?")
        visitor.pass_on()
        assert visitor.transport.writes == []
        visitor.client.send_close(1000)
        visitor.pass_on()
        assert visitor.transport.end == "closed"

    async def test_a_flood_does_not_wait_for_the_end_of_a_slow_reader(
        self, visitor: Visitor
    ) -> None:
        """What was read of it and not looked at would grow with all that still comes."""
        await visitor.hear()
        for _ in range(1_000):
            visitor.client.send_text(ping().encode())
        visitor.pass_on()
        visitor.protocol.pause_writing()
        await settle()
        assert not visitor.is_heard()
        visitor.protocol.close(4100, "Too slow a reader")
        assert not visitor.is_heard()
        visitor.client.send_close(4100)
        visitor.pass_on()
        await await_until(lambda: visitor.transport.end == "closed", what="the close is found")

    async def test_a_clients_close_is_echoed(self, visitor: Visitor) -> None:
        """RFC 6455, section 5.5.1; and the hub forgets it with the connection."""
        await visitor.hear()
        visitor.client.send_close(1001, "bye")
        visitor.pass_on()
        assert await visitor.hear() == [Close(1001, "bye")]
        assert visitor.transport.end == "closed"
        visitor.protocol.connection_lost(None)
        assert get_hub().session_count == 0

    async def test_a_client_may_leave_in_the_midst_of_a_message(self, visitor: Visitor) -> None:
        """Control frames may come between fragments, and a close is one."""
        await visitor.hear()
        visitor.client.send_text(b"half a", fin=False)
        visitor.protocol.data_received(
            b"".join(visitor.client.data_to_send()) + b"\x88\x82\x00\x00\x00\x00\x03\xe8"
        )
        assert await visitor.hear() == [Close(1000, "")]
        assert visitor.transport.end == "closed"

    @pytest.mark.parametrize("has_farewell", [True, False], ids=["close", "end of stream"])
    async def test_who_leaves_without_reading_is_cut_off(
        self, visitor: Visitor, monkeypatch: pytest.MonkeyPatch, has_farewell: bool
    ) -> None:
        """A transport closes when all is sent, and may wait for ever; the hub does not."""
        monkeypatch.setattr(PusherProtocol, "FAREWELL", 0.01)
        await visitor.join("a")
        if has_farewell:
            visitor.client.send_close(1000)
            visitor.pass_on()
        else:
            visitor.protocol.eof_received()
        await settle()
        assert get_hub().session_count == 0
        get_hub().deliver(message())
        await await_until(lambda: visitor.transport.end == "aborted")

    async def test_uvicorn_waits_for_it_until_it_is_gone(self, visitor: Visitor) -> None:
        """`shutdown` closes with 4200, and the set of connections tells when that is done."""
        await visitor.hear()
        assert len(visitor.state.connections) == 1
        visitor.protocol.shutdown()
        assert await visitor.hear() == [Close(4200, "Server is going away")]
        visitor.protocol.connection_lost(None)
        assert len(visitor.state.connections) == 0


class TestReading:
    async def test_fragments_are_one_message(self, visitor: Visitor) -> None:
        """Also with a ping between them, whose pong does not wait for the message's end."""
        await visitor.hear()
        whole = ping().encode()
        visitor.client.send_text(whole[:5], fin=False)
        visitor.client.send_ping(b"now")
        visitor.client.send_continuation(whole[5:], fin=True)
        visitor.pass_on()
        await settle()
        assert await visitor.hear() == [(Opcode.PONG, b"now"), "pusher:pong"]

    async def test_binary_messages_go_nowhere(self, visitor: Visitor) -> None:
        """In one piece or in several; the connection lives on."""
        await visitor.hear()
        visitor.client.send_binary(b"{}")
        visitor.client.send_binary(b"{", fin=False)
        visitor.client.send_continuation(b"}", fin=True)
        visitor.say(ping())
        await settle()
        assert await visitor.hear() == ["pusher:pong"]

    async def test_empty_fragments_take_no_room(self, visitor: Visitor) -> None:
        """A message of a hundred thousand nothings is still nothing."""
        visitor.client.send_text(b"", fin=False)
        for _ in range(10_000):
            visitor.client.send_continuation(b"", fin=False)
        visitor.pass_on()
        for _ in range(100):
            await settle()
        partial = visitor.protocol._partial
        assert partial is not None
        assert len(partial) == 0

    async def test_a_message_over_the_limit_closes_with_4100(self, visitor: Visitor) -> None:
        """As under every server; its parts are counted together, and it is counted."""
        await visitor.hear()
        part = b"x" * 9_000
        visitor.client.send_text(part, fin=False)
        visitor.client.send_continuation(part, fin=True)
        visitor.pass_on()
        for _ in range(10):
            await settle()
        (close,) = await visitor.hear()
        assert close.code == 4100
        assert get_hub().stats.errors["FrameTooLarge"] == 1
        assert get_hub().session_count == 0

    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            (b"\x81\x05hello", 1002),  # Not masked.
            (b"\x83\x80\x00\x00\x00\x00", 1002),  # No such kind of frame.
            (b"\xc1\x80\x00\x00\x00\x00", 1002),  # A bit of an extension that was not agreed on.
            (b"\x80\x80\x00\x00\x00\x00", 1002),  # The rest of nothing.
            (b"\x89\xfe\x00\x7e\x00\x00\x00\x00" + b"x" * 126, 1002),  # A ping of 126 bytes.
            (b"\x81\x82\x00\x00\x00\x00\xc3\x28", 1007),  # Not UTF-8.
            (b"\x88\x82\x00\x00\x00\x00\x03\xed", 1002),  # A close code that is never sent.
        ],
    )
    async def test_a_broken_rule_ends_the_connection(
        self, visitor: Visitor, frame: bytes, code: int
    ) -> None:
        """With the code of RFC 6455, section 7.4.1; and the hub forgets the client."""
        await visitor.hear()
        visitor.protocol.data_received(frame)
        await settle()
        (close,) = await visitor.hear()
        assert close.code == code
        assert get_hub().session_count == 0
        assert visitor.transport.is_half_closed

    async def test_a_flood_is_looked_at_in_turns(self, visitor: Visitor) -> None:
        """Others have their turn between its pieces, and all of it is answered in the end."""
        await visitor.hear()
        heard = 0
        for _ in range(1_000):
            visitor.client.send_text(ping().encode())
        visitor.pass_on()
        assert not visitor.transport.is_read
        assert isinstance(visitor.protocol._frames, list)
        assert 0 < len(visitor.protocol._frames) < 1_000
        while heard < 1_000:
            answers = await visitor.hear()
            assert answers
            heard += answers.count("pusher:pong")
        assert visitor.transport.is_read


class TestOpening:
    async def test_a_page_elsewhere_is_refused_by_code(self) -> None:
        """Origins are the session's business; the handshake is accepted first."""
        with override_settings(BROADCASTING={"DEFAULT": "memory"}):
            visitor = Visitor(None, ("Origin", "https://evil.example"))
            assert [c.code for c in await visitor.hear()] == [4009]
            visitor.protocol.connection_lost(None)

    @pytest.mark.parametrize(
        ("lines", "status"),
        [
            (b"sec-websocket-version: 13\r\n", 400),
            (b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 426),
            (b"sec-websocket-version: 13\r\nhost: y\r\n", 400),
            (b"sec-websocket-version: 13\r\ncontent-length: 1\r\n", 400),
            (b"x: " + b"x" * 10_000 + b"\r\n", 431),
        ],
        ids=["no key", "no version", "two hosts", "a body", "a long line"],
    )
    async def test_a_handshake_that_is_none_is_refused_by_status(
        self, lines: bytes, status: int
    ) -> None:
        """And nothing of it is kept."""
        transport, state = FakeTransport(), ServerState()
        protocol = PusherProtocol(Config("x"), state, {})
        protocol.connection_made(transport)
        protocol.data_received(
            b"GET /app/x HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            + lines
            + b"\r\n"
        )
        assert transport.writes[0].startswith(b"HTTP/1.1 %d " % status)
        assert transport.end == "closed"
        protocol.connection_lost(None)
        assert not state.connections

    async def test_too_many_of_one_address_are_refused(self) -> None:
        """With 4100, and counted; who leaves makes room."""
        settings = BROADCASTING | {"SERVER": {"MAX_CONNECTIONS_PER_ADDRESS": 1}}
        with override_settings(BROADCASTING=settings):
            first, second = Visitor(), Visitor()
            assert await first.hear() == ["pusher:connection_established"]
            assert await second.hear() == [Close(4100, "Too many connections from one address")]
            assert get_hub().stats.refused["address"] == 1
            second.protocol.connection_lost(None)
            first.protocol.connection_lost(None)
            third = Visitor()
            assert await third.hear() == ["pusher:connection_established"]
            third.protocol.connection_lost(None)
            assert get_admission().count == 0

    @pytest.mark.parametrize(
        ("peer", "forwarded", "counted"),
        [
            ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
            ("127.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
            ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ],
    )
    async def test_a_trusted_proxy_says_who_the_client_is(
        self, peer: str, forwarded: str, counted: str
    ) -> None:
        """And nobody else may: the address would be anybody's choice."""
        visitor = Visitor(None, ("X-Forwarded-For", forwarded), peername=(peer, 1))
        assert visitor.protocol._address == counted
        visitor.protocol.connection_lost(None)

    @pytest.mark.parametrize(
        ("peer", "code"), [("127.0.0.1", None), ("192.0.2.1", 4000)], ids=["trusted", "unknown"]
    )
    async def test_a_trusted_proxy_says_that_the_client_came_by_tls(
        self, peer: str, code: int | None
    ) -> None:
        """FORCE_TLS believes it of none but the proxies that uvicorn trusts."""
        settings = {"DEFAULT": "memory", "APPS": [{"FORCE_TLS": True}]}
        with override_settings(BROADCASTING=settings):
            visitor = Visitor(None, ("X-Forwarded-Proto", "https"), peername=(peer, 1))
            (heard,) = await visitor.hear()
            assert (heard.code if code else None) == code
            visitor.protocol.connection_lost(None)

    async def test_other_paths_go_to_uvicorns_own_class(self) -> None:
        """Which uvicorn then speaks to directly, and which hears of a loss before that."""
        visitor = Visitor("/ws/own")
        assert visitor.protocol._other is not None
        assert visitor.protocol not in visitor.state.connections  # type: ignore[comparison-overlap]
        assert visitor.protocol._other in visitor.state.connections
        await settle()
        assert visitor.transport.protocol is visitor.protocol._other
        for task in list(visitor.state.tasks):
            task.cancel()
        visitor.protocol.connection_lost(None)
        assert not visitor.state.connections
