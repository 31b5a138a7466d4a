"""The state machine: every frame, every refusal, and what must never happen."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from broadcasting.protocol.actions import Action, Subscribe, Unsubscribe
from broadcasting.protocol.connection import Connection
from broadcasting.protocol.errors import InvalidFrame, OverCapacity, Reconnect
from broadcasting.protocol.messages import Frame, Message, SubscriptionSnapshot
from tests.protocol.pair import SOCKET_ID, FakePolicy, Pair
from tests.utils import frame, ping, pong, subscribe, unsubscribe

GREETING = (
    '{"event":"pusher:connection_established",'
    '"data":"{\\"socket_id\\":\\"123.456\\",\\"activity_timeout\\":30}"}'
)
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
    """Return an event of `channel`."""
    return Frame.of(Message(f"1:{channel}", "e", data))


def joined_pair(version: str | None = "7") -> Pair:
    """Return a pair whose client is in a channel: another would be closed as inactive."""
    pair = Pair(version=version)
    pair.confirm(pair.join("x"))
    return pair


class TestOpening:
    def test_the_greeting_comes_first_and_alone(self) -> None:
        """Byte for byte what pusher-js expects as its first frame."""
        pair = Pair()
        assert pair.texts == [GREETING]
        assert pair.client.socket_id == SOCKET_ID
        assert pair.client.activity_timeout == 30
        assert pair.close_code is None

    @pytest.mark.parametrize("version", [None, "4", "5", "6", "7", "007"])
    def test_supported_versions_are_greeted_alike(self, version: str | None) -> None:
        """Versions 4 to 7, and a missing one, get the same greeting."""
        assert Pair(version=version).texts == [GREETING]

    @pytest.mark.parametrize(
        "version", ["", "x", "7.0", "-7", "+7", " 7", "7 ", "٧", "７", "²", "0x7", "\ud800", "7\n"]
    )
    def test_a_version_that_is_no_number_closes_with_4006(self, version: str) -> None:
        """Digits of other scripts, signs and blanks are no number."""
        pair = Pair(version=version)
        assert pair.close_code == 4006
        assert pair.texts == []

    @pytest.mark.parametrize("version", ["8", "10", "700", "0007", "9" * 10_000])
    def test_a_later_version_closes_with_4007(self, version: str) -> None:
        """A huge number is not even parsed."""
        pair = Pair(version=version)
        assert pair.close_code == 4007
        assert pair.texts == []

    @pytest.mark.parametrize("version", ["0", "1", "3"])
    def test_a_dead_version_hears_the_reason_before_the_close(self, version: str) -> None:
        """Below version 6 clients learn the code from an event."""
        pair = Pair(version=version)
        assert pair.close_code == 4007
        assert pair.client.errors == [
            {"code": 4007, "message": "Supported protocol versions are 4 to 7"}
        ]

    @pytest.mark.parametrize("version", [None, "4", "5", "6", "7"])
    def test_an_unknown_application_closes_with_4001(self, version: str | None) -> None:
        """By code alone from version 6 on, by an event as well before."""
        pair = Pair(known=False, version=version)
        assert pair.close_code == 4001
        assert pair.connection.close_reason == "Application does not exist"
        told = [{"code": 4001, "message": "Application does not exist"}]
        assert pair.client.errors == (told if version in {"4", "5"} else [])

    def test_a_foreign_origin_closes_with_4009(self) -> None:
        """Pages of other sites are refused."""
        pair = Pair(origin="http://evil.example")
        assert pair.close_code == 4009
        assert pair.texts == []

    @pytest.mark.parametrize("origin", [None, "http://testserver"])
    def test_the_application_decides_about_origins(self, origin: str | None) -> None:
        """Here: one page, and clients that are no browsers."""
        assert Pair(origin=origin).texts == [GREETING]

    def test_a_bad_version_is_told_before_a_foreign_origin(self) -> None:
        """The application first, then the version, then the origin."""
        assert Pair(version="x", origin="http://evil.example").close_code == 4006
        assert Pair(version="x", known=False).close_code == 4001

    def test_the_reason_of_a_close_is_short_ascii(self) -> None:
        """A close frame holds 123 bytes of it."""
        for pair in (
            Pair(version="x" * 1000),
            Pair(version="9"),
            Pair(known=False),
            Pair(origin="ż"),
        ):
            reason = pair.connection.close_reason
            assert reason.isascii()
            assert 0 < len(reason) <= 123


class TestHeartbeat:
    def test_a_ping_is_answered(self) -> None:
        """With a pong, at once."""
        assert Pair().say_raw(ping()) == ['{"event":"pusher:pong","data":"{}"}']

    @pytest.mark.parametrize("data", ["[]", "null", '"x"', "1"])
    def test_a_ping_may_carry_anything(self, data: str) -> None:
        """SDKs disagree on its data."""
        answers = Pair().say(f'{{"event":"pusher:ping","data":{data}}}')
        assert [answer["event"] for answer in answers] == ["pusher:pong"]

    def test_a_pong_is_counted_and_not_answered(self) -> None:
        """Adapters pace a slow reader by the number of pongs."""
        pair = Pair()
        assert pair.say(pong()) == pair.say('{"event":"pusher:pong"}') == []
        assert pair.connection.pongs == 2

    def test_silence_is_pinged_once_and_a_pong_ends_the_matter(self) -> None:
        """After the activity timeout, and again after the next one."""
        pair = Pair()
        pair.pass_time(29.9)
        assert pair.texts == [GREETING]
        pair.pass_time(0.1)
        assert pair.texts[1:] == ['{"event":"pusher:ping","data":"{}"}']
        assert pair.connection.pongs == 1
        pair.pass_time(29.9)
        assert len(pair.texts) == 2
        pair.pass_time(0.1)
        assert len(pair.texts) == 3
        assert pair.close_code is None

    def test_an_unanswered_ping_closes_with_4201(self) -> None:
        """Thirty seconds after the ping, and not before."""
        pair = joined_pair()
        pair.connection.tick(pair.clock.advance(30))
        assert len(pair.connection.frames_to_send()) == 1
        pair.connection.tick(pair.clock.advance(29.9))
        assert pair.connection.frames_to_send() == []
        assert not pair.is_closed
        pair.connection.tick(pair.clock.advance(0.1))
        assert pair.close_code == 4201
        assert pair.connection.close_reason == "Pong reply not received"

    def test_a_late_ping_is_waited_for_as_long(self) -> None:
        """A process that was held up for minutes does not drop its clients at once."""
        pair = joined_pair()
        pair.connection.tick(pair.clock.advance(600))
        pair.connection.frames_to_send()
        pair.connection.tick(pair.clock.advance(1))
        assert not pair.is_closed
        pair.connection.tick(pair.clock.advance(29))
        assert pair.close_code == 4201

    def test_a_frame_that_says_nothing_is_a_sign_of_life(self) -> None:
        """A ping of WebSocket's own puts the ping off, and answers one."""
        pair = joined_pair()
        for _ in range(3):
            pair.connection.tick(pair.clock.advance(29))
            pair.connection.note_activity(pair.clock.now)
        assert pair.connection.frames_to_send() == []
        pair.connection.tick(pair.clock.advance(30))
        pair.connection.note_activity(pair.clock.advance(20))
        pair.connection.tick(pair.clock.advance(20))
        assert not pair.is_closed

    @pytest.mark.parametrize("text", [pong(), ping(), "nonsense", subscribe("x"), "{}"])
    def test_any_frame_is_a_sign_of_life(self, text: str) -> None:
        """It puts the ping off, and answers one."""
        pair = Pair()
        pair.clock.advance(20)
        pair.say(text)
        pair.connection.tick(pair.clock.advance(20))
        assert pair.connection.frames_to_send() == []
        pair.connection.tick(pair.clock.advance(10))
        assert len(pair.connection.frames_to_send()) == 1
        pair.say(text)
        pair.connection.tick(pair.clock.advance(29.9))
        assert pair.close_code is None

    def test_version_5_is_told_of_the_timeout(self) -> None:
        """An error event, then the close."""
        pair = joined_pair(version="5")
        pair.connection.tick(pair.clock.advance(30))
        pair.connection.frames_to_send()
        pair.connection.tick(pair.clock.advance(30))
        assert pair.close_code == 4201
        assert [frame.text for frame in pair.connection.frames_to_send()] == [
            '{"event":"pusher:error","data":{"code":4201,"message":"Pong reply not received"}}'
        ]


class TestSubscribing:
    def test_a_subscription_is_confirmed_when_the_hub_has_joined(self) -> None:
        """Nothing is said before."""
        pair = Pair()
        action = pair.join("x")
        assert pair.texts == [GREETING]
        assert pair.confirm(action) is True
        assert pair.texts[1:] == [
            '{"event":"pusher_internal:subscription_succeeded","data":"{}","channel":"x"}'
        ]
        assert pair.client.subscribed == {"x"}

    @pytest.mark.parametrize("version", ["4", "5", "6", "7"])
    def test_every_version_is_told_of_a_confirmation(self, version: str) -> None:
        """Before the fourth only members were."""
        pair = Pair(version=version)
        pair.confirm(pair.join("x"))
        assert pair.client.confirmations == {"x": 1}

    def test_what_came_meanwhile_follows_the_confirmation(self) -> None:
        """The confirmation is the channel's first frame, the rest keeps its order."""
        pair = Pair()
        kept = [live("x", "1"), live("x", "2")]
        pair.confirm(pair.join("x"), *kept)
        assert "subscription_succeeded" in pair.texts[1]
        assert pair.texts[2:] == [frame.text for frame in kept]

    @pytest.mark.parametrize("channel", ["x", "cache-x", "A9_-=@,.;", "not-private-x", "x" * 200])
    def test_open_channels_need_nothing(self, channel: str) -> None:
        """Also with the empty auth string that pusher-js sends."""
        assert Pair().join(channel).channel == channel

    def test_attempts_are_unique_in_their_connection(self) -> None:
        """An answer can be told from one to an earlier question."""
        pair = Pair()
        numbers = [pair.join(f"c{i}").attempt for i in range(5)]
        pair.leave("c0")
        numbers.append(pair.join("c0").attempt)
        assert len(set(numbers)) == 6

    @pytest.mark.parametrize("confirmed", [True, False])
    def test_a_second_subscription_is_an_error_and_changes_nothing(self, confirmed: bool) -> None:
        """Whether the first is confirmed or still under way."""
        pair = Pair()
        action = pair.join("x")
        if confirmed:
            pair.confirm(action)
        assert pair.say(subscribe("x")) == [error("Existing subscription to channel x")]
        assert pair.actions == []
        assert pair.connection.channels == ["x"]
        assert pair.confirm(action) is not confirmed

    @pytest.mark.parametrize(
        "channel",
        ["private-x", "presence-x", "private-encrypted-x", "private-cache-x", "presence-cache-x"],
    )
    @pytest.mark.parametrize("auth", ["", "app-key:" + "0" * 63, "app-key", ":", "a:b:" + "0" * 64])
    def test_a_guarded_channel_without_an_authorization_is_refused(
        self, channel: str, auth: str
    ) -> None:
        """With a 401 that reaches the channel, and a 4009; the connection stays."""
        pair = Pair()
        message = "Invalid format: auth must have the format key:signature"
        assert pair.say_raw(subscribe(channel, auth=auth, channel_data='{"user_id":"1"}')) == [
            '{"event":"pusher:subscription_error","data":{"type":"AuthError",'
            f'"error":"{message}","status":401}},"channel":"{channel}"}}',
            f'{{"event":"pusher:error","data":{{"code":4009,"message":"{message}"}}}}',
        ]
        assert pair.actions == []
        assert pair.close_code is None
        assert pair.connection.channels == []
        pair.confirm(pair.join("x"))

    @pytest.mark.parametrize("channel", ["private-x", "presence-x"])
    def test_a_refused_client_hears_it_on_its_channel(self, channel: str) -> None:
        """As pusher-js passes it to the callbacks of the channel."""
        pair = Pair()
        pair.client.subscribe(channel)
        pair.carry()
        assert [refusal["status"] for refusal in pair.client.refusals[channel]] == [401]

    def test_the_number_of_channels_is_limited(self) -> None:
        """Those that are joining count; one that is left makes room."""
        pair = Pair(FakePolicy(max_channels=2))
        pair.confirm(pair.join("a"))
        pair.join("b")
        assert pair.say(subscribe("c")) == [
            {
                "event": "pusher:subscription_error",
                "data": {
                    "type": "LimitReached",
                    "error": "A connection may have 2 channels",
                    "status": 4301,
                },
                "channel": "c",
            },
            error("A connection may have 2 channels"),
        ]
        assert pair.close_code is None
        pair.leave("b")
        pair.join("c")

    def test_a_refusal_by_the_hub_lets_the_client_try_again(self) -> None:
        """The channel is free; an error without a table entry is a server error."""
        pair = Pair()
        pair.refuse(pair.join("x"), InvalidFrame("No"))
        assert pair.client.refusals == {
            "x": [{"type": "ServerError", "error": "No", "status": 500}]
        }
        assert pair.client.errors == [{"code": None, "message": "No"}]
        pair.confirm(pair.join("x"))


class TestUnsubscribing:
    def test_leaving_is_not_confirmed(self) -> None:
        """The hub is told, the client is not."""
        pair = Pair()
        pair.confirm(pair.join("x"))
        assert pair.say(unsubscribe("x")) == []
        assert pair.actions == [Unsubscribe("x")]
        assert pair.connection.channels == []

    @pytest.mark.parametrize("channel", ["x", "private-x"])
    def test_leaving_a_channel_that_one_is_not_in_is_an_error(self, channel: str) -> None:
        """Also one that was left before."""
        pair = Pair()
        assert pair.say(unsubscribe(channel)) == [
            error(f"No current subscription to channel {channel}, or subscription in progress")
        ]
        pair.confirm(pair.join("x"))
        pair.leave("x")
        assert pair.say(unsubscribe("x")) == [
            error("No current subscription to channel x, or subscription in progress")
        ]
        assert pair.actions == []

    def test_leaving_while_joining_takes_the_answer_its_effect(self) -> None:
        """A stale confirmation is not passed on, nor a stale refusal."""
        pair = Pair()
        action = pair.join("x")
        pair.leave("x")
        assert pair.confirm(action, live("x")) is False
        pair.refuse(action, OverCapacity("Try again"))
        assert pair.texts == [GREETING]
        assert pair.close_code is None
        assert pair.connection.channels == []

    def test_a_stale_answer_does_not_confirm_the_next_attempt(self) -> None:
        """Only the answer to the current one does, once."""
        pair = Pair()
        first = pair.join("x")
        pair.leave("x")
        second = pair.join("x")
        assert pair.connection.awaits(first.attempt) is False
        assert pair.connection.awaits(second.attempt) is True
        assert pair.confirm(first, live("x", "old")) is False
        pair.refuse(first, OverCapacity("Try again"))
        assert pair.texts == [GREETING]
        assert pair.confirm(second) is True
        assert pair.confirm(second) is False
        assert pair.client.confirmations == {"x": 1}
        assert pair.connection.awaits(second.attempt) is False


class TestFrames:
    @pytest.mark.parametrize(
        "text",
        ["", "nope", "{", '{"event":NaN}', '{"event":Infinity}', "[" * 5000, '{"a":' * 3000],
        ids=lambda text: repr(text[:10]),
    )
    def test_what_is_not_json_is_an_error(self, text: str) -> None:
        """Broken text, NaN and nesting that no parser survives."""
        pair = Pair()
        assert pair.say(text) == [error("Received invalid JSON")]
        assert pair.close_code is None
        pair.confirm(pair.join("x"))

    @pytest.mark.parametrize(
        "text", ["[]", "1", '"x"', "null", "true", '[{"event":"pusher:ping"}]']
    )
    def test_what_is_not_an_object_is_an_error(self, text: str) -> None:
        """A frame is one JSON object."""
        assert Pair().say(text) == [error("Received JSON that is not an object")]

    @pytest.mark.parametrize("event", ["", ',"event":null', ',"event":1', ',"event":["x"]'])
    def test_a_frame_without_an_event_name_is_an_error(self, event: str) -> None:
        """Missing, or not a string."""
        assert Pair().say(f'{{"data":{{}}{event}}}') == [
            error("Received a frame without an event name")
        ]

    @pytest.mark.parametrize(
        "text",
        [
            frame("x"),
            frame("pusher:unknown"),
            frame("pusher_internal:subscription_succeeded", "{}", "x"),
            frame("PUSHER:PING"),
            frame(""),
            frame("Client-typing", {}, "private-x"),
            frame("client", {}, "private-x"),
        ],
    )
    def test_other_events_are_unsupported(self, text: str) -> None:
        """They are named in the error, and never relayed."""
        pair = Pair()
        event = json.loads(text)["event"]
        assert pair.say(text) == [error(f"Unsupported event received on socket: '{event}'")]
        assert pair.actions == []

    def test_a_long_event_name_is_quoted_in_part(self) -> None:
        """A client cannot have its own frame sent back in full."""
        (answer,) = Pair().say(frame("x" * 10_000))
        assert answer["data"]["message"].endswith("'" + "x" * 200 + "'")

    def test_a_lone_surrogate_is_quoted_as_an_escape(self) -> None:
        """JSON may spell what UTF-8 cannot carry; the answer can be sent all the same."""
        (text,) = Pair().say_raw('{"event":"\\ud800ż"}')
        assert text.encode() == (
            b'{"event":"pusher:error","data":{"code":null,'
            b'"message":"Unsupported event received on socket: \'\\ud800\\u017c\'"}}'
        )

    def test_unknown_keys_are_ignored(self) -> None:
        """Clients may send more than we read."""
        text = json.dumps({"event": "pusher:ping", "channel": 7, "user_id": {}, "x": [1]})
        assert [answer["event"] for answer in Pair().say(text)] == ["pusher:pong"]


@pytest.mark.parametrize("event", ["pusher:subscribe", "pusher:unsubscribe"])
class TestChannelData:
    def test_data_may_be_json_text(self, event: str) -> None:
        """As Java sends it."""
        pair = Pair()
        if event == "pusher:unsubscribe":
            pair.confirm(pair.join("x"))
        assert pair.say(frame(event, '{"channel":"x"}')) == []
        (action,) = pair.actions
        assert isinstance(action, Subscribe | Unsubscribe)
        assert action.channel == "x"

    @pytest.mark.parametrize(
        "data", ["", ',"data":null', ',"data":1', ',"data":[]', ',"data":true']
    )
    def test_data_must_be_an_object(self, event: str, data: str) -> None:
        """Missing, or any other JSON value."""
        assert Pair().say(f'{{"event":"{event}"{data}}}') == [error(NO_OBJECT)]

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ("", "Received invalid JSON"),
            ("{", "Received invalid JSON"),
            ("NaN", "Received invalid JSON"),
            ("[" * 4000, "Received invalid JSON"),
            ("[]", "Received JSON that is not an object"),
            ('"{}"', "Received JSON that is not an object"),
            ("{}", NO_CHANNEL),
        ],
        ids=lambda text: repr(text[:10]),
    )
    def test_json_text_must_hold_an_object(self, event: str, data: str, message: str) -> None:
        """It is unpacked once, and read as carefully as the frame itself."""
        assert Pair().say(frame(event, data)) == [error(message)]

    @pytest.mark.parametrize("channel", [None, 1, 1.5, True, [], ["x"], {}])
    def test_channel_must_be_text(self, event: str, channel: object) -> None:
        """Whatever else JSON can hold is an error."""
        pair = Pair()
        assert pair.say(frame(event, {"channel": channel})) == [error(NO_CHANNEL)]
        assert pair.actions == []


class TestFrameSize:
    def padded(self, size: int) -> str:
        """Return a ping of `size` bytes, in characters of one."""
        return ping()[:-1] + " " * (size - len(ping())) + "}"

    def test_a_frame_may_have_exactly_the_limit(self) -> None:
        """The last byte is allowed."""
        pair = Pair(FakePolicy(max_frame_size=1000))
        assert len(pair.say(self.padded(1000))) == 1
        assert pair.close_code is None

    def test_one_byte_more_closes_with_4100(self) -> None:
        """RFC 6455 has 1009 for it, but daphne cannot close with that."""
        pair = Pair(FakePolicy(max_frame_size=1000))
        assert pair.say(self.padded(1001)) == []
        assert pair.close_code == 4100
        assert pair.connection.close_reason == "A frame may have 1000 bytes"

    @pytest.mark.parametrize(("character", "size"), [("ż", 2), ("한", 3), ("😀", 4), ("\ud800", 3)])
    def test_bytes_count_and_not_characters(self, character: str, size: int) -> None:
        """Of UTF-8, lone surrogates included."""
        policy = FakePolicy(max_frame_size=100 * size)
        assert Pair(policy).say(character * 100) == [error("Received invalid JSON")]
        pair = Pair(policy)
        pair.say(character * 101)
        assert pair.close_code == 4100


class TestClosed:
    def test_failing_from_outside_closes_once(self) -> None:
        """The first code stands."""
        pair = Pair()
        pair.connection.close(Reconnect("Server is going away"))
        pair.connection.close(OverCapacity("Too late"))
        assert pair.close_code == 4200
        assert pair.connection.close_reason == "Server is going away"

    def test_failing_without_a_close_is_told(self) -> None:
        """An error found outside the machine is an error event like others."""
        pair = Pair()
        pair.connection.refuse(InvalidFrame("No"))
        pair.carry()
        assert pair.client.errors == [{"code": None, "message": "No"}]
        assert pair.close_code is None

    @pytest.mark.parametrize("known", [True, False])
    def test_nothing_is_accepted_any_more(self, known: bool) -> None:
        """No frame, no time, no late answer has an effect."""
        pair = Pair(known=known)
        action = pair.join("x") if known else Subscribe(1, "x")
        pair.connection.close(Reconnect("Server is going away"))
        code, channels = pair.close_code, pair.connection.channels
        for text in (ping(), subscribe("y"), unsubscribe("x"), "nonsense", "x" * 100_000):
            assert pair.say(text) == []
        pair.connection.tick(pair.clock.advance(1000))
        pair.connection.tick(pair.clock.advance(1000))
        assert pair.confirm(action, live("x")) is False
        pair.refuse(action, OverCapacity("Too late"))
        pair.connection.close(OverCapacity("Too late"))
        assert pair.connection.awaits(action.attempt) is False
        assert pair.connection.frames_to_send() == []
        assert pair.actions == []
        assert pair.close_code == code

        # The hub still has to be left.
        assert pair.connection.channels == channels


class TestFuzz:
    """Whatever a client sends: an answer or none, never an exception."""

    @given(texts=st.lists(ANY_TEXT, max_size=5))
    def test_any_text_is_survived(self, texts: list[str]) -> None:
        """And can be answered in UTF-8."""
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
        """In every field, escaped or raw."""
        pair = Pair()
        text = json.dumps({"event": event, "data": data}, ensure_ascii=escaped)
        for answer in pair.say_raw(text):
            assert json.loads(answer.encode())["event"].startswith("pusher")
        assert len(pair.actions) <= 1

    @given(value=ANY_JSON)
    def test_any_json_is_answered_with_one_error(self, value: object) -> None:
        """Nothing that is no protocol frame stays silent."""
        (answer,) = Pair().say(json.dumps(value))
        assert answer["event"] == "pusher:error"


class ConnectionMachine(RuleBasedStateMachine):
    """A client that changes its mind, facing a hub that answers late and out of order."""

    attempts: Bundle[Subscribe] = Bundle("attempts")
    channels = st.sampled_from(["a", "b", "c", "private-d"])

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.connection = Connection(FakePolicy(max_channels=2), SOCKET_ID, "7")
        self.connection.open(None, self.now)
        self.current: dict[str, int] = {}  # Wanted channels: the attempt that counts.
        self.confirmed: set[int] = set()
        self.closed = False
        self.read()

    def read(self) -> list[dict[str, Any]]:
        """Return the frames that came, none of which may come after a close."""
        frames = [json.loads(frame.text) for frame in self.connection.frames_to_send()]
        if self.closed:
            assert frames == []
        self.closed = self.connection.close_code is not None
        return frames

    def send(self, text: str) -> list[Action]:
        """Send a frame; nothing is confirmed by that."""
        actions = self.connection.receive(text, self.now)
        assert not (self.closed and actions)
        for answer in self.read():
            assert answer["event"] in {"pusher:error", "pusher:subscription_error", "pusher:pong"}
        return actions

    @rule(target=attempts, channel=channels)
    def subscribe(self, channel: str) -> Subscribe:
        """The client asks, though it may have asked before."""
        for action in self.send(subscribe(channel)):
            assert isinstance(action, Subscribe)
            assert channel not in self.current
            assert not channel.startswith("private-")
            self.current[channel] = action.attempt
            return action
        return Subscribe(-1, channel)

    @rule(channel=channels)
    def unsubscribe(self, channel: str) -> None:
        """The client leaves, though it may not be in."""
        actions = self.send(unsubscribe(channel))
        wanted = self.current.pop(channel, None) if not self.closed else None
        assert actions == ([] if wanted is None else [Unsubscribe(channel)])

    @rule(action=attempts)
    def confirm(self, action: Subscribe) -> None:
        """The hub has joined, maybe for an attempt that no longer counts, maybe twice."""
        expected = (
            not self.closed
            and self.current.get(action.channel) == action.attempt
            and action.attempt not in self.confirmed
        )
        assert self.connection.awaits(action.attempt) is expected
        kept = live(action.channel)
        assert self.connection.subscribed(action.attempt, SubscriptionSnapshot((kept,))) is expected
        events = [answer["event"] for answer in self.read()]
        assert events == (["pusher_internal:subscription_succeeded", "e"] if expected else [])
        if expected:
            self.confirmed.add(action.attempt)

    @rule(action=consumes(attempts))
    def refuse(self, action: Subscribe) -> None:
        """The hub could not join."""
        expected = self.connection.awaits(action.attempt)
        self.connection.refuse(InvalidFrame("No"), action.attempt)
        events = [answer["event"] for answer in self.read()]
        assert events == (["pusher:subscription_error", "pusher:error"] if expected else [])
        if expected:
            del self.current[action.channel]

    @rule(
        seconds=st.sampled_from([1, 15]), text=st.sampled_from([None, pong(), ping(), "nonsense"])
    )
    def pass_time(self, seconds: int, text: str | None) -> None:
        """Time passes, with or without a sign of life."""
        if text is not None:
            self.send(text)
        self.now += seconds
        self.connection.tick(self.now)
        assert all(answer["event"] == "pusher:ping" for answer in self.read())

    @rule()
    def close(self) -> None:
        """The server goes away."""
        self.connection.close(Reconnect("Server is going away"))
        self.read()

    @invariant()
    def books_agree(self) -> None:
        """The connection is in, or joining, exactly what the client asked for last."""
        assert sorted(self.connection.channels) == sorted(self.current)
        assert len(self.current) <= 2

    @invariant()
    def nothing_waits(self) -> None:
        """Frames are fetched once."""
        assert self.connection.frames_to_send() == []


ConnectionMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestStateMachine = ConnectionMachine.TestCase
