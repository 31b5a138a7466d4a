"""Keys of encrypted channels, and what is sealed with them."""

import base64
import json
import sys
from dataclasses import replace

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from broadcasting.applications import Application
from broadcasting.encryption import seal, shared_secret, unseal

# Pusher's own example, computed with other people's tools.
MASTER_KEY = base64.b64decode("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
SECRET = "BEoig3XgBz8zTfKJIjtlKAnEr/S5ffHrbQfZhnIrU6M="
CHANNEL = "private-encrypted-vec"
APP = Application(id="1", key="key", secret="hush-hush", encryption_master_key=MASTER_KEY)


def test_a_channels_key_is_that_of_the_vector() -> None:
    """Each channel and each master key has its own."""
    assert shared_secret(APP, CHANNEL) == base64.b64decode(SECRET)
    other = replace(APP, encryption_master_key=bytes(32))
    keys = {shared_secret(app, name) for app in (APP, other) for name in (CHANNEL, CHANNEL + "2")}
    assert len(keys) == 4


def test_without_a_master_key_the_error_says_how_to_get_one() -> None:
    """It names no secret."""
    app = replace(APP, encryption_master_key=None)
    for call in (lambda: shared_secret(app, CHANNEL), lambda: seal(app, CHANNEL, "{}")):
        with pytest.raises(ImproperlyConfigured, match="openssl rand -base64 32") as caught:
            call()
        for text in (CHANNEL, "application '1'", "ENCRYPTION_MASTER_KEY_BASE64"):
            assert text in str(caught.value)
        assert APP.secret not in str(caught.value)


def test_sealed_data_is_that_of_the_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nonce and box in standard base64, in a JSON object."""
    nonce = base64.b64decode("AAECAwQFBgcICQoLDA0ODxAREhMUFRYX")
    monkeypatch.setattr("secrets.token_bytes", lambda size: nonce)
    assert json.loads(seal(APP, CHANNEL, '{"hello":"world"}')) == {
        "nonce": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX",
        "ciphertext": "VzrsFio+ApvQRrpTDonMSS+wtayqTFiPkZ8TfSvnDVoK",
    }


@given(st.text())
def test_data_opens_with_the_key_of_its_channel_only(data: str) -> None:
    """Any text."""
    sealed = seal(APP, CHANNEL, data)
    assert unseal(APP, CHANNEL, sealed) == data
    assert unseal(APP, CHANNEL + "2", sealed) is None
    assert unseal(replace(APP, encryption_master_key=None), CHANNEL, sealed) is None


@pytest.mark.parametrize(
    "sealed", ["", "{", "[]", "7", '{"nonce":1}', '{"nonce":"","ciphertext":""}']
)
def test_other_text_does_not_open(sealed: str) -> None:
    """Nor does it raise."""
    assert unseal(APP, CHANNEL, sealed) is None


def test_each_call_has_a_new_nonce() -> None:
    """Two boxes with one nonce would reveal their contents."""
    sealed = [json.loads(seal(APP, CHANNEL, "{}")) for _ in range(100)]
    assert len({fields["nonce"] for fields in sealed}) == 100
    assert {len(base64.b64decode(fields["nonce"])) for fields in sealed} == {24}


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PyNaCl is an extra."""
    monkeypatch.setitem(sys.modules, "nacl.secret", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install \"whik\[encrypted\]\""):
        seal(APP, CHANNEL, "{}")
