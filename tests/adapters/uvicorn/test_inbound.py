"""
WebSockets as RFC 6455 has them, byte for byte.

Autobahn's test suite agrees; here is what of it matters to a server that speaks JSON.
"""

import pytest
from websockets.protocol import OPEN

from broadcasting.adapters.uvicorn.inbound import Inbound
from tests.adapters.wire import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    close_frame,
    fragments,
    ws_frame,
)

LIMIT = 1_000


@pytest.fixture
def inbound() -> Inbound:
    """Return the parser of a client that may send `LIMIT` bytes."""
    return Inbound(LIMIT)


def close_code(inbound: Inbound) -> int | None:
    """Return the code that the client is told, the last thing that is sent; `None` without one."""
    *_, close, end = inbound.data_to_send()
    assert (close[0], end) == (0x80 | CLOSE, b"")
    return int.from_bytes(close[2:4]) if len(close) > 2 else None


class TestMessages:
    @pytest.mark.parametrize("size", [1, 2, 7, 1_000])
    def test_fragments_are_one_message(self, inbound: Inbound, size: int) -> None:
        """However small they are, and wherever they cut a character."""
        text = "żółw 🐢 " * 10
        for piece in fragments(text.encode(), size):
            inbound.receive_data(piece)
        assert [each for each in inbound.messages() if each] == [text]

    def test_control_frames_may_come_between_fragments(self, inbound: Inbound) -> None:
        """A ping is answered at once; the message goes on where it was."""
        for piece in fragments(b"a message", 4):
            inbound.receive_data(ws_frame(b"now", PING) + ws_frame(b"unasked", PONG) + piece)
            assert inbound.data_to_send() == [ws_frame(b"now", PONG, mask=None)]
        assert [each for each in inbound.messages() if each] == ["a message"]

    def test_fragments_may_be_empty(self, inbound: Inbound) -> None:
        """At the beginning, in the middle and at the end; so may be a message."""
        for opcode, payload, fin in [(TEXT, "", False), (CONT, "", False), (CONT, "a", False)]:
            inbound.receive_data(ws_frame(payload, opcode, fin=fin))
        inbound.receive_data(ws_frame("", CONT) + ws_frame(""))
        assert list(inbound.messages()) == [None, None, None, "a", ""]

    def test_frames_may_come_byte_by_byte(self, inbound: Inbound) -> None:
        """Heads, masks and payloads are waited for."""
        for byte in ws_frame("a" * 200) + ws_frame("b"):
            inbound.receive_data(bytes([byte]))
        assert list(inbound.messages()) == ["a" * 200, "b"]

    def test_binary_messages_say_nothing(self, inbound: Inbound) -> None:
        """Whole or in fragments; Pusher's protocol has none."""
        inbound.receive_data(ws_frame(b"\xff", BINARY) + ws_frame(b"\xff", BINARY, fin=False))
        inbound.receive_data(ws_frame(b"\xfe", CONT) + ws_frame("text"))
        assert list(inbound.messages()) == [None, None, None, "text"]


class TestSize:
    @pytest.mark.parametrize("size", [1, 400, 5_000], ids=["small", "large", "whole"])
    def test_a_message_has_a_limit(self, size: int) -> None:
        """In bytes, all fragments together. One more closes with 4100."""
        inbound = Inbound(LIMIT)
        inbound.receive_data(b"".join(fragments(b"x" * LIMIT, size)))
        assert [each for each in inbound.messages() if each] == ["x" * LIMIT]
        inbound = Inbound(LIMIT)
        inbound.receive_data(b"".join(fragments("ż".encode() * (LIMIT // 2) + b"x", size)))
        assert not [each for each in inbound.messages() if each]
        assert inbound.is_too_large
        assert close_code(inbound) == 4100

    @pytest.mark.parametrize("length", [b"\xfe\xff\xff", b"\xff" + (1 << 62).to_bytes(8)])
    def test_a_length_is_believed_before_its_bytes_come(
        self, inbound: Inbound, length: bytes
    ) -> None:
        """A head that promises more than the limit is answered at once: nothing is kept."""
        inbound.receive_data(b"\x81" + length + b"mask")
        assert close_code(inbound) == 4100

    def test_what_follows_is_thrown_away(self, inbound: Inbound) -> None:
        """However much it is, and valid or not."""
        inbound.receive_data(ws_frame(b"x" * (LIMIT + 1)) + ws_frame("{}") + b"\xff" * 100_000)
        assert list(inbound.messages()) == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (ws_frame(b"{}", mask=None), 1002),
        *((ws_frame(b"{}", rsv=rsv), 1002) for rsv in (1, 2, 4)),
        *((ws_frame(b"", opcode), 1002) for opcode in (3, 7, 11, 15)),
        (ws_frame(b"the rest of nothing", CONT), 1002),
        (ws_frame(b"{", fin=False) + ws_frame(b"}", TEXT), 1002),
        (ws_frame(b"x" * 126, PING), 1002),
        (ws_frame(b"x", PING, fin=False), 1002),
        (ws_frame(b"\xc3\x28"), 1007),
        (ws_frame(b"\xed\xa0\x80"), 1007),  # A surrogate.
        (ws_frame(b'"\xc5'), 1007),  # Half a character.
        (ws_frame(b'"\xc5', fin=False) + ws_frame(b'"', CONT), 1007),
        *((close_frame(code), 1002) for code in (0, 999, 1005, 1006, 1015, 2999, 5000)),
        (ws_frame(b"\x03", CLOSE), 1002),
        (close_frame(1000, b"\xc3\x28"), 1007),
    ],
)
def test_a_broken_rule_ends_the_connection(inbound: Inbound, data: bytes, code: int) -> None:
    """With the code of RFC 6455, section 7.4.1. What was said before counts, nothing after."""
    inbound.receive_data(ws_frame("before") + data + ws_frame("after"))
    assert [each for each in inbound.messages() if each] == ["before"]
    assert inbound.has_failed
    assert inbound.state is not OPEN
    assert close_code(inbound) == code


@pytest.mark.parametrize("code", [None, 1000, 1001, 1011, 3000, 4999])
def test_a_close_is_echoed(inbound: Inbound, code: int | None) -> None:
    """With its code, or without one; also in the midst of a message. Nothing follows it."""
    inbound.receive_data(ws_frame("half", fin=False) + close_frame(code) + ws_frame(b"", PING))
    assert list(inbound.messages()) == [None, None]
    assert inbound.has_closed
    assert not inbound.has_failed
    assert close_code(inbound) == code
