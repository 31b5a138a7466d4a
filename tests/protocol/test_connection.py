"""The state machine: every frame, every refusal, and what must never happen."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcasting.protocol.actions import Subscribe, Unsubscribe
from broadcasting.protocol.errors import InvalidFrame, OverCapacity, Reconnect
from broadcasting.protocol.messages import Frame, Message
from tests.protocol.pair import SOCKET_ID, FakePolicy, Pair
from tests.utils import frame, ping, pong, subscribe, unsubscribe

GREETING = (
    '{"event":"pusher:connection_established",'
    '"data":"{\\"socket_id\\":\\"123.456\\",\\"activity_timeout\\":30}"}'
)
NO_JSON = "Received invalid JSON"
NOT_AN_OBJECT = "Received JSON that is not an object"
NO_CHANNEL = "Received a frame without a channel"
NO_OBJECT = "Received a frame whose data is not an object"

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | ANY_TEXT,
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(ANY_TEXT, children, max_size=3)
    ),
    max_leaves=8,
)


def error(message: str, code: int | None = None) -> dict[str, Any]:
    """Return a ``pusher:error`` as the client gets it."""
    return {"event": "pusher:error", "data": {"code": code, "message": message}}


def live(channel: str, data: str = "{}") -> Frame:
    return Frame.of(Message(f"1:{channel}", "e", data))


def joined_pair(version: str | None = "7") -> Pair:
    """Return a pair whose client is in a channel: another would be closed as inactive."""
    pair = Pair(version=version)
    pair.confirm(pair.join("x"))
    return pair


class TestOpening:
    @pytest.mark.parametrize("version", [None, "4", "5", "6", "7", "007"])
    def test_supported_versions_are_greeted(self, version: str | None) -> None:
        """Byte for byte as pusher-js expects its first frame."""
        pair = Pair(version=version)
        assert pair.texts == [GREETING]
        assert (pair.client.socket_id, pair.client.activity_timeout) == (SOCKET_ID, 30)
        assert pair.close_code is None

    @pytest.mark.parametrize(
        "version", ["", "x", "7.0", "-7", "+7", " 7", "7 ", "٧", "７", "²", "0x7", "\ud800", "7\n"]
    )
    def test_a_version_that_is_no_number_closes_with_4006(self, version: str) -> None:
        pair = Pair(version=version)
        assert (pair.close_code, pair.texts) == (4006, [])

    @pytest.mark.parametrize("version", ["8", "10", "700", "0007", "9" * 10_000])
    def test_a_later_version_closes_with_4007(self, version: str) -> None:
        pair = Pair(version=version)
        assert (pair.close_code, pair.texts) == (4007, [])

    @pytest.mark.parametrize(
        ("version", "known", "code"),
        [
            *((version, True, 4007) for version in ("0", "1", "3")),
            *((version, False, 4001) for version in ("4", "5")),
        ],
    )
    def test_before_version_6_the_code_is_an_event_as_well(
        self, version: str, known: bool, code: int
    ) -> None:
        pair = Pair(known=known, version=version)
        assert pair.close_code == code
        assert [told["code"] for told in pair.client.errors] == [code]

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({"origin": None}, None),
            ({"origin": "http://testserver"}, None),
            ({"origin": "http://evil.example"}, 4009),
            ({"origin": "ż"}, 4009),
            ({"origin": "ż", "version": "x"}, 4006),
            ({"known": False}, 4001),
            ({"known": False, "version": "x"}, 4001),
            ({"policy": FakePolicy(enabled=False), "version": "x"}, 4003),
            ({"is_full": True}, 4004),
            ({"is_full": True, "origin": "ż"}, 4009),
            ({"is_secure": False}, None),
            ({"is_secure": False, "policy": FakePolicy(force_tls=True)}, 4000),
            ({"is_secure": True, "policy": FakePolicy(force_tls=True)}, None),
        ],
    )
    def test_who_may_connect(self, options: dict[str, Any], code: int | None) -> None:
        """The first reason counts. A close frame holds 123 bytes of it."""
        pair = Pair(**options)
        assert (pair.close_code, pair.texts) == (code, [] if code else [GREETING])
        reason = pair.connection.close_reason
        assert (reason.isascii(), bool(reason), len(reason) <= 123) == (True, bool(code), True)


class TestHeartbeat:
    @pytest.mark.parametrize("data", ["", ',"data":[]', ',"data":null', ',"data":"x"', ',"data":1'])
    def test_a_ping_is_answered(self, data: str) -> None:
        """SDKs disagree on its data."""
        assert Pair().say_raw(f'{{"event":"pusher:ping"{data}}}') == [
            '{"event":"pusher:pong","data":"{}"}'
        ]

    def test_silence_is_pinged_once_and_a_pong_ends_the_matter(self) -> None:
        """After the activity timeout, and again after the next one; pongs are counted."""
        pair = Pair()
        for pings in range(120):
            pair.pass_time(29.9)
            assert pair.connection.pongs == pings
            pair.pass_time(0.1)
        assert pair.texts[1:] == ['{"event":"pusher:ping","data":"{}"}'] * 120
        assert pair.say(pong()) == pair.say('{"event":"pusher:pong"}') == []
        assert (pair.connection.pongs, pair.close_code) == (122, None)

    @pytest.mark.parametrize("silence", [30, 600])
    def test_an_unanswered_ping_closes_with_4201(self, silence: int) -> None:
        """Thirty seconds after the ping: a process that was held up pings late."""
        pair = joined_pair()
        pair.connection.tick(pair.clock.advance(silence))
        assert len(pair.connection.frames_to_send()) == 1
        pair.connection.tick(pair.clock.advance(29.9))
        assert (pair.connection.frames_to_send(), pair.close_code) == ([], None)
        pair.connection.tick(pair.clock.advance(0.1))
        assert (pair.connection.frames_to_send(), pair.close_code) == ([], 4201)

    def test_version_5_is_told_of_the_timeout(self) -> None:
        pair = joined_pair(version="5")
        for _ in range(2):
            pair.connection.tick(pair.clock.advance(30))
        assert pair.close_code == 4201
        assert [frame.text for frame in pair.connection.frames_to_send()][1:] == [
            '{"event":"pusher:error","data":{"code":4201,"message":"Pong reply not received"}}'
        ]

    @pytest.mark.parametrize("text", [None, pong(), ping(), "nonsense", subscribe("y"), "{}"])
    def test_any_frame_is_a_sign_of_life(self, text: str | None) -> None:
        """Also one that is no message. It puts the ping off, and answers one."""
        pair = joined_pair()

        def live_on(seconds: float) -> None:
            now = pair.clock.advance(seconds)
            if text is None:
                pair.connection.note_activity(now)
            else:
                pair.say(text)

        live_on(20)
        pair.connection.tick(pair.clock.advance(20))
        assert pair.connection.frames_to_send() == []
        pair.connection.tick(pair.clock.advance(10))
        assert len(pair.connection.frames_to_send()) == 1
        live_on(29)
        pair.connection.tick(pair.clock.advance(29.9))
        assert pair.close_code is None

    def test_a_client_without_a_channel_is_closed_with_4202(self) -> None:
        """After twice the activity timeout. A process that was held up pings first."""
        pair = Pair(FakePolicy(activity_timeout=10))
        pair.pass_time(1000)
        assert (pair.close_code, pair.connection.pongs) == (None, 1)
        pair.connection.tick(pair.clock.advance(10))
        pair.connection.tick(pair.clock.advance(9.9))
        assert pair.close_code is None
        pair.connection.tick(pair.clock.advance(0.1))
        assert pair.close_code == 4202


class TestSubscribing:
    def test_a_confirmation_is_the_channels_first_frame(self) -> None:
        """When the hub has joined; what came meanwhile follows in its order."""
        pair = Pair()
        action = pair.join("x")
        assert pair.texts == [GREETING]
        kept = [live("x", "1"), live("x", "2")]
        assert pair.confirm(action, *kept) is True
        assert pair.texts[1:] == [
            '{"event":"pusher_internal:subscription_succeeded","data":"{}","channel":"x"}',
            *(frame.text for frame in kept),
        ]
        assert pair.client.subscribed == {"x"}

    @pytest.mark.parametrize("confirmed", [True, False])
    def test_a_second_subscription_is_an_error_and_changes_nothing(self, confirmed: bool) -> None:
        pair = Pair()
        action = pair.join("x")
        if confirmed:
            pair.confirm(action)
        assert pair.say(subscribe("x")) == [error("Existing subscription to channel x")]
        assert (pair.actions, pair.connection.channels) == ([], ["x"])
        assert pair.confirm(action) is not confirmed

    def test_the_number_of_channels_is_limited(self) -> None:
        """Those that are joining count; one that is left makes room."""
        pair = Pair(FakePolicy(max_channels=2))
        pair.confirm(pair.join("a"))
        pair.join("b")
        message = "A connection may have 2 channels"
        data = {"type": "LimitReached", "error": message, "status": 4301}
        assert pair.say(subscribe("c")) == [
            {"event": "pusher:subscription_error", "data": data, "channel": "c"},
            error(message),
        ]
        pair.leave("b")
        pair.join("c")

    def test_so_many_subscriptions_are_made_at_once_and_then_per_second(self) -> None:
        """As many at once as a connection may have: a client that comes back asks for all."""
        pair = Pair(FakePolicy(max_channels=50, max_subscription_rate=20))
        for i in range(50):
            pair.confirm(pair.join(f"c{i}"))
            pair.leave(f"c{i}")
        assert "Subscribing too fast" in pair.say(subscribe("x"))[0]["data"]["error"]
        pair.clock.advance(1)
        for i in range(20):
            pair.join(f"d{i}")
        assert len(pair.say(subscribe("x"))) == 2
        assert pair.close_code is None

    def test_what_the_hub_refuses_may_be_tried_again(self) -> None:
        """An error without a status of its own is a server error."""
        pair = Pair()
        pair.refuse(pair.join("x"), InvalidFrame("No"))
        assert pair.client.refusals == {
            "x": [{"type": "ServerError", "error": "No", "status": 500}]
        }
        assert pair.client.errors == [{"code": None, "message": "No"}]
        pair.confirm(pair.join("x"))

    def test_leaving_is_not_confirmed(self) -> None:
        pair = Pair()
        pair.confirm(pair.join("x"))
        assert pair.say(unsubscribe("x")) == []
        assert (pair.actions, pair.connection.channels) == ([Unsubscribe("x")], [])
        assert pair.say(unsubscribe("x")) == [
            error("No current subscription to channel x, or subscription in progress")
        ]

    def test_a_stale_answer_changes_nothing(self) -> None:
        pair = Pair()
        first = pair.join("x")
        pair.leave("x")
        second = pair.join("x")
        assert [pair.connection.awaits(each.attempt) for each in (first, second)] == [False, True]
        assert pair.confirm(first, live("x", "old")) is False
        pair.refuse(first, InvalidFrame("No"))
        assert pair.texts == [GREETING]
        assert [pair.confirm(second), pair.confirm(second)] == [True, False]
        assert pair.client.subscribed == {"x"}


class TestFrames:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            *((text, NO_JSON) for text in ("", "nope", "{", '{"event":NaN}', '{"a":Infinity}')),
            *((text, NO_JSON) for text in ("[" * 5000, '{"a":' * 3000)),
            *((text, NOT_AN_OBJECT) for text in ("[]", "1", '"x"', "null", "true", "[{}]")),
            *(
                (f'{{"data":{{}}{event}}}', "Received a frame without an event name")
                for event in ("", ',"event":null', ',"event":1', ',"event":["x"]')
            ),
            *(
                (frame(event, {}, "private-x"), f"Unsupported event received on socket: '{event}'")
                for event in ("x", "pusher:unknown", "PUSHER:PING", "", "Client-a", "client")
            ),
        ],
        ids=lambda text: repr(text[:12]),
    )
    def test_anything_else_is_an_error(self, text: str, message: str) -> None:
        pair = Pair()
        assert pair.say(text) == [error(message)]
        assert (pair.actions, pair.close_code) == ([], None)

    def test_a_lone_surrogate_is_quoted_as_an_escape(self) -> None:
        """JSON may spell what UTF-8 cannot carry; the answer can be sent all the same."""
        (text,) = Pair().say_raw('{"event":"\\ud800ż"}')
        assert text.encode().endswith(b"socket: '\\ud800\\u017c'\"}}")

    @pytest.mark.parametrize("event", ["pusher:subscribe", "pusher:unsubscribe"])
    def test_data_may_be_json_text(self, event: str) -> None:
        pair = Pair()
        if event == "pusher:unsubscribe":
            pair.confirm(pair.join("x"))
        assert pair.say(frame(event, '{"channel":"x"}')) == []
        (action,) = pair.actions
        assert isinstance(action, Subscribe | Unsubscribe)
        assert action.channel == "x"

    @pytest.mark.parametrize("event", ["pusher:subscribe", "pusher:unsubscribe"])
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            *((data, NO_OBJECT) for data in ("null", "1", "[]", "true")),
            *((json.dumps(data), NO_JSON) for data in ("", "{", "NaN", "[" * 4000)),
            *((json.dumps(data), NOT_AN_OBJECT) for data in ("[]", '"{}"')),
            *((data, NO_CHANNEL) for data in ('"{}"', "{}", '{"channel":null}')),
            *((f'{{"channel":{each}}}', NO_CHANNEL) for each in ("1", "true", "[]", "{}")),
        ],
        ids=lambda data: repr(data)[:12],
    )
    def test_data_must_be_an_object_with_a_channel(
        self, event: str, data: str, message: str
    ) -> None:
        pair = Pair()
        assert pair.say(f'{{"event":"{event}","data":{data}}}') == [error(message)]
        assert pair.actions == []

    @pytest.mark.parametrize(
        ("character", "size"), [("x", 1), ("ż", 2), ("한", 3), ("😀", 4), ("\ud800", 3)]
    )
    def test_a_frame_has_a_limit_of_bytes(self, character: str, size: int) -> None:
        """Of UTF-8. The last byte is allowed; one more closes with 4100."""
        policy = FakePolicy(max_frame_size=100 * size)
        assert Pair(policy).say(character * 100) == [error(NO_JSON)]
        pair = Pair(policy)
        assert pair.say(character * 101) == []
        assert pair.close_code == 4100
        assert pair.connection.close_reason == f"A frame may have {100 * size} bytes"


class TestEnd:
    def test_a_refusal_is_an_error_like_others(self) -> None:
        pair = Pair()
        pair.connection.refuse(InvalidFrame("No"))
        pair.carry()
        assert pair.client.errors == [{"code": None, "message": "No"}]
        assert pair.close_code is None

    @pytest.mark.parametrize("known", [True, False])
    def test_nothing_is_accepted_after_a_close(self, known: bool) -> None:
        """No frame, no time, no late answer has an effect; the first code stands."""
        pair = Pair(known=known)
        action = pair.join("x") if known else Subscribe(1, "x")
        pair.connection.close(Reconnect("Server is going away"))
        code, channels = pair.close_code, pair.connection.channels
        assert code == (4200 if known else 4001)
        for text in (ping(), subscribe("y"), unsubscribe("x"), "nonsense", "x" * 100_000):
            assert pair.say(text) == []
        pair.connection.tick(pair.clock.advance(1000))
        assert pair.confirm(action, live("x")) is False
        pair.refuse(action, InvalidFrame("No"))
        pair.connection.refuse(InvalidFrame("No"))
        pair.connection.close(OverCapacity("Too late"))
        assert pair.connection.awaits(action.attempt) is False
        assert (pair.connection.frames_to_send(), pair.actions) == ([], [])
        # The hub still has to be left.
        assert (pair.close_code, pair.connection.channels) == (code, channels)


class TestFuzz:
    """Whatever a client sends: an answer or none, never an exception."""

    @given(texts=st.lists(ANY_TEXT, max_size=5))
    def test_any_text_is_survived(self, texts: list[str]) -> None:
        pair = Pair()
        for text in texts:
            for answer in pair.say_raw(text):
                answer.encode()
        assert pair.close_code is None

    @given(
        event=st.sampled_from(["pusher:subscribe", "pusher:unsubscribe", "pusher:ping"]) | ANY_JSON,
        data=ANY_JSON | st.fixed_dictionaries({"channel": ANY_JSON}) | ANY_JSON.map(json.dumps),
        escaped=st.booleans(),
    )
    def test_any_json_is_survived(self, event: object, data: object, escaped: bool) -> None:
        pair = Pair()
        text = json.dumps({"event": event, "data": data}, ensure_ascii=escaped)
        for answer in pair.say_raw(text):
            assert json.loads(answer.encode())["event"].startswith("pusher")
        assert len(pair.actions) <= 1

    @given(value=ANY_JSON)
    def test_any_json_is_answered_with_one_error(self, value: object) -> None:
        (answer,) = Pair().say(json.dumps(value))
        assert answer["event"] == "pusher:error"
