"""Messages and frames, byte for byte."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from broadcasting.protocol import messages
from broadcasting.protocol.errors import InvalidFrame, Unauthorized
from broadcasting.protocol.messages import (
    PING,
    PONG,
    Cached,
    Frame,
    Message,
    decode,
    encode,
    split_topic,
    topic_of,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3)
    ),
    max_leaves=10,
)


GREETING = (
    '{"event":"pusher:connection_established","data":'
    '"{\\"socket_id\\":\\"123456.7891011\\",\\"activity_timeout\\":120'
)
CONFIRMED = '{"event":"pusher_internal:subscription_succeeded","data":'
MEMBERS = (
    '"{\\"presence\\":{\\"ids\\":[\\"1\\",\\"2\\"],\\"hash\\":{\\"1\\":{\\"n\\":\\"\\u017c\\"},'
    '\\"2\\":null},\\"count\\":2}}","channel":"presence-x"}'
)
# What leaves for a client, exactly.
GOLDEN = [
    (messages.connection_established("123456.7891011", 120), GREETING + '}"}'),
    (
        messages.connection_established("123456.7891011", 120, more={"v": 1}),
        GREETING + ',\\"more\\":{\\"v\\":1}}"}',
    ),
    (messages.subscription_succeeded("x"), CONFIRMED + '"{}","channel":"x"}'),
    (
        messages.subscription_succeeded("x", more={"v": 1}),
        CONFIRMED + '"{}","channel":"x","more":{"v":1}}',
    ),
    (
        messages.subscription_succeeded("presence-x", {"1": '{"n":"ż"}', "2": "null"}),
        CONFIRMED + MEMBERS,
    ),
    (
        messages.subscription_error("private-x", "AuthError", "No", 401),
        '{"event":"pusher:subscription_error",'
        '"data":{"type":"AuthError","error":"No","status":401},"channel":"private-x"}',
    ),
    (
        messages.error(InvalidFrame("No")),
        '{"event":"pusher:error","data":{"code":null,"message":"No"}}',
    ),
    (
        messages.error(Unauthorized("No")),
        '{"event":"pusher:error","data":{"code":4009,"message":"No"}}',
    ),
    (PING, '{"event":"pusher:ping","data":"{}"}'),
    (PONG, '{"event":"pusher:pong","data":"{}"}'),
    (
        Frame.of(Message("1:x", "e", '{"name":"Zoë"}', socket_id="1.1")),
        '{"event":"e","channel":"x","data":"{\\"name\\":\\"Zoë\\"}"}',
    ),
    (
        Frame.of(Message("1:presence-x", "client-a", "{}", "1.1", "7")),
        '{"event":"client-a","channel":"presence-x","data":"{}","user_id":"7"}',
    ),
    (
        messages.signin_success('{"id":"1"}'),
        '{"event":"pusher:signin_success","data":'
        '"{\\"user_data\\":\\"{\\\\\\"id\\\\\\":\\\\\\"1\\\\\\"}\\"}"}',
    ),
    (
        messages.cache_miss("cache-x"),
        '{"event":"pusher:cache_miss","data":"{}","channel":"cache-x"}',
    ),
    (
        messages.cached_event("cache-x", Cached("e", '{"a": 1}', 7, 60)),
        '{"event":"e","channel":"cache-x","data":"{\\"a\\": 1}"}',
    ),
    (
        messages.watchlist_events(["2"], ["3", "4"]),
        '{"event":"pusher_internal:watchlist_events","data":"{\\"events\\":['
        '{\\"name\\":\\"online\\",\\"user_ids\\":[\\"2\\"]},'
        '{\\"name\\":\\"offline\\",\\"user_ids\\":[\\"3\\",\\"4\\"]}]}"}',
    ),
]


@pytest.mark.parametrize(("frame", "text"), GOLDEN, ids=range(len(GOLDEN)))
def test_frames_leave_byte_for_byte(frame: Frame, text: str) -> None:
    """Data is text but for errors: Java takes that for granted, .NET wants objects for them."""
    assert frame == Frame(text)
    fields = json.loads(frame.text)
    assert isinstance(fields["data"], dict if fields["event"].endswith("error") else str)


@pytest.mark.parametrize(
    ("event", "name"), [(messages.MEMBER_ADDED, "online"), (messages.MEMBER_REMOVED, "offline")]
)
def test_a_watched_user_comes_and_goes_without_a_channel(event: str, name: str) -> None:
    """The bus carries a member; the client hears of a user."""
    frame = Frame.of(Message("1:#watch-a-b", event, "{}"))
    assert json.loads(json.loads(frame.text)["data"]) == {
        "events": [{"name": name, "user_ids": ["a-b"]}]
    }


def test_data_of_the_servers_own_events() -> None:
    assert messages.member_added_data("1", '{"a":1}') == '{"user_id":"1","user_info":{"a":1}}'
    assert messages.member_removed_data("ż") == '{"user_id":"ż"}'
    assert messages.subscription_count_data(3) == '{"subscription_count":3}'


class TestFrames:
    def test_a_frame_is_a_value(self) -> None:
        assert Frame("a") == Frame("a") != Frame("b")
        assert len({Frame("a"), Frame("a")}) == 1
        assert repr(Frame("a")) == "Frame('a')"

    @given(data=st.text(), event=st.text(min_size=1))
    def test_data_is_carried_as_it_is(self, data: str, event: str) -> None:
        fields = json.loads(Frame.of(Message("1:x", event, data)).text)
        assert fields == {"event": event, "channel": "x", "data": data}

    def test_an_error_may_quote_a_lone_surrogate(self) -> None:
        frame = messages.error(InvalidFrame("'\ud800' ż"))
        assert frame.text.isascii()
        assert json.loads(frame.text)["data"]["message"] == "'\ud800' ż"

    @pytest.mark.parametrize("length", [0, 1, 40, 62, 63, 64, 125, 126, 200, 65_535, 65_536])
    def test_the_bytes_are_a_frame_that_others_can_read(self, length: int) -> None:
        """RFC 6455, section 5.2, with each of its three ways to write a length."""
        frame = Frame("휙" + "x" * length)
        expected = WebSocketFrame(Opcode.TEXT, frame.text.encode()).serialize(mask=False)
        assert frame.websocket == expected
        assert frame.size == length + 3


def test_a_topic_is_application_and_channel() -> None:
    message = Message(topic_of("7", "x"), "e", "{}")
    assert (message.app_id, message.channel, message.topic) == ("7", "x", "7:x")
    assert split_topic("7:x") == ("7", "x")


class TestDecode:
    @pytest.mark.parametrize(
        "text",
        [
            *("", "{", "nope", "{'a':1}", '{"a":NaN}', '{"a":Infinity}', "-Infinity", "{}{}"),
            *("\ufeff{}", "[" * 100_000, '{"a":' * 100_000, "1" * 5000, b"\xff\xfe\xfd", b""),
        ],
        ids=lambda text: repr(text[:12]),
    )
    def test_what_is_not_json_is_a_value_error(self, text: str | bytes) -> None:
        with pytest.raises(ValueError):  # noqa: PT011 (the type is the contract)
            decode(text)

    @given(st.text() | st.binary())
    def test_nothing_else_is_ever_raised(self, text: str | bytes) -> None:
        with suppress(ValueError):
            decode(text)

    @given(JSON)
    def test_it_undoes_encode(self, value: Any) -> None:
        assert decode(encode(value)) == value


class TestEncode:
    def test_it_is_compact_and_not_escaped(self) -> None:
        assert encode({"a": [1, "ż"], "b": None}) == '{"a":[1,"ż"],"b":null}'

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_it_refuses_what_json_has_no_word_for(self, value: float) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            encode(value)
