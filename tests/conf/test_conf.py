"""When settings are read, and read again."""

import pytest
from django.test import override_settings

from broadcasting.conf import get_settings
from broadcasting.conf.applications import LOCAL_HOSTS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BROADCASTING", {"DEFAULT": "null"}),
        ("SECRET_KEY", "another"),
        ("ALLOWED_HOSTS", ["example.com"]),
        ("CSRF_TRUSTED_ORIGINS", ["https://example.com"]),
        ("SECURE_PROXY_SSL_HEADER", ("HTTP_X_FORWARDED_PROTO", "https")),
    ],
)
def test_overriding_a_setting_that_is_read_resets(name: str, value: object) -> None:
    """Tests of a project may override what they like."""
    before = get_settings()
    with override_settings(**{name: value}):
        assert get_settings() != before
    assert get_settings() == before


def test_overriding_a_setting_behind_a_default_resets() -> None:
    """A default may come from another setting of Django."""
    with override_settings(BROADCASTING={}, ALLOWED_HOSTS=[]):
        assert get_settings().default == "channels"
        assert get_settings().apps[0].allowed_hosts == ()
        with override_settings(CHANNEL_LAYERS={}, DEBUG=True):
            assert get_settings().default == "memory"
            assert get_settings().apps[0].allowed_hosts == LOCAL_HOSTS


def test_overriding_another_setting_does_not_reset() -> None:
    """Settings are read once."""
    before = get_settings()
    with override_settings(LANGUAGE_CODE="ko"):
        assert get_settings() is before
