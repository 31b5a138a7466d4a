"""Signatures, by published vectors and round trips."""

import hashlib
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcasting.protocol.errors import Unauthorized
from broadcasting.protocol.signatures import (
    body_md5,
    check_channel,
    check_user,
    request_text,
    sign,
    sign_channel,
    sign_request,
    sign_user,
    verify,
)

KEY = "278d425bdf160c739803"
SECRET = "7ad3773142a6692b25b8"
OTHER_KEY = "whik-key"
OTHER_SECRET = "whik-secret-ż"


@dataclass(frozen=True)
class App:
    """Who signs."""

    key: str
    secrets: tuple[str, ...]


ONE = App(KEY, (SECRET,))
OTHER = App(OTHER_KEY, (OTHER_SECRET,))

SUBSCRIPTIONS_OF_ONE = [
    (
        *("private-foobar", None),
        "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4",
    ),
    (
        *("presence-foobar", '{"user_id":10,"user_info":{"name":"Mr. Channels"}}'),
        "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80",
    ),
    (
        *("presence-foobar", '{"user_id":10,"user_info":{"name":"Mr. Pusher"}}'),
        "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c",
    ),
]
SUBSCRIPTIONS_OF_OTHER = [
    (
        *("private-encrypted-a@b=c,d.e;f", None),
        "36f6cce232214ccd6f4a618deb963f0b029ee74983149c68e3f78935888388ee",
    ),
    (
        *("presence-x", r'{"user_id": "\u00e9", "user_info": {"n": "żółw"}}'),
        "cffaae33fb438f0a52b12ef185ece3d3da8de1bb6ad10e8a530f69aa3462d931",
    ),
]

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))


class TestVectors:
    """The vectors of Pusher's documents and of its SDKs."""

    def test_the_documented_request(self) -> None:
        body = b'{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}'
        query = sign_request(ONE, "POST", "/apps/3/events", body, 1353088179)
        assert query == {
            "auth_key": KEY,
            "auth_timestamp": "1353088179",
            "auth_version": "1.0",
            "body_md5": "ec365a775a4cd0599faeb73354201b6f",
            "auth_signature": "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c",
        }
        assert request_text("POST", "/apps/3/events", query) == (
            "POST\n/apps/3/events\n"
            "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0"
            "&body_md5=ec365a775a4cd0599faeb73354201b6f"
        )

    @pytest.mark.parametrize(
        ("path", "signature"),
        [
            ("/apps/4242", "90970772835c6b48ac081de1f2e5d1532f6b589bfffdf39195eda147ec873641"),
            ("", "909a5be6cd5049626722d835eb177e98004032bdd91514a8c032e7ca28047c8a"),
        ],
    )
    def test_a_post_with_an_empty_object(self, path: str, signature: str) -> None:
        path += "/users/u-1/terminate_connections"
        query = sign_request(OTHER, "POST", path, b"{}", 1700000000)
        assert query["body_md5"] == "99914b932bd37a50b983c5e7c90ae93b"
        assert query["auth_signature"] == signature

    @pytest.mark.parametrize(
        ("app", "channel", "channel_data", "signature"),
        [
            *((ONE, *vector) for vector in SUBSCRIPTIONS_OF_ONE),
            *((OTHER, *vector) for vector in SUBSCRIPTIONS_OF_OTHER),
        ],
    )
    def test_a_subscription(
        self, app: App, channel: str, channel_data: str | None, signature: str
    ) -> None:
        socket_id = "1234.1234" if app is ONE else "5.7"
        auth = sign_channel(app, socket_id, channel, channel_data)
        assert auth == f"{app.key}:{signature}"
        check_channel(app, auth, socket_id, channel, channel_data)

    @pytest.mark.parametrize(
        ("app", "socket_id", "user_data", "signature"),
        [
            (
                *(ONE, "1234.1234", '{"id":"12345"}'),
                "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba",
            ),
            (
                *(OTHER, "5.7", '{"id": "u-1", "watchlist": ["u-2"]}'),
                "d53ee11a0642c76ed6c18f6b71f7f4ab7d3fcdd790c99d9642b1e8c95278ccba",
            ),
        ],
    )
    def test_a_user(self, app: App, socket_id: str, user_data: str, signature: str) -> None:
        auth = sign_user(app, socket_id, user_data)
        assert auth == f"{app.key}:{signature}"
        check_user(app, auth, socket_id, user_data)

    def test_a_webhook(self) -> None:
        body = (
            '{"time_ms":1700000000123,"events":'
            '[{"name":"member_added","channel":"presence-x","user_id":"é"}]}'
        )
        assert sign(OTHER_SECRET, body) == (
            "6e195af7dcecdb73e3c50b76e6c0b9778b8fc67935049f5c8ae9b75262414ba3"
        )


SOCKET_IDS = st.from_regex(r"[0-9]{1,20}\.[0-9]{1,20}", fullmatch=True)
CHANNELS = st.from_regex(r"[A-Za-z0-9_\-=@,.;]{1,20}", fullmatch=True)


class TestAuth:
    @pytest.mark.parametrize(
        "auth",
        [
            *("", ":", KEY, f"{KEY}:", f"{KEY}:" + "0" * 63, f"{KEY}:" + "0" * 65),
            *(f"{KEY}:" + "0" * 64 + "\n", f"{KEY}:" + "٠" * 64, f"x:{KEY}:" + "0" * 64),
            "\ud800:" + "0" * 64,
        ],
    )
    def test_anything_else_is_refused_without_raising_something_else(self, auth: str) -> None:
        with pytest.raises(Unauthorized):
            check_channel(ONE, auth, "1.1", "private-a", None)

    def test_the_key_counts(self) -> None:
        """A right signature after another key is refused: Reverb looks at neither key."""
        _, signature = sign_channel(ONE, "1.1", "private-a").split(":")
        with pytest.raises(Unauthorized, match="Invalid key"):
            check_channel(ONE, f"{OTHER_KEY}:{signature}", "1.1", "private-a", None)

    def test_a_retired_secret_still_counts_and_never_signs(self) -> None:
        both = App(KEY, ("new", SECRET))
        check_channel(both, sign_channel(ONE, "1.1", "private-a"), "1.1", "private-a", None)
        assert sign_channel(both, "1.1", "private-a") == f"{KEY}:{sign('new', '1.1:private-a')}"
        check_user(both, sign_user(ONE, "1.1", "{}"), "1.1", "{}")

    @given(
        one=st.tuples(SOCKET_IDS, CHANNELS, st.none() | st.text()),
        other=st.tuples(SOCKET_IDS, CHANNELS, st.none() | st.text()),
    )
    def test_no_two_subscriptions_share_a_signature(
        self, one: tuple[str, str, str | None], other: tuple[str, str, str | None]
    ) -> None:
        assert (sign_channel(ONE, *one) == sign_channel(ONE, *other)) is (one == other)

    @given(SOCKET_IDS, CHANNELS, st.none() | st.text(), SOCKET_IDS, st.text())
    def test_a_user_is_no_subscription(
        self, socket_id: str, channel: str, channel_data: str | None, other: str, user_data: str
    ) -> None:
        auth = sign_channel(ONE, socket_id, channel, channel_data)
        with pytest.raises(Unauthorized):
            check_user(ONE, auth, other, user_data)


def test_a_request_is_signed_without_its_signature() -> None:
    query = {"B": "2", "a": "X", "auth_signature": "x", "AUTH_SIGNATURE": "y"}
    assert request_text("post", "/p", query) == "POST\n/p\na=X&b=2"


@given(secret=st.text(min_size=1), text=ANY_TEXT, other=ANY_TEXT, signature=ANY_TEXT)
def test_only_the_signature_of_the_text_is_verified(
    secret: str, text: str, other: str, signature: str
) -> None:
    signed = sign(secret, text)
    assert verify(["", secret], text, signed)
    assert verify([secret], other, signed) is (text == other)
    assert not verify([f"{secret}2"], text, signed)
    assert not verify([secret], text, signature)
    assert verify([secret], text, signed.upper()) is (signed == signed.upper())


@given(st.binary())
def test_body_md5_is_the_hex_hash(body: bytes) -> None:
    assert body_md5(body) == hashlib.md5(body).hexdigest()
