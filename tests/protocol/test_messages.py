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
from broadcasting.protocol.errors import InvalidFrame, PusherError, Unauthorized
from broadcasting.protocol.messages import (
    PING,
    PONG,
    Cached,
    Frame,
    Message,
    decode,
    encode,
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


class TestGoldenFrames:
    """What leaves for a client, exactly."""

    def test_connection_established(self) -> None:
        """Its data is a string, and the timeout in it a number."""
        assert messages.connection_established("123456.7891011", 120).text == (
            '{"event":"pusher:connection_established","data":'
            '"{\\"socket_id\\":\\"123456.7891011\\",\\"activity_timeout\\":120}"}'
        )

    def test_subscription_succeeded(self) -> None:
        """Data is the string of an empty object."""
        assert messages.subscription_succeeded("x").text == (
            '{"event":"pusher_internal:subscription_succeeded","data":"{}","channel":"x"}'
        )

    def test_subscription_error(self) -> None:
        """Data is an object; the channel says where it belongs."""
        assert messages.subscription_error("private-x", "AuthError", "No", 401).text == (
            '{"event":"pusher:subscription_error",'
            '"data":{"type":"AuthError","error":"No","status":401},"channel":"private-x"}'
        )

    @pytest.mark.parametrize(
        ("error", "code"), [(InvalidFrame("No"), "null"), (Unauthorized("No"), "4009")]
    )
    def test_error(self, error: PusherError, code: str) -> None:
        """Data is an object, its code a number or null: .NET knows nothing else."""
        assert messages.error(error).text == (
            f'{{"event":"pusher:error","data":{{"code":{code},"message":"No"}}}}'
        )

    def test_ping_and_pong(self) -> None:
        """Both carry the string of an empty object."""
        assert PING.text == '{"event":"pusher:ping","data":"{}"}'
        assert PONG.text == '{"event":"pusher:pong","data":"{}"}'

    def test_a_message(self) -> None:
        """Nothing but event, channel and data; text leaves as UTF-8, not escaped."""
        frame = Frame.of(Message("1:x", "e", '{"name":"Zoë"}', socket_id="1.1"))
        assert frame.text == '{"event":"e","channel":"x","data":"{\\"name\\":\\"Zoë\\"}"}'

    def test_members_in_the_confirmation(self) -> None:
        """Each id has a key in the hash; the data is one string."""
        assert messages.subscription_succeeded(
            "presence-x", {"1": '{"n":"ż"}', "2": "null"}
        ).text == (
            '{"event":"pusher_internal:subscription_succeeded","data":"{\\"presence\\":'
            '{\\"ids\\":[\\"1\\",\\"2\\"],\\"hash\\":{\\"1\\":{\\"n\\":\\"\\u017c\\"},'
            '\\"2\\":null},\\"count\\":2}}","channel":"presence-x"}'
        )

    def test_no_members_are_an_empty_list(self) -> None:
        """Not a missing one."""
        assert '\\"ids\\":[],\\"hash\\":{},\\"count\\":0' in (
            messages.subscription_succeeded("presence-x", {}).text
        )

    def test_signin_success(self) -> None:
        """The very text, in a string in a string."""
        assert messages.signin_success('{"id":"1"}').text == (
            '{"event":"pusher:signin_success","data":'
            '"{\\"user_data\\":\\"{\\\\\\"id\\\\\\":\\\\\\"1\\\\\\"}\\"}"}'
        )

    def test_cache_miss(self) -> None:
        """With data, since some SDKs do not bear none."""
        assert messages.cache_miss("cache-x").text == (
            '{"event":"pusher:cache_miss","data":"{}","channel":"cache-x"}'
        )

    def test_a_cached_event_is_an_ordinary_one(self) -> None:
        """Byte for byte as it was sent."""
        cached = Cached("e", '{"a": 1}', 7, 60)
        assert messages.cached_event("cache-x", cached).text == (
            Frame.of(Message("1:cache-x", "e", '{"a": 1}')).text
        )

    def test_watchlist_events(self) -> None:
        """Empty lists are left out."""
        assert messages.watchlist_events(["2"], ["3", "4"]).text == (
            '{"event":"pusher_internal:watchlist_events","data":"{\\"events\\":['
            '{\\"name\\":\\"online\\",\\"user_ids\\":[\\"2\\"]},'
            '{\\"name\\":\\"offline\\",\\"user_ids\\":[\\"3\\",\\"4\\"]}]}"}'
        )
        assert "offline" not in messages.watchlist_events(["2"], []).text

    @pytest.mark.parametrize(
        ("event", "name"), [(messages.MEMBER_ADDED, "online"), (messages.MEMBER_REMOVED, "offline")]
    )
    def test_a_watched_user_who_comes_or_goes(self, event: str, name: str) -> None:
        """The bus carries a member; the client hears of a user, without a channel."""
        frame = json.loads(Frame.of(Message("1:#watch-a-b", event, "{}")).text)
        assert "channel" not in frame
        assert json.loads(frame["data"]) == {"events": [{"name": name, "user_ids": ["a-b"]}]}

    def test_data_of_member_events(self) -> None:
        """Information as it was signed."""
        assert messages.member_added_data("1", '{"a":1}') == '{"user_id":"1","user_info":{"a":1}}'
        assert messages.member_removed_data("ż") == '{"user_id":"ż"}'
        assert messages.subscription_count_data(3) == '{"subscription_count":3}'

    def test_a_members_client_event_names_the_member(self) -> None:
        """Nothing else is added to it."""
        frame = Frame.of(Message("1:presence-x", "client-a", "{}", "1.1", "7"))
        assert frame.text == (
            '{"event":"client-a","channel":"presence-x","data":"{}","user_id":"7"}'
        )


FORMS = {
    # event: data is text, has a channel
    messages.connection_established("1.1", 30): (True, False),
    messages.error(InvalidFrame("No")): (False, False),
    PING: (True, False),
    PONG: (True, False),
    messages.signin_success('{"id":"1"}'): (True, False),
    messages.subscription_succeeded("x"): (True, True),
    messages.subscription_succeeded("presence-x", {"1": "null"}): (True, True),
    messages.watchlist_events(["1"], []): (True, False),
    messages.cache_miss("cache-x"): (True, True),
    messages.cached_event("cache-x", Cached("e", "{}", 1, 60)): (True, True),
    messages.subscription_error("x", "AuthError", "No", 401): (False, True),
    **{
        Frame.of(Message("1:presence-x", event, data)): (True, True)
        for event, data in {
            messages.MEMBER_ADDED: messages.member_added_data("1", "null"),
            messages.MEMBER_REMOVED: messages.member_removed_data("1"),
            messages.SUBSCRIPTION_COUNT: messages.subscription_count_data(3),
            "client-a": "null",
            "App\\Events\\X": "text",
        }.items()
    },
}


@pytest.mark.parametrize("frame", FORMS, ids=lambda frame: json.loads(frame.text)["event"])
def test_every_frame_carries_data_in_its_form(frame: Frame) -> None:
    """As text but for two events: Java takes it for granted, .NET wants an object for errors."""
    fields = json.loads(frame.text)
    is_text, has_channel = FORMS[frame]
    assert isinstance(fields["data"], str if is_text else dict)
    assert ("channel" in fields) is has_channel
    assert fields.keys() <= {"event", "channel", "data"}


class TestFrames:
    def test_size_is_in_bytes_of_utf8(self) -> None:
        """Buffers are bounded in what goes over the wire."""
        assert Frame("zażółć").size == 10

    @given(data=st.text(), event=st.text(min_size=1))
    def test_data_is_carried_as_it_is(self, data: str, event: str) -> None:
        """The publisher's string comes out of the frame as it went in."""
        fields = json.loads(Frame.of(Message("1:x", event, data)).text)
        assert fields == {"event": event, "channel": "x", "data": data}

    def test_an_error_may_quote_a_lone_surrogate(self) -> None:
        """Frames of the server itself are ASCII, so quoting a client cannot fail."""
        frame = messages.error(InvalidFrame("'\ud800' ż"))
        assert frame.text.isascii()
        assert frame.size == len(frame.text)
        assert json.loads(frame.text)["data"]["message"] == "'\ud800' ż"


class TestWebSocket:
    @pytest.mark.parametrize("length", [0, 1, 40, 62, 63, 64, 125, 126, 200, 65_535, 65_536])
    def test_the_bytes_are_a_frame_that_others_can_read(self, length: int) -> None:
        """RFC 6455, section 5.2, with each of its three ways to write a length."""
        frame = Frame("휙" + "x" * length)
        expected = WebSocketFrame(Opcode.TEXT, frame.text.encode()).serialize(mask=False)
        assert frame.websocket == expected
        assert frame.websocket.endswith(frame.text.encode())
        assert frame.size == length + 3


class TestTopics:
    def test_a_topic_is_application_and_channel(self) -> None:
        """Two applications never share one."""
        message = Message(topic_of("7", "x"), "e", "{}")
        assert (message.app_id, message.channel, message.topic) == ("7", "x", "7:x")


class TestDecode:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "nope",
            "{'a':1}",
            '{"a":NaN}',
            '{"a":Infinity}',
            "-Infinity",
            "\ufeff{}",
            "{}{}",
            "[" * 100_000,
            '{"a":' * 100_000,
            "1" * 5000,
            b"\xff\xfe\xfd",
            b"",
        ],
        ids=lambda text: repr(text[:12]),
    )
    def test_what_is_not_json_is_a_value_error(self, text: str | bytes) -> None:
        """NaN, deep nesting, huge numbers and broken UTF-8 all end in the same exception."""
        with pytest.raises(ValueError):  # noqa: PT011 (the type is the contract)
            decode(text)

    @given(st.text() | st.binary())
    def test_nothing_else_is_ever_raised(self, text: str | bytes) -> None:
        """A value or `ValueError`, whatever comes."""
        with suppress(ValueError):
            decode(text)

    @given(JSON)
    def test_it_undoes_encode(self, value: Any) -> None:
        """What is encoded comes back equal."""
        assert decode(encode(value)) == value


class TestEncode:
    def test_it_is_compact_and_not_escaped(self) -> None:
        """Every byte is paid for by each subscriber."""
        assert encode({"a": [1, "ż"], "b": None}) == '{"a":[1,"ż"],"b":null}'

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_it_refuses_what_json_has_no_word_for(self, value: float) -> None:
        """A browser's JSON.parse would throw on it."""
        with pytest.raises(ValueError, match="not JSON compliant"):
            encode(value)
