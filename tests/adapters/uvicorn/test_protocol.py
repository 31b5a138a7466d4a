"""The WebSocket of one client, on a transport that a test can hold up."""

import asyncio

import pytest
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.frames import Close, Opcode

from broadcasting.adapters.uvicorn.backlog import LIMIT, PATIENCE
from broadcasting.adapters.uvicorn.protocol import PusherProtocol
from broadcasting.conf import get_settings
from broadcasting.protocol.messages import Frame, Message
from broadcasting.server.hubs import get_hub, stop_hub
from tests.adapters.uvicorn.visitor import Visitor
from tests.adapters.wire import ws_frame
from tests.server.fakes import settle
from tests.utils import await_until, ping, subscribe


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

    async def test_what_comes_during_a_stall_is_sent_after_it(self, visitor: Visitor) -> None:
        """In order, in one write; and until then the client is not listened to."""
        await visitor.join("a")
        get_hub().deliver(message("0"))
        visitor.protocol.pause_writing()
        get_hub().deliver(message("1"))
        await settle()
        assert visitor.transport.writes == []
        assert not visitor.is_heard()
        visitor.protocol.resume_writing()
        assert visitor.is_heard()
        assert await visitor.hear() == ["News", "News"]
        get_hub().deliver(message("2"))
        await settle()
        assert await visitor.hear() == ["News"]

    async def test_too_many_waiting_bytes_close_with_4100(self, visitor: Visitor) -> None:
        """What waits in the transport counts; what waited here is not sent any more."""
        await visitor.join("a")
        visitor.transport.waiting = LIMIT - 100
        visitor.protocol.pause_writing()
        for _ in range(3):
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
        visitor.protocol.tick(now + PATIENCE - 1)
        await settle()
        assert await visitor.hear() == []
        visitor.protocol.tick(now + PATIENCE + 1)
        visitor.protocol.tick(now + PATIENCE + 2)
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
        other.leave()


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
        """RFC 6455, section 5.5.1; and the server forgets it with the connection."""
        visitor.client.send_close(1001, "bye")
        visitor.pass_on()
        assert await visitor.hear() == [Close(1001, "bye")]
        assert visitor.transport.end == "closed"
        assert len(visitor.state.connections) == 1
        visitor.leave()
        assert not visitor.state.connections
        assert get_hub().session_count == 0

    @pytest.mark.parametrize("how", ["closed", "client's close", "end of stream"])
    async def test_who_does_not_read_the_end_is_cut_off(
        self, visitor: Visitor, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        """A transport closes when all is sent, and may wait for ever; the hub does not."""
        monkeypatch.setattr(PusherProtocol, "FAREWELL", 0.01)
        await visitor.join("a")
        match how:
            case "closed":
                visitor.protocol.shutdown()
            case "client's close":
                visitor.client.send_close(1000)
                visitor.pass_on()
            case "end of stream":
                visitor.protocol.eof_received()
        await settle()
        assert get_hub().session_count == 0
        get_hub().deliver(message())
        await await_until(lambda: visitor.transport.end == "aborted")


class TestReading:
    async def test_a_message_over_the_limit_closes_with_4100(self, visitor: Visitor) -> None:
        """As under every server; its parts are counted together, and it is counted."""
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

    async def test_a_broken_rule_ends_the_connection(self, visitor: Visitor) -> None:
        """What was said before it is answered; the hub forgets the client."""
        visitor.client.send_text(ping().encode())
        visitor.send(b"".join(visitor.client.data_to_send()) + ws_frame(b"\xc3\x28"))
        pong, close = await visitor.hear()
        assert (pong, close.code) == ("pusher:pong", 1007)
        assert get_hub().session_count == 0
        assert visitor.transport.is_half_closed

    async def test_a_pong_comes_before_the_answer_to_the_message_around_it(
        self, visitor: Visitor
    ) -> None:
        """Also where all of it arrives together."""
        whole = ping().encode()
        visitor.client.send_text(whole[:5], fin=False)
        visitor.client.send_ping(b"now")
        visitor.client.send_continuation(whole[5:], fin=True)
        visitor.pass_on()
        assert await visitor.hear() == [(Opcode.PONG, b"now"), "pusher:pong"]

    async def test_a_flood_is_looked_at_in_turns(self, visitor: Visitor) -> None:
        """Others have their turn between its pieces, and all of it is answered in the end."""
        heard = 0
        for _ in range(1_000):
            visitor.client.send_text(ping().encode())
        visitor.pass_on()
        assert not visitor.is_heard()
        while heard < 1_000:
            answers = await visitor.hear()
            assert answers
            heard += answers.count("pusher:pong")
        assert visitor.is_heard()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frames=st.lists(
        st.builds(
            ws_frame,
            st.binary(max_size=200) | st.sampled_from([ping(), subscribe("x"), "[" * 5_000]),
            st.sampled_from([1] * 8 + [0, 2, 3, 8, 9, 10, 11]),
            fin=st.sampled_from([True] * 5 + [False]),
            rsv=st.sampled_from([0] * 20 + [4]),
            mask=st.sampled_from([b"mask"] * 20 + [None]),
        ),
        max_size=6,
    ),
    cut=st.integers(1, 200),
)
async def test_any_frames_are_answered_or_end_the_connection(frames: list[bytes], cut: int) -> None:
    """In whatever pieces they come, nothing raises."""
    with override_settings(BROADCASTING={"DEFAULT": "memory"}, ALLOWED_HOSTS=["testserver"]):
        visitor, data = Visitor(), b"".join(frames)
        for start in range(0, len(data), cut):
            visitor.send(data[start : start + cut])
        for heard in await visitor.hear():
            assert not isinstance(heard, Close) or heard.code in range(1000, 5000)
        visitor.leave()
        await settle()
        assert get_hub().session_count == 0
        await stop_hub()
