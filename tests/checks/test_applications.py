"""Secrets and origins of applications."""

import base64
from typing import Any

import pytest

from broadcasting.checks.applications import check_origins, check_secrets
from tests.checks.reported import ids, reported

GOOD = "f3b1c0d29a8e4756f3b1"
APP: dict[str, Any] = {"ID": "1", "KEY": "shop", "SECRET": GOOD}
OTHER: dict[str, Any] = {**APP, "ID": "2", "KEY": "x"}
KEY = base64.b64encode(bytes(range(0, 256, 8))).decode()
TYPED_KEY = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


def secrets(*apps: dict[str, Any], **more: Any) -> list[str]:
    """Return what is reported of the secrets of these applications."""
    return reported(check_secrets, BROADCASTING={"APPS": apps, **more})


def origins(*apps: dict[str, Any], **more: Any) -> list[str]:
    """Return what is reported of the origins of these applications."""
    return reported(check_origins, BROADCASTING={"APPS": apps}, **more)


@pytest.mark.parametrize("broadcasting", [None, ["APPS"], {"APPS": [{"SECRET": "x"}]}])
def test_settings_that_make_no_sense_are_left_to_their_own_check(broadcasting: object) -> None:
    """No check ends in a traceback."""
    assert ids(check_secrets, BROADCASTING=broadcasting) == []
    assert ids(check_origins, BROADCASTING=broadcasting) == []


@pytest.mark.parametrize(
    "secret",
    ["7ad3773142a6692b25b8", "secret", "Secret", "app-secret", "…", f"django-insecure-{GOOD}"],
)
def test_e004_a_secret_that_everybody_knows(secret: str) -> None:
    """Wherever it is written down; it is not repeated."""
    app = 'BROADCASTING["APPS"][1]'
    for place, found in {
        f'{app}["SECRET"]': secrets(APP, {**OTHER, "SECRET": secret}),
        f'{app}["SECRET_FALLBACKS"][1]': secrets(
            APP, {**OTHER, "SECRET_FALLBACKS": [GOOD, secret]}
        ),
        'BROADCASTING["SERVER"]["METRICS_TOKEN"]': secrets(APP, SERVER={"METRICS_TOKEN": "secret"}),
    }.items():
        (error,) = found
        assert error.startswith(f"E004 {place} is a sample")
        assert f"{secret!r}" not in error


@pytest.mark.parametrize("key", [f"django-insecure-{GOOD}", f"insecure-{GOOD}"])
@pytest.mark.parametrize("broadcasting", [{}, {"APPS": [{}]}, {"APPS": [{"CLIENT_EVENTS": True}]}])
def test_e004_a_secret_that_is_derived_from_a_known_key(
    broadcasting: dict[str, Any], key: str
) -> None:
    """The key is named; if the application has a secret of its own, the key does not matter."""
    (error,) = reported(check_secrets, BROADCASTING=broadcasting, SECRET_KEY=key)
    assert error.startswith("E004 SECRET_KEY is a sample")
    assert key not in error
    assert ids(check_secrets, BROADCASTING={"APPS": [APP]}, SECRET_KEY=key) == []


@pytest.mark.parametrize("secret", ["f3b1c0d29a8e475", "abababababababababababab", "x"])
def test_w013_a_secret_that_can_be_guessed(secret: str) -> None:
    """Too short, or of too few characters. Django checks the length of SECRET_KEY."""
    (warning,) = secrets({**APP, "SECRET": secret})
    count = f"{len(secret)} characters, {len(set(secret))} of them different"
    assert warning.startswith(f'W013 BROADCASTING["APPS"][0]["SECRET"] has {count}')
    assert ids(check_secrets, BROADCASTING={}, SECRET_KEY=secret) == []


def test_w013_a_master_key_that_was_typed() -> None:
    """Text has fewer different bytes than 32 that were drawn."""
    (warning,) = secrets({**APP, "ENCRYPTION_MASTER_KEY_BASE64": TYPED_KEY})
    assert warning.startswith("W013 ")
    assert "only 16 differ" in warning
    assert secrets({**APP, "ENCRYPTION_MASTER_KEY_BASE64": KEY}) == []


def test_an_application_that_is_disabled_passes() -> None:
    """Nobody is let in by its secret."""
    bad = {
        **APP,
        "SECRET": "secret",
        "SECRET_FALLBACKS": ["x"],
        "ALLOWED_ORIGINS": ["*"],
        "ENCRYPTION_MASTER_KEY_BASE64": TYPED_KEY,
        "ENABLED": False,
    }
    assert secrets(bad) == origins(bad) == []


def test_w014_origins_or_hosts_that_admit_everyone() -> None:
    """An application without origins of its own admits the pages of all hosts of the site."""
    app = {**OTHER, "ALLOWED_ORIGINS": ["https://shop.example", "*"]}
    (warning,) = origins(APP, app)
    assert warning.startswith('W014 BROADCASTING["APPS"][1]["ALLOWED_ORIGINS"] has \'*\'')
    (warning,) = origins(APP, ALLOWED_HOSTS=["*"])
    assert warning.startswith("W014 ALLOWED_HOSTS")
    own = {**APP, "ALLOWED_ORIGINS": ["https://*.shop.example"]}
    assert origins(own, ALLOWED_HOSTS=["*"]) == origins(APP) == []
