"""What is reported of secrets and origins."""

import base64
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.test import override_settings

from broadcasting.checks.applications import check_origins, check_secrets

GOOD = "f3b1c0d29a8e4756f3b1"
APP: dict[str, Any] = {"ID": "1", "KEY": "shop", "SECRET": GOOD}
KEY = base64.b64encode(bytes(range(0, 256, 8))).decode()
TYPED_KEY = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


def secrets(*apps: dict[str, Any], **more: Any) -> list[CheckMessage]:
    """Return what is said of the secrets of these applications."""
    with override_settings(BROADCASTING={"APPS": apps, **more}):
        return check_secrets(None)


def origins(*apps: dict[str, Any]) -> list[CheckMessage]:
    """Return what is said of the origins of these applications."""
    with override_settings(BROADCASTING={"APPS": apps}):
        return check_origins(None)


@pytest.mark.parametrize("broadcasting", [None, ["APPS"]])
def test_setting_that_is_no_dictionary_is_left_to_its_own_check(broadcasting: object) -> None:
    """No check ends in a traceback."""
    with override_settings(BROADCASTING=broadcasting):
        assert check_secrets(None) == check_origins(None) == []


@pytest.mark.parametrize(
    "secret",
    ["7ad3773142a6692b25b8", "secret", "Secret", "app-secret", "…", f"django-insecure-{GOOD}"],
)
def test_e004_a_secret_that_everybody_knows(secret: str) -> None:
    """Wherever it is written down; it is not repeated."""
    expected = {
        'BROADCASTING["APPS"][1]["SECRET"]': {**APP, "ID": "2", "KEY": "x", "SECRET": secret},
        'BROADCASTING["APPS"][1]["SECRET_FALLBACKS"][1]': {
            **APP,
            "ID": "2",
            "KEY": "x",
            "SECRET_FALLBACKS": [GOOD, secret],
        },
    }
    for place, app in expected.items():
        (error,) = secrets(APP, app)
        assert error.id == "broadcasting.E004"
        assert error.msg.startswith(f"{place} is a sample")
        assert f"{secret!r}" not in f"{error.msg}{error.hint}"
    (error,) = secrets(APP, SERVER={"METRICS_TOKEN": "secret"})
    assert error.msg.startswith('BROADCASTING["SERVER"]["METRICS_TOKEN"] is a sample')


@pytest.mark.parametrize("key", [f"django-insecure-{GOOD}", f"insecure-{GOOD}"])
@pytest.mark.parametrize("broadcasting", [{}, {"APPS": [{}]}, {"APPS": [{"CLIENT_EVENTS": True}]}])
def test_e004_a_secret_that_is_derived_from_a_known_key(
    broadcasting: dict[str, Any], key: str
) -> None:
    """Told of the key; where the application has a secret of its own the key does not matter."""
    with override_settings(BROADCASTING=broadcasting, SECRET_KEY=key):
        (error,) = check_secrets(None)
    assert error.id == "broadcasting.E004"
    assert error.msg.startswith("SECRET_KEY is a sample")
    assert key not in f"{error.msg}{error.hint}"
    with override_settings(BROADCASTING={"APPS": [APP]}, SECRET_KEY=key):
        assert check_secrets(None) == []


@pytest.mark.parametrize("secret", ["f3b1c0d29a8e475", "abababababababababababab", "x"])
def test_w013_a_secret_that_can_be_guessed(secret: str) -> None:
    """Too short, or of too few characters."""
    (warning,) = secrets({**APP, "SECRET": secret})
    assert warning.id == "broadcasting.W013"
    count = f"{len(secret)} characters, {len(set(secret))} of them different"
    assert warning.msg.startswith(f'BROADCASTING["APPS"][0]["SECRET"] has {count}')


def test_w013_a_master_key_that_was_typed() -> None:
    """Text has fewer different bytes than 32 that were drawn."""
    (warning,) = secrets({**APP, "ENCRYPTION_MASTER_KEY_BASE64": TYPED_KEY})
    assert warning.id == "broadcasting.W013"
    assert "only 16 differ" in warning.msg
    assert secrets({**APP, "ENCRYPTION_MASTER_KEY_BASE64": KEY}) == []


def test_the_length_of_secret_key_is_not_ours_to_tell() -> None:
    """Django has a check of it."""
    with override_settings(BROADCASTING={}, SECRET_KEY="short"):
        assert check_secrets(None) == []


def test_an_application_that_takes_no_part_passes() -> None:
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


def test_settings_that_make_no_sense_are_told_of_once() -> None:
    """By E001."""
    with override_settings(BROADCASTING={"APPS": [{"SECRET": "x"}]}):
        assert check_secrets(None) == check_origins(None) == []


@pytest.mark.parametrize("listed", [["*"], ["https://shop.example", "*"]], ids=str)
def test_w014_origins_that_admit_everyone(listed: list[str]) -> None:
    """Of each application by its place."""
    app = {**APP, "ID": "2", "KEY": "x", "ALLOWED_ORIGINS": listed}
    (warning,) = origins({**APP, "ALLOWED_ORIGINS": []}, app)
    assert warning.id == "broadcasting.W014"
    assert warning.msg.startswith('BROADCASTING["APPS"][1]["ALLOWED_ORIGINS"] has \'*\'')


def test_w014_hosts_that_admit_everyone() -> None:
    """An application without origins of its own admits the site's pages: those of all hosts."""
    with override_settings(ALLOWED_HOSTS=["*"]):
        (warning,) = origins(APP)
        assert warning.id == "broadcasting.W014"
        assert warning.msg.startswith("ALLOWED_HOSTS")
        assert origins({**APP, "ALLOWED_ORIGINS": ["https://shop.example"]}) == []


@pytest.mark.parametrize("listed", [None, [], ["https://*.shop.example"]], ids=str)
def test_origins_of_ones_own_pass(listed: list[str] | None) -> None:
    """None at all, some, and those of the site."""
    assert origins(APP if listed is None else {**APP, "ALLOWED_ORIGINS": listed}) == []
