"""What the doctor makes of a proxy and of the site's origins."""

from typing import Any

import pytest
from pytest_django import Settings

from broadcasting.conf import get_settings
from broadcasting.diagnostics.site import diagnose_proxy, likely_origin


def test_proxy_that_speaks_tls_must_say_so(settings: Settings) -> None:
    """Without the setting a warning, with it the header's name, over plain HTTP nothing."""
    (warning,) = diagnose_proxy(get_settings(), "https://www.example.com")
    assert warning.level == "warning"
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    (ok,) = diagnose_proxy(get_settings(), "https://www.example.com")
    assert "x-forwarded-proto: https" in ok.text
    assert diagnose_proxy(get_settings(), "http://www.example.com") == []


@pytest.mark.parametrize(
    ("app", "hosts", "expected"),
    [
        (
            {"ALLOWED_ORIGINS": ["https://*.a.example", "https://b.example"]},
            [],
            "https://b.example",
        ),
        ({}, ["127.0.0.1"], "http://127.0.0.1:8000"),
        ({}, [".c.example", "d.example"], "http://d.example"),
        ({}, ["*"], "http://127.0.0.1:8000"),
    ],
)
def test_origin_is_that_of_the_sites_pages(
    app: dict[str, Any], hosts: list[str], expected: str, settings: Settings
) -> None:
    """As far as the settings tell it."""
    settings.ALLOWED_HOSTS = hosts
    settings.BROADCASTING = {"APPS": [app]}
    assert likely_origin(get_settings().apps[0], "http://127.0.0.1:8000") == expected
