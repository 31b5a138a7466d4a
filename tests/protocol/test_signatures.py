"""Signatures, by published vectors and round trips."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcasting.protocol.signatures import (
    body_md5,
    request_text,
    sign,
    sign_request,
    verify,
)

KEY = "278d425bdf160c739803"
SECRET = "7ad3773142a6692b25b8"
OTHER_KEY = "whik-key"
OTHER_SECRET = "whik-secret-ż"

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))


class TestVectors:
    """The vectors of Pusher's documents and of its SDKs."""

    def test_the_documented_request(self) -> None:
        """The example of the HTTP API reference."""
        body = b'{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}'
        query = sign_request(KEY, SECRET, "POST", "/apps/3/events", body, 1353088179)
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

    def test_a_query_with_commas(self) -> None:
        """Values are signed as they are after percent-decoding."""
        query = {
            "info": "user_count,subscription_count",
            "filter_by_prefix": "presence-",
            "auth_version": "1.0",
            "auth_timestamp": "1700000000",
            "auth_key": OTHER_KEY,
        }
        text = request_text("GET", "/apps/4242/channels", query)
        assert text == (
            "GET\n/apps/4242/channels\nauth_key=whik-key&auth_timestamp=1700000000"
            "&auth_version=1.0&filter_by_prefix=presence-&info=user_count,subscription_count"
        )
        assert sign(OTHER_SECRET, text) == (
            "e0705e13257c0a04902f6ac96d230213a6b26bdc73c9bbf78ad24f8935c85528"
        )

    def test_the_python_sdks_get(self) -> None:
        """It signs the hash of an empty body, and the path as it wrote it."""
        query = {
            "auth_key": OTHER_KEY,
            "auth_timestamp": "1700000000",
            "auth_version": "1.0",
            "body_md5": "d41d8cd98f00b204e9800998ecf8427e",
            "info": "user_count",
        }
        text = request_text("GET", "/apps/4242/channels/presence-a@b", query)
        assert text == (
            "GET\n/apps/4242/channels/presence-a@b\nauth_key=whik-key&auth_timestamp=1700000000"
            "&auth_version=1.0&body_md5=d41d8cd98f00b204e9800998ecf8427e&info=user_count"
        )
        assert verify(
            OTHER_SECRET, text, "c0a08984531c5939e2e33f7e6eed32ef8ead7f5063b7a4036d76220720dd43b6"
        )

    @pytest.mark.parametrize(
        ("path", "signature"),
        [
            (
                "/apps/4242/users/u-1/terminate_connections",
                "90970772835c6b48ac081de1f2e5d1532f6b589bfffdf39195eda147ec873641",
            ),
            (
                "/users/u-1/terminate_connections",
                "909a5be6cd5049626722d835eb177e98004032bdd91514a8c032e7ca28047c8a",
            ),
        ],
    )
    def test_a_post_with_an_empty_object(self, path: str, signature: str) -> None:
        """The secret is taken as UTF-8; the path decides the signature."""
        query = sign_request(OTHER_KEY, OTHER_SECRET, "POST", path, b"{}", 1700000000)
        assert query["body_md5"] == "99914b932bd37a50b983c5e7c90ae93b"
        assert query["auth_signature"] == signature


class TestRequestText:
    def test_names_are_lowered_and_sorted_and_the_method_raised(self) -> None:
        """The order and the spelling of the query do not matter."""
        assert request_text("post", "/p", {"B": "2", "a": "X"}) == "POST\n/p\na=X&b=2"

    def test_the_signature_itself_is_left_out(self) -> None:
        """However it is spelt."""
        query = {"a": "1", "auth_signature": "x", "AUTH_SIGNATURE": "y"}
        assert request_text("POST", "/p", query) == "POST\n/p\na=1"


class TestVerify:
    @given(secret=st.text(min_size=1), text=ANY_TEXT)
    def test_it_accepts_what_was_signed(self, secret: str, text: str) -> None:
        """Round trip, with any text that a request may hold."""
        assert verify(secret, text, sign(secret, text))

    @given(text=st.text(), other=st.text())
    def test_it_refuses_the_signature_of_another_text(self, text: str, other: str) -> None:
        """A signature fits one text."""
        assert verify(SECRET, text, sign(SECRET, other)) is (text == other)

    @given(text=st.text(), secret=st.text(min_size=1))
    def test_it_refuses_another_secret(self, text: str, secret: str) -> None:
        """Without the secret there is no signature."""
        assert not verify(SECRET, text, sign(f"{SECRET}{secret}", text))

    @given(signature=ANY_TEXT)
    def test_it_refuses_anything_else_without_raising(self, signature: str) -> None:
        """Text that is not ASCII, or not even UTF-8, is a wrong signature."""
        assert not verify(SECRET, "text", signature)

    def test_capitals_are_another_signature(self) -> None:
        """Hex digits are lower-case."""
        assert not verify(SECRET, "text", sign(SECRET, "text").upper())


@given(st.binary())
def test_body_md5_is_the_hex_hash(body: bytes) -> None:
    """Of the raw body, lower-case."""
    assert body_md5(body) == hashlib.md5(body).hexdigest()
