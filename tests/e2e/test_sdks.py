"""
Pusher's own SDKs for Python, Node and browsers, as judges of ours.

What they sign we accept and what we sign is what they sign; what one side seals the
other opens; and every call that they have for a server is answered by a running site.
"""

import base64
import json
import string
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.secret import SecretBox
from pusher.crypto import encrypt, generate_shared_secret
from pusher.util import validate_user_id

from broadcasting.encryption import _seal, seal, shared_secret
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

from .sdks import APP, MASTER_KEY, node_sdk, python_sdk

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
        assert json.loads(_seal(shared_secret(APP, channel), text, nonce)) == theirs
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
