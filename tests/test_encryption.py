"""Keys of encrypted channels, and what is sealed with them."""

import base64
from dataclasses import replace

import pytest
from django.core.exceptions import ImproperlyConfigured

from broadcasting.credentials import Application
from broadcasting.encryption import shared_secret

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
