"""Keys of encrypted channels, and what is sealed with them."""

import base64
import json
import sys
from dataclasses import replace

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from broadcasting.applications import Application
from broadcasting.encryption import _seal, seal, shared_secret

# Pusher's own example, computed with other people's tools.
MASTER_KEY = base64.b64decode("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
SECRET = "BEoig3XgBz8zTfKJIjtlKAnEr/S5ffHrbQfZhnIrU6M="
CHANNEL = "private-encrypted-vec"
APP = Application(id="1", key="key", secret="hush-hush", encryption_master_key=MASTER_KEY)


class TestSharedSecret:
    def test_it_is_that_of_the_vector(self) -> None:
        """The hash of the name and the master key, in this order."""
        assert shared_secret(APP, CHANNEL) == base64.b64decode(SECRET)

    def test_each_channel_and_each_master_key_has_its_own(self) -> None:
        """Who may read one channel cannot read another."""
        other = replace(APP, encryption_master_key=bytes(32))
        secrets = {
            shared_secret(APP, CHANNEL),
            shared_secret(APP, CHANNEL + "2"),
            shared_secret(other, CHANNEL),
        }
        assert len(secrets) == 3

    def test_without_a_master_key_the_error_says_how_to_get_one(self) -> None:
        """Channel, application, setting and the command are named; no secret is."""
        app = replace(APP, encryption_master_key=None)
        with pytest.raises(ImproperlyConfigured, match="openssl rand -base64 32") as caught:
            shared_secret(app, CHANNEL)
        assert CHANNEL in str(caught.value)
        assert "application '1'" in str(caught.value)
        assert "ENCRYPTION_MASTER_KEY_BASE64" in str(caught.value)
        assert APP.secret not in str(caught.value)


def unseal(app: Application, channel: str, sealed: str) -> str:
    """Open what `seal` returned, as a subscriber does."""
    fields = json.loads(sealed)
    nonce, ciphertext = (base64.b64decode(fields[name]) for name in ("nonce", "ciphertext"))
    return SecretBox(shared_secret(app, channel)).decrypt(ciphertext, nonce).decode()


class TestSeal:
    def test_it_is_that_of_the_vector(self) -> None:
        """Nonce and box in standard base64, in one JSON object."""
        nonce = base64.b64decode("AAECAwQFBgcICQoLDA0ODxAREhMUFRYX")
        assert json.loads(_seal(base64.b64decode(SECRET), '{"hello":"world"}', nonce)) == {
            "nonce": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX",
            "ciphertext": "VzrsFio+ApvQRrpTDonMSS+wtayqTFiPkZ8TfSvnDVoK",
        }

    @given(st.text())
    def test_it_opens_with_the_channel_s_key_only(self, data: str) -> None:
        """Whatever the text; the key of another channel does not fit."""
        sealed = seal(APP, CHANNEL, data)
        assert unseal(APP, CHANNEL, sealed) == data
        with pytest.raises(CryptoError):
            unseal(APP, CHANNEL + "2", sealed)

    def test_the_nonce_is_a_new_one_each_time(self) -> None:
        """Two boxes under one nonce would betray what is in them."""
        sealed = [json.loads(seal(APP, CHANNEL, "{}")) for _ in range(100)]
        assert len({fields["nonce"] for fields in sealed}) == 100
        assert len({fields["ciphertext"] for fields in sealed}) == 100
        assert {len(base64.b64decode(fields["nonce"])) for fields in sealed} == {24}

    def test_without_a_master_key_it_says_so(self) -> None:
        """As `shared_secret` does; nothing is returned that could be sent."""
        with pytest.raises(ImproperlyConfigured, match="ENCRYPTION_MASTER_KEY_BASE64"):
            seal(replace(APP, encryption_master_key=None), CHANNEL, "{}")

    def test_without_the_package_it_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """PyNaCl is an extra: who has no encrypted channel does without."""
        monkeypatch.setitem(sys.modules, "nacl.secret", None)
        with pytest.raises(ImproperlyConfigured, match=r"pip install \"whik\[encrypted\]\""):
            seal(APP, CHANNEL, "{}")
