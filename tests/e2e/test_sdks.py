"""
Pusher's own SDKs for Python, Node and browsers, as judges of ours.

What they sign we accept and what we sign is what they sign; what one side seals the
other opens; and every call that they have for a server is answered by a running site.
"""

import base64
import json
import string
import time
from asyncio import to_thread
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl

import pusher
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.secret import SecretBox
from pusher.crypto import encrypt, generate_shared_secret
from pusher.util import validate_user_id

from broadcasting.encryption import seal, shared_secret
from broadcasting.protocol.errors import Unauthorized
from broadcasting.protocol.names import is_channel_name, is_encrypted, is_user_id
from broadcasting.protocol.signatures import (
    check_channel,
    check_user,
    request_text,
    sign,
    sign_channel,
    sign_request,
    sign_user,
    verify,
)
from tests.conftest import RunningServer, RunServer
from tests.e2e.client import Client
from tests.e2e.sdks import APP, MASTER_KEY, Receiver, node_sdk, python_sdk, receiver
from tests.utils import await_until

SETTINGS = "tests.e2e.sdk_settings"

# What is said, in random words.

ALLOWED = string.ascii_letters + string.digits + "_-=@,.;"
NEARLY = st.sampled_from("aZ9_-=@,.;" * 8 + "é٣ #/:\n")
BARE = st.text(ALLOWED, min_size=1, max_size=180)
CHANNELS = st.builds(
    str.__add__, st.sampled_from(["", "private-", "presence-", "private-encrypted-"]), BARE
)
SOCKET_IDS = st.from_regex(r"[0-9]{1,20}\.[0-9]{1,20}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
INFOS = st.none() | st.fixed_dictionaries({"user_id": st.text(min_size=1), "user_info": JSON})


class TestPythonSignatures:
    @given(CHANNELS, SOCKET_IDS, INFOS)
    def test_subscriptions(self, channel: str, socket_id: str, info: Any) -> None:
        """Its answer to a page lets the page in, ours is the same letter for letter."""
        with python_sdk() as sdk:
            answer = sdk.authenticate(channel, socket_id, info)
        data = answer.get("channel_data")
        check_channel(APP, answer["auth"], socket_id, channel, data)
        assert sign_channel(APP, socket_id, channel, data) == answer["auth"]
        with pytest.raises(Unauthorized):
            check_channel(APP, answer["auth"], socket_id + "1", channel, data)
        if is_encrypted(channel):
            assert answer["shared_secret"] == base64.b64encode(shared_secret(APP, channel))

    @given(SOCKET_IDS, st.fixed_dictionaries({"id": BARE, "x": JSON}))
    def test_users(self, socket_id: str, user: dict[str, Any]) -> None:
        """Its answer signs a user in, ours is the same."""
        with python_sdk() as sdk:
            answer = sdk.authenticate_user(socket_id, user)
        check_user(APP, answer["auth"], socket_id, answer["user_data"])
        assert sign_user(APP, socket_id, answer["user_data"]) == answer["auth"]

    @given(st.text(NEARLY, max_size=4) | st.text(NEARLY, min_size=199, max_size=201))
    def test_names(self, name: str) -> None:
        """What it takes for the name of a channel or the id of a user we do, and nothing else."""
        with python_sdk() as sdk:
            assert _accepts(lambda: sdk.authenticate(name, "5.7")) == is_channel_name(name)
        assert _accepts(lambda: validate_user_id(name)) == is_user_id(name)

    @given(TEXTS, BARE, SOCKET_IDS)
    def test_requests(self, data: str, name: str, socket_id: str) -> None:
        """Its requests carry the signature that we would have given them."""
        with python_sdk() as sdk:
            part = sdk._pusher_client
            requests = [
                part.trigger.make_request([name, "b"], "Né w", data, socket_id),
                part.channels_info.make_request(name, ["user_count", "subscription_count"]),
                part.users_info.make_request(name),
                part.terminate_user_connections.make_request(name),
            ]
        for request in requests:
            query = dict(request.query_params)
            timestamp = int(query["auth_timestamp"])
            own = {
                key: value
                for key, value in query.items()
                if not key.startswith("auth_") and key != "body_md5"
            }
            ours = sign_request(APP, request.method, request.path, request.body, timestamp, own)
            assert ours == query

    @given(st.dictionaries(TEXTS, JSON))
    def test_webhooks(self, fields: dict[str, Any]) -> None:
        """A body that we sign it takes, and no other."""
        with python_sdk() as sdk:
            body = json.dumps({**fields, "time_ms": _now_ms(), "events": []}, ensure_ascii=False)
            signature = sign(APP.secret, body)
            assert sdk.validate_webhook(APP.key, signature, body) == json.loads(body)
            assert sdk.validate_webhook(APP.key, signature, body + " ") is None


class TestPythonEncryption:
    @given(BARE, TEXTS)
    def test_it_opens_what_we_seal(self, bare: str, text: str) -> None:
        """With the key that it gives to pages."""
        channel = f"private-encrypted-{bare}"
        secret = generate_shared_secret(channel.encode(), base64.b64decode(MASTER_KEY))
        assert _open(secret, seal(APP, channel, text)) == text

    @given(BARE, TEXTS, st.binary(min_size=24, max_size=24))
    def test_it_seals_alike(self, bare: str, text: str, nonce: bytes) -> None:
        """With one nonce, both make the same box."""
        channel = f"private-encrypted-{bare}"
        theirs = encrypt(channel, text, base64.b64decode(MASTER_KEY), nonce)
        with patch("secrets.token_bytes", return_value=nonce):
            assert json.loads(seal(APP, channel, text)) == theirs
        assert _open(shared_secret(APP, channel), json.dumps(theirs)) == text


class TestNodeSignatures:
    def test_subscriptions_and_users(self) -> None:
        """Its answers let a page in and sign a user in; ours are the same."""
        names = ["private-a@b=c,d.e;f", "presence-x", "private-encrypted-vec"]
        info = {"user_id": "é", "user_info": {"n": "żółw \U0001f422"}}
        user = {"id": "u-1", "watchlist": ["u-2"], "n": "휙"}
        *answers, signed_in = node_sdk(
            *(
                ("authorizeChannel", "5.7", name, *([info] if "presence" in name else []))
                for name in names
            ),
            ("authenticateUser", "5.7", user),
        )
        for name, answer in zip(names, answers, strict=True):
            data = answer.get("channel_data")
            check_channel(APP, answer["auth"], "5.7", name, data)
            assert sign_channel(APP, "5.7", name, data) == answer["auth"]
        assert base64.b64decode(answers[2]["shared_secret"]) == shared_secret(APP, names[2])
        check_user(APP, signed_in["auth"], "5.7", signed_in["user_data"])
        assert json.loads(signed_in["user_data"]) == user

    def test_requests(self) -> None:
        """Its requests carry a signature that we accept; without a body there is no hash of one."""
        path = f"/apps/{APP.id}/channels"
        (query,) = node_sdk(
            ("signed", {"method": "GET", "path": path, "params": {"info": "user_count,cache"}})
        )
        parameters = dict(parse_qsl(query, keep_blank_values=True))
        assert "body_md5" not in parameters
        text = request_text("GET", path, parameters)
        assert verify(APP.secrets, text, parameters["auth_signature"])

    def test_webhooks(self) -> None:
        """A body that we sign it takes, and no other."""
        body = json.dumps({"time_ms": _now_ms(), "events": [{"name": "x", "user_id": "é"}]})
        headers = {
            "x-pusher-key": APP.key,
            "x-pusher-signature": sign(APP.secret, body),
            "content-type": "application/json",
        }
        good, altered = node_sdk(("webhook", headers, body), ("webhook", headers, body + " "))
        assert good == {"isValid": True, "events": [{"name": "x", "user_id": "é"}]}
        assert not altered["isValid"]


@pytest.fixture(scope="module")
def hooks() -> Iterator[Receiver]:
    """Return where the site posts its webhooks."""
    with receiver() as hooks:
        yield hooks


@pytest.fixture(scope="module")
def site(module_runserver: RunServer, hooks: Receiver) -> RunningServer:
    """Return a running site that the calls of this module share."""
    return module_runserver("memory", DJANGO_SETTINGS_MODULE=SETTINGS, WEBHOOK_URL=hooks.url)


@pytest.fixture
def sdk(site: RunningServer) -> Iterator[pusher.Pusher]:
    """Return Pusher's SDK for Python, towards the site."""
    with python_sdk(site.port) as sdk:
        yield sdk


async def client(site: RunningServer) -> Client:
    """Return a new connection to `site`."""
    return await Client.open(site.port, APP)


class TestPythonCalls:
    """Each call of Pusher's SDK for Python."""

    async def test_trigger(self, site: RunningServer, sdk: pusher.Pusher) -> None:
        """One channel or several, and all sockets but the one that is left out."""
        async with await client(site) as one, await client(site) as other:
            for page in (one, other):
                await page.join("py-a")
            await other.join("private-py-b")
            assert await to_thread(sdk.trigger, "py-a", "Né w", {"x": ["휙", 1.5, None]}) == {}
            names = ["py-a", "private-py-b", "py-c"]
            assert await to_thread(sdk.trigger, names, "two", "text") == {}
            await to_thread(sdk.trigger, "py-a", "not to one", {}, one.socket_id)
            await to_thread(sdk.trigger, "py-a", "last", {})
            first = [("py-a", "Né w", {"x": ["휙", 1.5, None]}), ("py-a", "two", "text")]
            assert await one.events(3) == [*first, ("py-a", "last", {})]
            assert sorted(await other.events(5), key=lambda event: event[1] == "two") == [
                first[0],
                ("py-a", "not to one", {}),
                ("py-a", "last", {}),
                first[1],
                ("private-py-b", "two", "text"),
            ]

    async def test_trigger_batch(self, site: RunningServer, sdk: pusher.Pusher) -> None:
        """Ten events in their order, the encrypted one sealed."""
        secret_channel = "private-encrypted-py-batch"
        async with await client(site) as page:
            await page.join("py-batch")
            await page.join(secret_channel)
            batch = [{"channel": "py-batch", "name": f"e{n}", "data": {"n": n}} for n in range(9)]
            sealed = {"channel": secret_channel, "name": "sealed", "data": {"pin": "휙"}}
            assert await to_thread(sdk.trigger_batch, [*batch, sealed]) == {}
            *plain, (channel, name, data) = await page.events(10)
            assert plain == [("py-batch", f"e{n}", {"n": n}) for n in range(9)]
            assert (channel, name) == (secret_channel, "sealed")
            assert json.loads(_open(shared_secret(APP, channel), json.dumps(data))) == {"pin": "휙"}

    async def test_questions(self, site: RunningServer, sdk: pusher.Pusher) -> None:
        """Channels, one channel and its users, as they are at that moment."""
        async with await client(site) as one, await client(site) as other:
            await one.join("presence-py-room", "1")
            await other.join("presence-py-room", "2")
            await one.join("py-q")
            known = await to_thread(sdk.channels_info, "presence-py-", ["user_count"])
            assert known == {"channels": {"presence-py-room": {"user_count": 2}}}
            known = await to_thread(sdk.channels_info, "py-q", ["subscription_count"])
            assert known == {"channels": {"py-q": {"subscription_count": 1}}}
            assert set((await to_thread(sdk.channels_info))["channels"]) >= {
                "presence-py-room",
                "py-q",
            }
            attributes = ["user_count", "subscription_count"]
            assert await to_thread(sdk.channel_info, "presence-py-room", attributes) == {
                "occupied": True,
                "user_count": 2,
                "subscription_count": 2,
            }
            assert await to_thread(sdk.channel_info, "py-nobody") == {"occupied": False}
            users = (await to_thread(sdk.users_info, "presence-py-room"))["users"]
            assert sorted(user["id"] for user in users) == ["1", "2"]

    async def test_terminate_user_connections(
        self, site: RunningServer, sdk: pusher.Pusher
    ) -> None:
        """It asks below /users/ and names no application; the key says which is meant."""
        async with await client(site) as one, await client(site) as other:
            await one.sign_in("py-1")
            await other.sign_in("py-2")
            assert await to_thread(sdk.terminate_user_connections, "py-1") == {}
            assert await one.close_code() == 4009
            await other.join("py-still-there")

    async def test_refusals(self, site: RunningServer, sdk: pusher.Pusher) -> None:
        """Each arrives as the SDK's own exception, with a reason."""
        attributes = ["user_count"]
        with pytest.raises(pusher.errors.PusherBadRequest, match="presence"):
            await to_thread(sdk.channels_info, "py-", attributes)
        with pytest.raises(pusher.errors.PusherBadRequest, match="presence"):
            await to_thread(sdk.users_info, "py-q")
        with pytest.raises(pusher.errors.PusherBadStatus, match=r"413.*10240"):
            await to_thread(sdk.trigger, "py-a", "big", "x" * 10_241)
        assert await to_thread(sdk.trigger, "py-a", "fits", "x" * 10_240) == {}
        sdk._pusher_client._secret = "wrong"
        with pytest.raises(pusher.errors.PusherBadAuth):
            await to_thread(sdk.trigger, "py-a", "forged", {})


class TestNodeCalls:
    """Each call of Pusher's SDK for Node."""

    async def test_writing(self, site: RunningServer) -> None:
        """One channel or several, a batch and a user, whose sockets it closes."""
        room, sealed = "presence-js-room", "private-encrypted-js"
        async with await client(site) as page, await client(site) as other:
            await page.join("js-a")
            await page.join(room, "1")
            await page.join(sealed)
            await page.sign_in("js-1")
            await other.join("js-a")
            outcomes = await to_thread(
                node_sdk,
                ("trigger", "js-a", "Né w", {"x": "휙"}),
                (
                    "trigger",
                    ["js-a", room],
                    "with info",
                    "text",
                    {"socket_id": page.socket_id, "info": "subscription_count,user_count"},
                ),
                (
                    "triggerBatch",
                    [
                        {"channel": "js-a", "name": "b1", "data": 1, "info": "subscription_count"},
                        {"channel": sealed, "name": "b2", "data": {"pin": 1234}},
                        {"channel": room, "name": "b3", "data": [], "info": "user_count"},
                    ],
                ),
                ("sendToUser", "js-1", "to you", {"x": 1}),
                ("trigger", sealed, "sealed", {"pin": 5678}),
                port=site.port,
            )
            assert [outcome["status"] for outcome in outcomes] == [200] * 5, outcomes
            bodies = [json.loads(outcome["body"]) for outcome in outcomes]
            assert bodies[0] == bodies[3] == bodies[4] == {}
            assert bodies[1] == {
                "channels": {
                    "js-a": {"subscription_count": 2},
                    room: {"user_count": 1, "subscription_count": 1},
                }
            }
            assert bodies[2] == {"batch": [{"subscription_count": 2}, {}, {"user_count": 1}]}
            events = {name: (channel, data) for channel, name, data in await page.events(6)}
            secret = shared_secret(APP, sealed)
            for name, pin in {"b2": 1234, "sealed": 5678}.items():
                channel, data = events.pop(name)
                assert channel == sealed
                assert json.loads(_open(secret, json.dumps(data))) == {"pin": pin}
            assert events == {
                "Né w": ("js-a", {"x": "휙"}),
                "b1": ("js-a", 1),
                "b3": (room, []),
                "to you": ("#server-to-user-js-1", {"x": 1}),
            }
            assert [name for _, name, _ in await other.events(3)] == ["Né w", "with info", "b1"]
            (outcome,) = await to_thread(
                node_sdk, ("terminateUserConnections", "js-1"), port=site.port
            )
            assert outcome == {"status": 200, "body": "{}"}
            assert await page.close_code() == 4009
            assert other.is_open

    async def test_questions(self, site: RunningServer) -> None:
        """By its `get`, which sends no hash of the body that is not there."""
        async with await client(site) as page:
            await page.join("presence-jsq@a=b", "1")
            await page.join("cache-jsq")
            prefix = {"filter_by_prefix": "presence-jsq", "info": "user_count,subscription_count"}
            outcomes = await to_thread(
                node_sdk,
                ("trigger", "cache-jsq", "kept", {"x": 1}),
                ("get", {"path": "/channels", "params": prefix}),
                ("get", {"path": "/channels/presence-jsq@a=b", "params": {"info": "user_count"}}),
                ("get", {"path": "/channels/presence-jsq@a=b/users"}),
                ("get", {"path": "/channels/cache-jsq", "params": {"info": "cache"}}),
                ("get", {"path": "/channels/jsq/users"}),
                ("get", {"path": "/nothing"}),
                port=site.port,
            )
            *answers, refused, unknown = outcomes[1:]
            counts = {"user_count": 1, "subscription_count": 1}
            bodies = [json.loads(answer["body"]) for answer in answers]
            assert bodies[:3] == [
                {"channels": {"presence-jsq@a=b": counts}},
                {"occupied": True, "user_count": 1},
                {"users": [{"id": "1"}]},
            ]
            assert bodies[3]["cache"]["data"] == '{"x":1}'
            assert (refused["status"], unknown["status"]) == (400, 404)
            assert "presence" in refused["body"]


async def test_webhooks_are_taken_by_both(site: RunningServer, hooks: Receiver) -> None:
    """What a server reports of a visit carries a signature that both SDKs verify."""

    def names() -> list[tuple[str, str | None]]:
        events = [event for event in hooks.events if event["channel"] == "presence-hooks"]
        return [(event["name"], event.get("user_id")) for event in events]

    async with await client(site) as page:
        await page.join("presence-hooks", "a@b")
        await await_until(lambda: len(names()) == 2, what="two events")
    await await_until(lambda: len(names()) == 4, what="four events")
    assert {*names()[:2]} == {("channel_occupied", None), ("member_added", "a@b")}
    assert {*names()[2:]} == {("channel_vacated", None), ("member_removed", "a@b")}
    requests = list(hooks.requests)
    with python_sdk() as sdk:
        for headers, body in requests:
            key, signature = headers["x-pusher-key"], headers["x-pusher-signature"]
            assert sdk.validate_webhook(key, signature, body) == json.loads(body)
    for answer, (_, body) in zip(
        node_sdk(*(("webhook", *request) for request in requests)), requests, strict=True
    ):
        assert answer == {"isValid": True, "events": json.loads(body)["events"]}


def _accepts(call: Callable[[], object]) -> bool:
    try:
        call()
    except ValueError:
        return False
    return True


def _open(secret: bytes, sealed: str) -> str:
    fields = json.loads(sealed)
    nonce, box = (base64.b64decode(fields[name]) for name in ("nonce", "ciphertext"))
    return SecretBox(secret).decrypt(box, nonce).decode()


def _now_ms() -> int:
    return int(time.time() * 1000)
