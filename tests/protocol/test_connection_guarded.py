"""What needs a signature: guarded channels, users, client events; and who may connect."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broadcasting.protocol.actions import ClientEvent, SignIn, Subscribe, Unsubscribe
from broadcasting.protocol.connection import Connection
from broadcasting.protocol.errors import TooManyMembers
from broadcasting.protocol.members import Member, User
from broadcasting.protocol.messages import Cached, Frame, Message, SubscriptionSnapshot
from broadcasting.protocol.signatures import sign_channel, sign_user
from tests.protocol.pair import SOCKET_ID, FakePolicy, Pair
from tests.utils import client_event, decode, frame, pong, sign_in, subscribe, unsubscribe

ANA = '{"user_id":"1","user_info":{"name":"Ana"}}'


def refused(channel: str, message: str, kind: str = "AuthError", status: int = 401) -> list[Any]:
    """Return the two frames of a refused subscription."""
    return [
        {
            "event": "pusher:subscription_error",
            "data": {"type": kind, "error": message, "status": status},
            "channel": channel,
        },
        {
            "event": "pusher:error",
            "data": {"code": 4009 if status == 401 else None, "message": message},
        },
    ]


def error(message: str, code: int | None = None) -> list[Any]:
    """Return a ``pusher:error``, alone."""
    return [{"event": "pusher:error", "data": {"code": code, "message": message}}]


class TestAdmission:
    def test_an_application_that_is_off_closes_with_4003(self) -> None:
        """Before anything else about the client is looked at."""
        pair = Pair(FakePolicy(enabled=False), version="x")
        assert (pair.close_code, pair.texts) == (4003, [])

    def test_a_full_application_closes_with_4004(self) -> None:
        """After origin and version: who is refused for good should know why."""
        connection = Connection(FakePolicy(), SOCKET_ID, "7")
        connection.open(None, 0, is_full=True)
        assert connection.close_code == 4004
        assert connection.frames_to_send() == []

    @pytest.mark.parametrize(("is_secure", "code"), [(True, None), (False, 4000)])
    def test_an_application_may_ask_for_tls(self, is_secure: bool, code: int | None) -> None:
        """Pusher-js switches to TLS at 4000."""
        connection = Connection(FakePolicy(force_tls=True), SOCKET_ID, "7")
        connection.open(None, 0, is_secure=is_secure)
        assert connection.close_code == code

    def test_without_being_asked_for_tls_is_no_matter(self) -> None:
        """As in development."""
        connection = Connection(FakePolicy(), SOCKET_ID, "7")
        connection.open(None, 0, is_secure=False)
        assert connection.close_code is None


class TestAge:
    def test_who_says_nothing_and_joins_nothing_is_closed_with_4202(self) -> None:
        """After twice the activity timeout, pinged or not."""
        pair = Pair(FakePolicy(activity_timeout=10))
        pair.connection.tick(pair.clock.advance(10))
        assert len(pair.connection.frames_to_send()) == 1  # The ping, unanswered.
        pair.connection.tick(pair.clock.advance(9.9))
        assert pair.close_code is None
        pair.connection.tick(pair.clock.advance(0.1))
        assert pair.close_code == 4202

    def test_a_process_that_was_held_up_asks_first(self) -> None:
        """Long silence is not told from its own."""
        pair = Pair(FakePolicy(activity_timeout=10))
        pair.pass_time(1000)
        assert pair.close_code is None
        assert pair.connection.pongs == 1

    def test_who_answers_pings_stays(self) -> None:
        """A page with a plain WebSocket, which joins nothing, for an hour."""
        pair = Pair()
        for _ in range(3600):
            pair.pass_time(1)
        assert pair.close_code is None
        assert pair.connection.pongs == 120

    @pytest.mark.parametrize("way", ["none", "public", "private", "signed in", "left again"])
    def test_authorized_connections(self, way: str) -> None:
        """One that did not become authorized in time is closed with 4009."""
        pair = Pair(FakePolicy(authorization_timeout=5))
        match way:
            case "public":
                pair.confirm(pair.join("x"))
            case "private":
                pair.enter("private-x")
            case "signed in":
                pair.sign_in('{"id":"1"}')
            case "left again":
                pair.enter("private-x")
                pair.say(unsubscribe("private-x"))
        pair.say(pong())
        pair.connection.tick(pair.clock.advance(4.9))
        assert pair.close_code is None
        pair.connection.tick(pair.clock.advance(0.1))
        assert pair.close_code == (None if way in {"private", "signed in"} else 4009)


class TestGuardedChannels:
    @pytest.mark.parametrize(
        "channel",
        [
            "private-x",
            "private-cache-x",
            "private-encrypted-x",
            "private-encrypted-cache-x",
            "private-",
        ],
    )
    def test_a_valid_signature_opens(self, channel: str) -> None:
        """For every private kind; the hub is told of no member."""
        action = Pair().enter(channel)
        assert action.channel == channel
        assert action.member is None

    def test_a_member_is_who_the_application_said(self) -> None:
        """Its id as text, what others are told as JSON."""
        action = Pair().enter("presence-x", '{"user_id": 10, "user_info": {"n": "żółw", "a": [1]}}')
        assert action.member == Member("10", '{"n":"żółw","a":[1]}')

    def test_the_published_vector_opens(self) -> None:
        """One value escaped, the other raw UTF-8: what is signed is the text as it came."""
        pair = Pair(FakePolicy(key="whik-key", secrets=("whik-secret-ż",)))
        pair.connection.socket_id = "5.7"
        data = r'{"user_id": "\u00e9", "user_info": {"n": "żółw"}}'
        auth = "whik-key:cffaae33fb438f0a52b12ef185ece3d3da8de1bb6ad10e8a530f69aa3462d931"
        assert pair.say(subscribe("presence-x", auth=auth, channel_data=data)) == []
        (action,) = pair.actions
        assert isinstance(action, Subscribe)
        assert action.member == Member("é", '{"n":"żółw"}')

    @pytest.mark.parametrize("user_id", ["__proto__", "constructor", "0", "ż", "x" * 128])
    def test_any_id_is_an_ordinary_id(self, user_id: str) -> None:
        """Names that mean something to JavaScript do not here."""
        action = Pair().enter("presence-x", json.dumps({"user_id": user_id}))
        assert action.member == Member(user_id)

    @pytest.mark.parametrize(
        ("value", "user_id"),
        [(0, "0"), (-1, "-1"), (10, "10"), (1.5, "1.5"), (10**30, str(10**30))],
    )
    def test_a_number_is_its_text(self, value: float, user_id: str) -> None:
        """0 included, which Reverb takes for a missing id."""
        action = Pair().enter("presence-x", json.dumps({"user_id": value}))
        assert action.member == Member(user_id)

    def test_a_changed_text_is_refused(self) -> None:
        """Also one that means the same: the signature covers the text."""
        pair = Pair()
        auth = sign_channel(pair.policy, SOCKET_ID, "presence-x", ANA)
        changed = ANA.replace('"1"', '"2"'), ANA.replace(":", ": ")
        for data in changed:
            assert pair.say(subscribe("presence-x", auth=auth, channel_data=data)) == refused(
                "presence-x", "Invalid signature"
            )
        assert pair.actions == []

    @pytest.mark.parametrize("what", ["socket", "channel", "key", "secret", "kind"])
    def test_a_signature_for_something_else_is_refused(self, what: str) -> None:
        """Another socket, channel, key, secret or kind of request."""
        pair = Pair()
        policy, socket_id, channel = pair.policy, SOCKET_ID, "private-x"
        match what:
            case "socket":
                socket_id = "123.457"
            case "channel":
                channel = "private-y"
            case "key":
                policy = replace(policy, key="other")
            case "secret":
                policy = replace(policy, secrets=("other",))
        auth = sign_channel(policy, socket_id, channel)
        if what == "kind":
            auth = sign_user(policy, socket_id, "private-x")
        answer = pair.say(subscribe("private-x", auth=auth))
        message = "Invalid key in subscription auth data" if what == "key" else "Invalid signature"
        assert answer == refused("private-x", message)

    def test_a_former_secret_still_counts(self) -> None:
        """While processes that sign learn of the new one."""
        pair = Pair(FakePolicy(secrets=("new", "old")))
        auth = sign_channel(FakePolicy(secrets=("old",)), SOCKET_ID, "private-x")
        assert pair.say(subscribe("private-x", auth=auth)) == []
        assert len(pair.actions) == 1

    def test_channel_data_on_a_private_channel_is_part_of_the_text(self) -> None:
        """SDKs append it whenever it is given."""
        pair = Pair()
        assert pair.ask("private-x", ANA) == []
        (action,) = pair.actions
        assert isinstance(action, Subscribe)
        assert action.member is None

    @pytest.mark.parametrize(
        "data",
        [
            *("", "{", "[]", "1", "null", "{}", '{"user_id":null}', '{"user_id":""}'),
            *('{"user_id":[]}', '{"user_id":true}', '{"user_id":NaN}', '{"user_id":1e999}'),
            *('{"user_id":"\\ud800"}', '{"user_id":"1","user_info":"\\ud800"}'),
            *('{"user_id":"1","user_info":1e999}', "[" * 5000),
            json.dumps({"user_id": "x" * 129}),
        ],
        ids=lambda text: repr(text[:30]),
    )
    def test_signed_nonsense_is_refused(self, data: str) -> None:
        """An application's mistake must not reach other clients."""
        pair = Pair()
        answer, told = pair.ask("presence-x", data)
        assert answer["data"]["type"] == "AuthError"
        assert told["data"]["code"] == 4009
        assert pair.actions == []

    @pytest.mark.parametrize("size", [1024, 1025])
    def test_the_information_on_a_user_is_limited(self, size: int) -> None:
        """By the bytes of its JSON."""
        pair = Pair()
        info = "ż" * ((size - 2) // 2) + "x" * (size % 2)
        answers = pair.ask("presence-x", json.dumps({"user_id": "1", "user_info": info}))
        assert answers == (
            []
            if size == 1024
            else refused("presence-x", "user_info may have 1024 bytes", "LimitReached", 4301)
        )

    @pytest.mark.parametrize("field", ["auth", "channel_data"])
    @pytest.mark.parametrize("value", [1, [], {}, True])
    def test_fields_of_a_wrong_type_are_refused(self, field: str, value: object) -> None:
        """Soketi dies of such frames."""
        pair = Pair()
        data = {"channel": "presence-x", "auth": "a:b", "channel_data": "{}"} | {field: value}
        answers = pair.say(frame("pusher:subscribe", data))
        assert answers == refused(
            "presence-x", "Invalid format: auth and channel_data must be strings"
        )

    def test_a_refused_client_may_try_again(self) -> None:
        """With a better signature, on the same connection."""
        pair = Pair()
        assert len(pair.say(subscribe("private-x", auth="x"))) == 2
        pair.enter("private-x")

    def test_a_full_channel_is_told_as_a_limit(self) -> None:
        """Once the hub has found it full; another attempt is possible."""
        pair = Pair()
        pair.ask("presence-x", ANA)
        action = pair.actions.pop()
        assert isinstance(action, Subscribe)
        pair.connection.refuse(TooManyMembers("The channel may have 1 members"), action.attempt)
        assert [json.loads(f.text) for f in pair.connection.frames_to_send()] == refused(
            "presence-x", "The channel may have 1 members", "LimitReached", 4100
        )
        assert pair.connection.channels == []
        pair.enter("presence-x", ANA)


class TestNames:
    @pytest.mark.parametrize("channel", ["", "a b", "x\n", "a:b", "x" * 201, "ż", "\ud800", "a#b"])
    def test_an_invalid_name_is_refused_on_its_channel(self, channel: str) -> None:
        """So that the page's error callback hears of it."""
        message = (
            "A channel name has 1 to 200 characters: letters and digits of ASCII and _ - = @ , . ;"
        )
        pair = Pair()
        assert pair.say(subscribe(channel)) == refused(channel, message, "InvalidName", 400)
        assert pair.actions == []

    def test_an_application_may_allow_less(self) -> None:
        """Pusher's documents say 164."""
        pair = Pair(FakePolicy(max_channel_name_length=10))
        pair.join("x" * 10)
        assert len(pair.say(subscribe("x" * 11))) == 2

    @pytest.mark.parametrize(
        "channel",
        ["not-private-x", "my-cache-x", "x-presence-y", "privatex", "presence", "Private-x"],
    )
    def test_a_kind_is_a_prefix_with_its_dash(self, channel: str) -> None:
        """Soketi looks anywhere, Reverb without the dash."""
        pair = Pair()
        pair.confirm(pair.join(channel))
        assert len(pair.texts) == 2  # The greeting and the confirmation: no cache miss.

    @pytest.mark.parametrize("channel", ["#x", "#", "#server-to-user-", "#watch-1", "#control"])
    def test_reserved_names_are_refused(self, channel: str) -> None:
        """Also for a signed-in user."""
        pair = Pair()
        pair.sign_in('{"id":"1"}')
        pair.actions.clear()
        assert pair.say(subscribe(channel, auth=""))[0]["data"]["type"] == "AuthError"
        assert pair.actions == []


class TestUserChannels:
    def test_only_the_signed_in_user_may_join(self) -> None:
        """Anyone may with soketi and Reverb, and read the user's messages."""
        pair = Pair()
        message = "Only the user who signed in may join #server-to-user-1"
        assert pair.say(subscribe("#server-to-user-1", auth="")) == refused(
            "#server-to-user-1", message
        )
        pair.sign_in('{"id":"2"}')
        assert len(pair.say(subscribe("#server-to-user-1", auth=""))) == 2
        assert pair.say(subscribe("#server-to-user-2", auth="")) == []
        assert pair.actions[-1] == Subscribe(1, "#server-to-user-2")

    def test_a_valid_signature_for_the_name_opens_nothing(self) -> None:
        """There is no other way in."""
        pair = Pair()
        assert len(pair.ask("#server-to-user-1")) == 2
        assert pair.actions == []


class TestSignIn:
    def test_success_repeats_the_very_text(self) -> None:
        """As the client's callback receives it."""
        pair = Pair()
        text = '{"id": "u1", "user_info": {"n": "\\u017c"}, "watchlist": ["u2"]}'
        (answer,) = pair.sign_in(text)
        assert answer["event"] == "pusher:signin_success"
        assert json.loads(answer["data"]) == {"user_data": text}
        user = User("u1", '{"n":"ż"}', ("u2",))
        assert pair.actions == [SignIn(user)]
        assert pair.connection.user == user

    def test_data_may_be_json_text(self) -> None:
        """As some SDKs send all their data."""
        pair = Pair()
        auth = sign_user(pair.policy, SOCKET_ID, '{"id":"1"}')
        data = json.dumps({"auth": auth, "user_data": '{"id":"1"}'})
        assert pair.say(frame("pusher:signin", data))[0]["event"] == "pusher:signin_success"

    def test_the_same_user_again_is_a_success_and_no_more_work(self) -> None:
        """The books of the hub stay as they are."""
        pair = Pair()
        pair.sign_in('{"id":"1"}')
        assert len(pair.sign_in('{"id":"1","user_info":{}}')) == 1
        assert len(pair.actions) == 1

    def test_another_user_is_refused_and_changes_nothing(self) -> None:
        """A connection has one user for its life."""
        pair = Pair()
        pair.sign_in('{"id":"1"}')
        assert pair.sign_in('{"id":"2"}') == error(
            "Another user has signed in on this connection", 4009
        )
        assert pair.connection.user == User("1")
        assert pair.close_code is None

    @pytest.mark.parametrize(
        "user_data",
        [
            *("", "{", "[]", "{}", '{"id":1}', '{"id":""}', '{"id":null}', '{"id":"a b"}'),
            *('{"id":"ż"}', '{"id":"1","watchlist":"2"}', '{"id":"1","user_info":1e999}'),
            json.dumps({"id": "1", "user_info": "x" * 1025}),
            json.dumps({"id": "x" * 201}),
        ],
        ids=lambda text: repr(text[:30]),
    )
    def test_signed_nonsense_is_refused(self, user_data: str) -> None:
        """With 4009; the connection stays."""
        pair = Pair()
        (answer,) = pair.sign_in(user_data)
        assert answer["data"]["code"] == 4009
        assert pair.connection.user is None
        assert pair.actions == []

    @pytest.mark.parametrize(
        "data",
        [
            {"auth": "x", "user_data": '{"id":"1"}'},
            {"auth": "app-key:" + "0" * 64, "user_data": '{"id":"1"}'},
            {"auth": 1, "user_data": '{"id":"1"}'},
            {"auth": "x", "user_data": {"id": "1"}},
            {"user_data": '{"id":"1"}'},
            {"auth": "x"},
            {},
        ],
    )
    def test_without_a_signature_nobody_signs_in(self, data: object) -> None:
        """Forged, missing, or of a wrong type."""
        pair = Pair()
        (answer,) = pair.say(frame("pusher:signin", data))
        assert answer["data"]["code"] == 4009
        assert pair.actions == []

    def test_a_signature_for_a_channel_is_none_for_a_user(self) -> None:
        """Whatever the channel is called."""
        pair = Pair()
        auth = sign_channel(pair.policy, SOCKET_ID, "presence-x", '{"id":"1"}')
        assert pair.say(sign_in('{"id":"1"}', auth)) == error("Invalid signature", 4009)

    def test_a_signed_in_user_needs_no_channel_data(self) -> None:
        """The member is who signed in; the signature is that of a private channel."""
        pair = Pair()
        assert pair.ask("presence-x")[0]["data"]["error"] == (
            "A presence channel needs channel_data, or a signed-in user"
        )
        pair.sign_in('{"id":"u1","user_info":{"name":"Ana"}}')
        assert pair.enter("presence-x").member == Member("u1", '{"name":"Ana"}')

    def test_such_a_members_id_has_a_members_length(self) -> None:
        """A user's id may be longer."""
        pair = Pair()
        pair.sign_in(json.dumps({"id": "x" * 129}))
        assert len(pair.ask("presence-x")) == 2

    def test_a_long_watchlist_is_cut_and_told(self) -> None:
        """The first hundred are watched."""
        pair = Pair(FakePolicy(watchlist=True))
        ids = [f"u{i}" for i in range(101)]
        success, told = pair.sign_in(json.dumps({"id": "1", "watchlist": ids}))
        assert success["event"] == "pusher:signin_success"
        assert told["data"]["code"] == 4302
        (action,) = pair.actions
        assert isinstance(action, SignIn)
        assert action.user.watchlist == tuple(ids[:100])

    def test_who_cannot_exist_is_not_watched(self) -> None:
        """Nor anybody twice."""
        pair = Pair(FakePolicy(watchlist=True))
        pair.sign_in('{"id":"1","watchlist":["2","2",3,null,"a b","3"]}')
        assert pair.connection.user == User("1", watchlist=("2", "3"))


class TestClientEvents:
    def test_a_private_member_may_send(self) -> None:
        """The action names no user; what is not text is relayed as its JSON."""
        pair = Pair()
        pair.enter("private-x")
        assert pair.say(client_event("private-x", "client-a", {"ż": [1, None]})) == []
        assert pair.actions == [ClientEvent("private-x", "client-a", '{"ż":[1,null]}', None)]

    def test_a_presence_member_is_named_by_the_server(self) -> None:
        """Whatever the frame says; other keys are dropped."""
        pair = Pair()
        pair.enter("presence-x", ANA)
        text = json.dumps(
            {
                "event": "client-a",
                "channel": "presence-x",
                "data": "as it is",
                "user_id": "2",
                "channels": ["private-y"],
                "socket_id": "1.1",
            }
        )
        assert pair.say(text) == []
        assert pair.actions == [ClientEvent("presence-x", "client-a", "as it is", "1")]

    @pytest.mark.parametrize("data", ["", ',"data":null'])
    def test_data_may_be_missing(self, data: str) -> None:
        """Receivers get null, since some SDKs do not bear none at all."""
        pair = Pair()
        pair.enter("private-x")
        pair.say(f'{{"event":"client-a","channel":"private-x"{data}}}')
        assert pair.actions == [ClientEvent("private-x", "client-a", "null", None)]

    def test_they_are_off_by_default_of_an_application(self) -> None:
        """A client is told where to allow them."""
        pair = Pair(FakePolicy(client_events=False))
        pair.enter("private-x")
        (answer,) = pair.say(client_event("private-x", "client-a", {}))
        assert answer["data"]["code"] is None
        assert "CLIENT_EVENTS" in answer["data"]["message"]
        assert pair.actions == []

    @pytest.mark.parametrize("channel", ["x", "cache-x", "#server-to-user-1", "", "#control"])
    def test_not_on_public_channels(self, channel: str) -> None:
        """Soketi relays them there."""
        pair = Pair()
        pair.sign_in('{"id":"1"}')
        pair.actions.clear()
        assert pair.say(client_event(channel, "client-a", {})) == error(
            "Client event rejected - only supported on private and presence channels"
        )
        assert pair.actions == []

    def test_not_in_clear_on_encrypted_channels(self) -> None:
        """No official client sends any there."""
        pair = Pair()
        pair.enter("private-encrypted-x")
        assert pair.say(client_event("private-encrypted-x", "client-a", {})) == error(
            "Client event rejected - not supported on encrypted channels"
        )
        assert pair.actions == []

    @pytest.mark.parametrize("state", ["never", "joining", "left"])
    def test_not_without_being_a_member(self, state: str) -> None:
        """Asking to join is not enough."""
        pair = Pair()
        if state == "joining":
            pair.ask("private-x")
        if state == "left":
            pair.enter("private-x")
            pair.say(unsubscribe("private-x"))
        pair.actions.clear()
        assert pair.say(client_event("private-x", "client-a", {})) == error(
            "Cannot broadcast client event (connection not subscribed to channel private-x)"
        )
        assert pair.actions == []

    @pytest.mark.parametrize("channel", [None, 1, [], {}])
    def test_the_channel_must_be_text(self, channel: object) -> None:
        """Or there is none."""
        pair = Pair()
        text = json.dumps({"event": "client-a", "channel": channel, "data": {}})
        assert pair.say(text) == error("Received a frame without a channel")

    def test_ten_a_second_and_not_one_more(self) -> None:
        """Of one connection; the eleventh is told and not relayed, the next second is free."""
        pair = Pair()
        pair.enter("private-x")
        for _ in range(10):
            assert pair.say(client_event("private-x", "client-a", {})) == []
        (answer,) = pair.say(client_event("private-x", "client-a", {}))
        assert answer["data"]["code"] == 4301
        assert len(pair.actions) == 10
        pair.clock.advance(0.1)
        assert pair.say(client_event("private-x", "client-a", {})) == []
        assert len(pair.say(client_event("private-x", "client-a", {}))) == 1
        pair.clock.advance(100)
        for _ in range(10):
            assert pair.say(client_event("private-x", "client-a", {})) == []
        assert len(pair.say(client_event("private-x", "client-a", {}))) == 1
        assert pair.close_code is None

    @pytest.mark.parametrize(("size", "accepted"), [(100, True), (101, False)])
    def test_its_data_is_limited(self, size: int, accepted: bool) -> None:
        """In bytes, as any event's."""
        pair = Pair(FakePolicy(max_event_size=100))
        pair.enter("private-x")
        answers = pair.say(client_event("private-x", "client-a", "ż" * 50 + "x" * (size - 100)))
        assert [answer["data"]["code"] for answer in answers] == ([] if accepted else [4301])

    @pytest.mark.parametrize(
        "text",
        [
            '{"event":"client-\\ud800","channel":"private-x","data":{}}',
            '{"event":"client-a","channel":"private-x","data":"\\ud800"}',
            '{"event":"client-a","channel":"private-x","data":{"\\udfff":1}}',
            '{"event":"client-a","channel":"private-x","data":[1e999]}',
            json.dumps({"event": "client-" + "x" * 194, "channel": "private-x", "data": {}}),
        ],
        ids=range(5),
    )
    def test_what_cannot_be_relayed_is_an_error(self, text: str) -> None:
        """No exception, and nothing for the others."""
        pair = Pair()
        pair.enter("private-x")
        (answer,) = pair.say(text)
        assert answer["data"]["code"] is None
        assert pair.actions == []

    @given(data=st.recursive(st.none(), lambda inner: st.lists(inner, max_size=1), max_leaves=1))
    def test_nesting_is_survived(self, data: object) -> None:
        """However deep the parser lets it be."""
        pair = Pair(FakePolicy(max_client_event_rate=10_000))
        pair.enter("private-x")
        for depth in (1, 100, 900, 950, 980, 990, 1000, 3000):
            nested = "[" * depth + json.dumps(data) + "]" * depth
            answers = pair.say(f'{{"event":"client-a","channel":"private-x","data":{nested}}}')
            assert len(answers) + len(pair.actions) == 1
            pair.actions.clear()


class TestSnapshots:
    def test_members_are_part_of_the_confirmation(self) -> None:
        """Each id once, with a key in the hash even if nothing is known of it."""
        pair = Pair()
        pair.ask("presence-x", ANA)
        action = pair.actions.pop()
        assert isinstance(action, Subscribe)
        members = {"1": '{"name":"Ana"}', "2": "null", "__proto__": "[]"}
        pair.connection.subscribed(action.attempt, SubscriptionSnapshot(members=members))
        (answer,) = pair.connection.frames_to_send()
        assert decode(answer.text) == {
            "event": "pusher_internal:subscription_succeeded",
            "channel": "presence-x",
            "data": {
                "presence": {
                    "ids": ["1", "2", "__proto__"],
                    "hash": {"1": {"name": "Ana"}, "2": None, "__proto__": []},
                    "count": 3,
                }
            },
        }

    def test_ids_that_look_like_indexes_stay_keys(self) -> None:
        """Reverb makes a list of the hash when the ids are 0, 1, 2."""
        pair = Pair()
        pair.ask("presence-x", ANA)
        action = pair.actions.pop()
        assert isinstance(action, Subscribe)
        pair.connection.subscribed(
            action.attempt, SubscriptionSnapshot(members={"0": "1", "1": "2"})
        )
        (answer,) = pair.connection.frames_to_send()
        assert decode(answer.text)["data"]["presence"]["hash"] == {"0": 1, "1": 2}

    @pytest.mark.parametrize("channel", ["cache-x", "private-cache-x", "private-encrypted-cache-x"])
    def test_the_last_event_follows_the_confirmation(self, channel: str) -> None:
        """As an ordinary event, before anything newer."""
        pair = Pair()
        pair.ask(channel)
        action = pair.actions.pop()
        assert isinstance(action, Subscribe)
        newer = Frame.of(Message(f"1:{channel}", "e", "new"))
        cached = Cached("e", "ż old", 1, 60)
        pair.connection.subscribed(action.attempt, SubscriptionSnapshot((newer,), cached=cached))
        frames = [json.loads(f.text) for f in pair.connection.frames_to_send()]
        assert [f["data"] for f in frames] == ["{}", "ż old", "new"]
        assert frames[1] == {"event": "e", "channel": channel, "data": "ż old"}

    def test_a_cache_channel_without_an_event_says_so(self) -> None:
        """With the frame that pusher-js passes to the channel."""
        pair = Pair()
        pair.confirm(pair.join("cache-x"))
        assert pair.texts[2:] == ['{"event":"pusher:cache_miss","data":"{}","channel":"cache-x"}']


class TestSubscriptionRate:
    def test_as_many_at_once_as_a_connection_may_have(self) -> None:
        """A client that comes back asks for all of them; then there is a rate."""
        pair = Pair(FakePolicy(max_channels=50, max_subscription_rate=20))
        for i in range(50):
            pair.confirm(pair.join(f"c{i}"))
            pair.leave(f"c{i}")
        assert pair.say(subscribe("x")) == refused(
            "x", "Subscribing too fast", "LimitReached", 4301
        )
        pair.clock.advance(1)
        for i in range(20):
            pair.join(f"d{i}")
        assert len(pair.say(subscribe("x"))) == 2
        assert pair.close_code is None


class GuardedMachine(RuleBasedStateMachine):
    """
    A client with good and bad signatures, facing a hub that keeps books.

    The hub of the model knows who should be where; what the connection asks of it must
    never let in somebody without a signature, nor relay for one who is not in.
    """

    channels = st.sampled_from(["private-a", "presence-b", "c", "#server-to-user-1"])

    def __init__(self) -> None:
        super().__init__()
        self.policy = FakePolicy(max_client_event_rate=1000, max_subscription_rate=1000)
        self.connection = Connection(self.policy, SOCKET_ID, "7")
        self.connection.open(None, 0)
        self.connection.frames_to_send()
        self.members: dict[str, Member | None] = {}
        self.waiting: list[Subscribe] = []
        self.user: str | None = None

    @rule(channel=channels, user=st.sampled_from(["1", "2"]), good=st.booleans())
    def subscribe(self, channel: str, user: str, good: bool) -> None:
        """The client asks, with a signature that fits or does not."""
        data = json.dumps({"user_id": user}) if channel.startswith("presence-") else None
        auth = sign_channel(self.policy, SOCKET_ID, channel if good else f"{channel}x", data)
        actions = self.connection.receive(subscribe(channel, auth=auth, channel_data=data), 0)
        asked = channel in self.connection.channels
        may = self.user == "1" if channel.startswith("#") else good or channel == "c"
        if actions:
            assert may
            (action,) = actions
            assert isinstance(action, Subscribe)
            assert (action.member is not None) is channel.startswith("presence-")
            self.waiting.append(action)
        else:
            assert asked or not may

    @rule(index=st.integers(0, 3))
    def confirm(self, index: int) -> None:
        """The hub answers one of those that wait."""
        if index < len(self.waiting):
            action = self.waiting.pop(index)
            members = None if action.member is None else {action.member.user_id: "null"}
            if self.connection.subscribed(action.attempt, SubscriptionSnapshot(members=members)):
                self.members[action.channel] = action.member

    @rule(channel=channels)
    def unsubscribe(self, channel: str) -> None:
        """The client leaves."""
        for action in self.connection.receive(unsubscribe(channel), 0):
            assert action == Unsubscribe(channel)
            self.members.pop(channel, None)

    @rule(channel=channels)
    def whisper(self, channel: str) -> None:
        """The client sends to others."""
        actions = self.connection.receive(client_event(channel, "client-a", {}), 0)
        may = channel in self.members and channel.startswith("pr")
        assert len(actions) == int(may)
        for action in actions:
            assert isinstance(action, ClientEvent)
            member = self.members[channel]
            assert action.user_id == (member.user_id if member else None)

    @rule(user=st.sampled_from(["1", "2"]), good=st.booleans())
    def sign_in(self, user: str, good: bool) -> None:
        """The client says who it is."""
        data = json.dumps({"id": user})
        auth = sign_user(self.policy, SOCKET_ID if good else "1.1", data)
        actions = self.connection.receive(sign_in(data, auth), 0)
        if actions:
            assert good
            assert self.user is None
            self.user = user
        assert (self.connection.user.id if self.connection.user else None) == self.user

    @invariant()
    def nothing_is_said_about_channels_it_is_not_in(self) -> None:
        """Every confirmation is of a channel that the books have."""
        for sent in self.connection.frames_to_send():
            answer = json.loads(sent.text)
            if answer["event"] == "pusher_internal:subscription_succeeded":
                assert answer["channel"] in self.connection.channels
        assert set(self.members) <= set(self.connection.channels)
        assert self.connection.close_code is None


GuardedMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestGuardedMachine = GuardedMachine.TestCase
