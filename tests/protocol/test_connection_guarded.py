"""What needs a signature: guarded channels, users, client events; and who may connect."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcasting.protocol.actions import ClientEvent, SignIn, Subscribe
from broadcasting.protocol.errors import TooManyMembers
from broadcasting.protocol.members import Member, User
from broadcasting.protocol.messages import Cached, Frame, Message, SubscriptionSnapshot
from broadcasting.protocol.names import is_guarded
from broadcasting.protocol.signatures import sign_channel, sign_user
from tests.protocol.pair import SOCKET_ID, FakePolicy, Pair
from tests.utils import client_event, decode, frame, subscribe, unsubscribe

ANA = '{"user_id":"1","user_info":{"name":"Ana"}}'


def refused(channel: str, message: str, kind: str = "AuthError", status: int = 401) -> list[Any]:
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


def member_of(pair: Pair, channel: str, channel_data: str | None = None) -> Subscribe:
    """Ask for a guarded channel, and return the action, unanswered."""
    assert pair.ask(channel, channel_data) == []
    action = pair.actions.pop()
    assert isinstance(action, Subscribe)
    return action


class TestAuthorization:
    @pytest.mark.parametrize("way", ["none", "public", "private", "signed in", "left again"])
    def test_connections_may_have_to_be_authorized_in_time(self, way: str) -> None:
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
        pair.connection.tick(pair.clock.advance(4.9))
        assert pair.close_code is None
        pair.connection.tick(pair.clock.advance(0.1))
        assert pair.close_code == (None if way in {"private", "signed in"} else 4009)

    @pytest.mark.parametrize(
        ("channel", "member"),
        [
            *((f"private-{kind}x", None) for kind in ("", "cache-", "encrypted-")),
            ("presence-x", Member("1", '{"name":"Ana"}')),
            ("presence-cache-x", Member("1", '{"name":"Ana"}')),
        ],
    )
    def test_a_valid_signature_opens(self, channel: str, member: Member | None) -> None:
        """For every kind; channel_data is part of the text, on private channels, too."""
        assert Pair().enter(channel, ANA).member == member

    @pytest.mark.parametrize("auth", ["", "app-key:" + "0" * 63, "app-key", ":", "a:b:" + "0" * 64])
    @pytest.mark.parametrize("channel", ["private-x", "presence-cache-x", "private-encrypted-x"])
    def test_without_an_authorization_it_is_refused(self, channel: str, auth: str) -> None:
        """With a 401 that reaches the channel, and a 4009; the client may try again."""
        pair = Pair()
        message = "Invalid format: auth must have the format key:signature"
        assert pair.say(subscribe(channel, auth=auth, channel_data=ANA)) == refused(
            channel, message
        )
        assert (pair.actions, pair.connection.channels, pair.close_code) == ([], [], None)
        pair.enter(channel, ANA)

    @pytest.mark.parametrize("field", ["auth", "channel_data"])
    @pytest.mark.parametrize("value", [1, [], {}, True])
    def test_fields_of_a_wrong_type_are_refused(self, field: str, value: object) -> None:
        """Soketi dies of such frames."""
        data = {"channel": "presence-x", "auth": "a:b", "channel_data": "{}"} | {field: value}
        assert Pair().say(frame("pusher:subscribe", data)) == refused(
            "presence-x", "Invalid format: auth and channel_data must be strings"
        )

    @pytest.mark.parametrize("what", ["socket", "channel", "key", "secret", "kind"])
    def test_a_signature_for_something_else_is_refused(self, what: str) -> None:
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
        message = "Invalid key in subscription auth data" if what == "key" else "Invalid signature"
        assert pair.say(subscribe("private-x", auth=auth)) == refused("private-x", message)

    def test_a_changed_text_is_refused(self) -> None:
        """Also one that means the same: the signature covers the text."""
        pair = Pair()
        auth = sign_channel(pair.policy, SOCKET_ID, "presence-x", ANA)
        for data in (ANA.replace('"1"', '"2"'), ANA.replace(":", ": ")):
            answers = pair.say(subscribe("presence-x", auth=auth, channel_data=data))
            assert answers == refused("presence-x", "Invalid signature")


class TestMembers:
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
        assert (answer["data"]["type"], told["data"]["code"]) == ("AuthError", 4009)
        assert pair.actions == []

    @pytest.mark.parametrize("size", [1024, 1025])
    def test_the_information_on_a_user_is_limited(self, size: int) -> None:
        info = "ż" * ((size - 2) // 2) + "x" * (size % 2)
        answers = Pair().ask("presence-x", json.dumps({"user_id": "1", "user_info": info}))
        too_large = refused("presence-x", "user_info may have 1024 bytes", "LimitReached", 4301)
        assert answers == ([] if size == 1024 else too_large)

    def test_a_full_channel_is_a_limit(self) -> None:
        """Once the hub has found it full; another attempt is possible."""
        pair = Pair()
        action = member_of(pair, "presence-x", ANA)
        pair.connection.refuse(TooManyMembers("The channel may have 1 members"), action.attempt)
        assert [json.loads(f.text) for f in pair.connection.frames_to_send()] == refused(
            "presence-x", "The channel may have 1 members", "LimitReached", 4100
        )
        pair.enter("presence-x", ANA)

    def test_a_signed_in_user_needs_no_channel_data(self) -> None:
        """The member is who signed in; the signature is that of a private channel."""
        pair = Pair()
        assert "needs channel_data" in pair.ask("presence-x")[0]["data"]["error"]
        pair.sign_in('{"id":"u1","user_info":{"name":"Ana"}}')
        assert pair.enter("presence-x").member == Member("u1", '{"name":"Ana"}')
        long = Pair()
        long.sign_in(json.dumps({"id": "x" * 129}))  # Longer than a member's may be.
        assert len(long.ask("presence-x")) == 2


class TestNames:
    @pytest.mark.parametrize("channel", ["", "a b", "x\n", "a:b", "x" * 201, "ż", "\ud800", "a#b"])
    def test_an_invalid_name_is_refused_on_its_channel(self, channel: str) -> None:
        pair = Pair()
        answer, _ = pair.say(subscribe(channel))
        data = answer["data"]
        assert (answer["channel"], data["type"], data["status"]) == (channel, "InvalidName", 400)
        assert pair.actions == []

    @pytest.mark.parametrize(
        ("channel", "is_open"),
        [
            *((name, False) for name in ("#x", "#", "#server-to-user-", "#watch-1", "#control")),
            *(("#server-to-user-1", True), ("#server-to-user-2", False)),
        ],
    )
    def test_reserved_names_are_refused(self, channel: str, is_open: bool) -> None:
        """But that of the signed-in user. Anyone may join that with soketi and Reverb."""
        pair = Pair()
        assert len(pair.ask(channel)) == 2  # A signature opens nothing.
        pair.sign_in('{"id":"1"}')
        pair.actions.clear()
        assert len(pair.say(subscribe(channel, auth=""))) == (0 if is_open else 2)
        assert pair.actions == ([Subscribe(1, channel)] if is_open else [])


class TestSignIn:
    def test_success_repeats_the_very_text(self) -> None:
        """Watched ids that cannot exist, or come twice, are left out."""
        pair = Pair(FakePolicy(watchlist=True))
        text = '{"id": "1", "user_info": {"n": "\\u017c"}, "watchlist": ["2", "2", 3, null, "a b"]}'
        (answer,) = pair.sign_in(text)
        assert answer["event"] == "pusher:signin_success"
        assert json.loads(answer["data"]) == {"user_data": text}
        user = User("1", '{"n":"ż"}', ("2",))
        assert (pair.actions, pair.connection.user) == ([SignIn(user)], user)

    def test_a_connection_has_one_user(self) -> None:
        """The same again is a success without work, another one is refused."""
        pair = Pair()
        auth = sign_user(pair.policy, SOCKET_ID, '{"id":"1"}')
        data = json.dumps({"auth": auth, "user_data": '{"id":"1"}'})  # As Java sends it.
        assert pair.say(frame("pusher:signin", data))[0]["event"] == "pusher:signin_success"
        assert len(pair.sign_in('{"id":"1","user_info":{}}')) == 1
        assert len(pair.actions) == 1
        message = "Another user has signed in on this connection"
        assert pair.sign_in('{"id":"2"}') == error(message, 4009)
        assert (pair.connection.user, pair.close_code) == (User("1"), None)

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
        pair = Pair()
        (answer,) = pair.sign_in(user_data)
        assert answer["data"]["code"] == 4009
        assert (pair.connection.user, pair.actions) == (None, [])

    @pytest.mark.parametrize(
        "data",
        [
            {"auth": "x", "user_data": '{"id":"1"}'},
            {"auth": "app-key:" + "0" * 64, "user_data": '{"id":"1"}'},
            {"auth": 1, "user_data": '{"id":"1"}'},
            {"auth": "x", "user_data": {"id": "1"}},
            {"user_data": '{"id":"1"}'},
            {"auth": "x"},
            {
                "auth": sign_channel(FakePolicy(), SOCKET_ID, "presence-x", '{"id":"1"}'),
                "user_data": '{"id":"1"}',
            },
        ],
    )
    def test_without_a_signature_nobody_signs_in(self, data: object) -> None:
        pair = Pair()
        (answer,) = pair.say(frame("pusher:signin", data))
        assert answer["data"]["code"] == 4009
        assert pair.actions == []

    def test_a_long_watchlist_is_cut(self) -> None:
        """The client is told, and the first hundred are watched."""
        pair = Pair(FakePolicy(watchlist=True))
        ids = [f"u{i}" for i in range(101)]
        success, told = pair.sign_in(json.dumps({"id": "1", "watchlist": ids}))
        assert (success["event"], told["data"]["code"]) == ("pusher:signin_success", 4302)
        assert pair.connection.user is not None
        assert pair.connection.user.watchlist == tuple(ids[:100])


class TestClientEvents:
    @pytest.mark.parametrize(
        ("data", "relayed"),
        [
            *(("", "null"), (',"data":null', "null"), (',"data":"as it is"', "as it is")),
            (',"data":{"ż": [1, null]}', '{"ż":[1,null]}'),
        ],
    )
    def test_its_data_is_relayed_as_text(self, data: str, relayed: str) -> None:
        """Some SDKs need data, and expect text; on private channels no user is named."""
        pair = Pair()
        pair.enter("private-x")
        assert pair.say(f'{{"event":"client-a","channel":"private-x"{data}}}') == []
        assert pair.actions == [ClientEvent("private-x", "client-a", relayed, None)]

    def test_a_presence_member_is_named_by_the_server(self) -> None:
        """Whatever the frame says; other keys are dropped."""
        pair = Pair()
        pair.enter("presence-x", ANA)
        event = json.loads(client_event("presence-x", "client-a", "text"))
        forged = {"user_id": "2", "channels": ["private-y"], "socket_id": "1.1"}
        assert pair.say(json.dumps(event | forged)) == []
        assert pair.actions == [ClientEvent("presence-x", "client-a", "text", "1")]

    @pytest.mark.parametrize(
        ("channel", "state", "message"),
        [
            *(
                (name, "in", "only supported on private")
                for name in ("x", "cache-x", "", "#control")
            ),
            *(("private-x", state, "not subscribed") for state in ("never", "joining", "left")),
            ("private-encrypted-x", "in", "not supported on encrypted"),
            ("private-x", "off", "CLIENT_EVENTS"),
        ],
    )
    def test_where_they_are_refused(self, channel: str, state: str, message: str) -> None:
        """Soketi relays them on public channels. No official client sends any in clear."""
        pair = Pair(FakePolicy(client_events=state != "off"))
        if is_guarded(channel) and state in {"in", "left", "off"}:
            pair.enter(channel)
        if state == "joining":
            pair.ask(channel)
        if state == "left":
            pair.say(unsubscribe(channel))
        pair.actions.clear()
        (answer,) = pair.say(client_event(channel, "client-a", {}))
        assert answer["data"]["code"] is None
        assert message in answer["data"]["message"]
        assert pair.actions == []

    def test_ten_a_second_and_not_one_more(self) -> None:
        """Of one connection; the eleventh is refused and not relayed."""
        pair = Pair()
        pair.enter("private-x")
        for pause, allowed in ((0, 10), (0.1, 1), (100, 10)):
            pair.clock.advance(pause)
            for _ in range(allowed):
                assert pair.say(client_event("private-x", "client-a", {})) == []
            (answer,) = pair.say(client_event("private-x", "client-a", {}))
            assert answer["data"]["code"] == 4301
        assert (len(pair.actions), pair.close_code) == (21, None)

    @pytest.mark.parametrize(("size", "accepted"), [(100, True), (101, False)])
    def test_its_data_is_limited(self, size: int, accepted: bool) -> None:
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
            *(f'{{"event":"client-a","channel":{name}}}' for name in ("null", "1", "[]", "{}")),
            json.dumps({"event": "client-" + "x" * 194, "channel": "private-x", "data": {}}),
        ],
        ids=range(9),
    )
    def test_what_cannot_be_relayed_is_an_error(self, text: str) -> None:
        pair = Pair()
        pair.enter("private-x")
        (answer,) = pair.say(text)
        assert answer["data"]["code"] is None
        assert pair.actions == []

    @given(data=st.recursive(st.none(), lambda inner: st.lists(inner, max_size=1), max_leaves=1))
    def test_nesting_is_survived(self, data: object) -> None:
        pair = Pair(FakePolicy(max_client_event_rate=10_000))
        pair.enter("private-x")
        for depth in (1, 100, 900, 950, 980, 990, 1000, 3000):
            nested = "[" * depth + json.dumps(data) + "]" * depth
            answers = pair.say(f'{{"event":"client-a","channel":"private-x","data":{nested}}}')
            assert len(answers) + len(pair.actions) == 1
            pair.actions.clear()


class TestSnapshots:
    @pytest.mark.parametrize(
        "members",
        [{"1": '{"name":"Ana"}', "2": "null", "__proto__": "[]"}, {"0": "1", "1": "2"}, {}],
    )
    def test_members_are_part_of_the_confirmation(self, members: dict[str, str]) -> None:
        """Each id has a key in the hash. Reverb makes a list of it when the ids are 0, 1, 2."""
        pair = Pair()
        action = member_of(pair, "presence-x", ANA)
        pair.connection.subscribed(action.attempt, SubscriptionSnapshot(members=members))
        (answer,) = pair.connection.frames_to_send()
        infos = {user_id: json.loads(info) for user_id, info in members.items()}
        presence = {"ids": list(members), "hash": infos, "count": len(members)}
        assert decode(answer.text) == {
            "event": "pusher_internal:subscription_succeeded",
            "channel": "presence-x",
            "data": {"presence": presence},
        }

    @pytest.mark.parametrize("channel", ["private-cache-x", "private-encrypted-cache-x"])
    def test_the_last_event_follows_the_confirmation(self, channel: str) -> None:
        pair = Pair()
        action = member_of(pair, channel)
        newer = Frame.of(Message(f"1:{channel}", "e", "new"))
        cached = Cached("e", "ż old", 1, 60)
        pair.connection.subscribed(action.attempt, SubscriptionSnapshot((newer,), cached=cached))
        frames = [json.loads(f.text) for f in pair.connection.frames_to_send()]
        assert [f["data"] for f in frames] == ["{}", "ż old", "new"]
        assert frames[1] == {"event": "e", "channel": channel, "data": "ż old"}

    def test_a_cache_channel_without_an_event_says_so(self) -> None:
        pair = Pair()
        pair.confirm(pair.join("cache-x"))
        assert pair.texts[2:] == ['{"event":"pusher:cache_miss","data":"{}","channel":"cache-x"}']
