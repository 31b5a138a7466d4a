"""System checks: what is reported, under which id."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.checks import CheckMessage, Error, Warning, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from broadcasting import authorization, channel_authorizer
from broadcasting.checks.connections import check_encryption, check_settings
from broadcasting.checks.rules import check_channel_patterns
from broadcasting.drivers import broadcasters

LAYER = "broadcasting.drivers.channel_layer.ChannelLayerBroadcaster"

REDIS = "broadcasting.drivers.redis.RedisBroadcaster"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    broadcasters.close_all()
    yield
    broadcasters.close_all()


def check(**broadcasting: Any) -> list[CheckMessage]:
    """Return what is found wrong with these settings, but for what the demo silences."""
    with override_settings(BROADCASTING=broadcasting):
        return [message for message in check_settings(None) if not message.is_silenced()]


@pytest.mark.parametrize(
    "broadcasting",
    [
        {},
        {"DEFAULT": "memory"},
        {"DEFAULT": "null"},
        {"DEFAULT": "channels"},
        {"DEFAULT": "log", "SERVER": {"CONNECTION": "memory"}},
    ],
    ids=str,
)
def test_working_settings_pass(broadcasting: dict[str, Any]) -> None:
    """Without a network or a database."""
    assert check(**broadcasting) == []


@pytest.mark.parametrize(
    ("broadcasting", "text"),
    [
        ({"DEFALT": "memory"}, "unknown keys: DEFALT"),
        ({"DEFAULT": "radis"}, "no broadcast connection 'radis'"),
        (
            {"DEFAULT": "x", "CONNECTIONS": {"x": {"DRIVER": "no.such.Driver"}}},
            "cannot be imported",
        ),
        (
            {"DEFAULT": "x", "CONNECTIONS": {"x": {"DRIVER": LAYER, "LAJER": "default"}}},
            "does not fit its driver",
        ),
        (
            {
                "SERVER": {"CONNECTION": "x"},
                "CONNECTIONS": {"x": {"DRIVER": "no.such.Driver"}},
            },
            "cannot be imported",
        ),
        (
            {"DEFAULT": "x", "CONNECTIONS": {"x": {"DRIVER": REDIS, "URL": "localhost"}}},
            "redis://, rediss://, unix://",
        ),
        ({"SERVER": {"CONNECTION": "null"}}, "whose driver only writes"),
        ({"APPS": []}, 'BROADCASTING["APPS"] must be a list'),
        ({"AUTHENTICATORS": ["no.such.function"]}, "which cannot be imported"),
    ],
    ids=str,
)
def test_e001_settings_that_make_no_sense(broadcasting: dict[str, Any], text: str) -> None:
    """Also a server connection that could never be read."""
    (error,) = check(**broadcasting)
    assert isinstance(error, Error)
    assert error.id == "broadcasting.E001"
    assert text in error.msg
    assert str(error.hint).endswith("See docs/checks.md#broadcastinge001")


@pytest.mark.parametrize(
    "broadcasting",
    [
        {"DEFAULT": "x"},
        {"DEFAULT": "null", "SERVER": {"CONNECTION": "x"}},
        {"DEFAULT": "x", "SERVER": {"CONNECTION": "x"}},
    ],
    ids=str,
)
def test_e002_a_layer_that_is_not_configured(broadcasting: dict[str, Any]) -> None:
    """Told once, also where one connection is used twice."""
    (error,) = check(CONNECTIONS={"x": {"DRIVER": LAYER, "LAYER": "missing"}}, **broadcasting)
    assert isinstance(error, Error)
    assert error.id == "broadcasting.E002"
    assert "missing" in error.msg


def test_a_connection_that_nobody_uses_is_not_made() -> None:
    """Its package need not be installed."""
    assert check(CONNECTIONS={"x": {"DRIVER": "no.such.Driver"}}) == []


def everybody(user: object, **names: object) -> bool:
    return True


def test_w001_rules_that_match_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair once, in the order that decides, with a name to look at."""
    monkeypatch.setattr(authorization, "_rules", [])
    for pattern in ("chat.{room:int}", "lobby", "chat.{room}", "chat.7", "chat.{room}.typing"):
        channel_authorizer(pattern, everybody)
    found = check_channel_patterns(None)
    assert [type(warning) for warning in found] == [Warning] * 3
    assert {warning.id for warning in found} == {"broadcasting.W001"}
    first, second, third = (warning.msg for warning in found)
    assert first == (
        f"The channel patterns 'chat.{{room:int}}' ({__name__}.everybody) and 'chat.{{room}}' "
        f"({__name__}.everybody) both match names such as 'chat.1', for which the first decides."
    )
    assert "'chat.{room:int}'" in second
    assert "'chat.7'" in second
    assert "'chat.{room}'" in third
    assert "'chat.7'" in third


def test_rules_that_share_no_name_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no rules at all."""
    monkeypatch.setattr(authorization, "_rules", [])
    assert check_channel_patterns(None) == []
    for pattern in ("chat.{room:int}", "chat.{room}.typing", "room.{room}"):
        channel_authorizer(pattern, everybody)
    assert check_channel_patterns(None) == []


def test_w003_a_master_key_without_pynacl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first event on an encrypted channel would say so."""
    key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    with override_settings(BROADCASTING={"APPS": [{"ENCRYPTION_MASTER_KEY_BASE64": key}]}):
        assert check_encryption(None) == []
        monkeypatch.setattr("broadcasting.checks.connections.can_seal", lambda: False)
        (warning,) = check_encryption(None)
        assert warning.id == "broadcasting.W003"
        assert "broadcasting.W003" in [m.id for m in run_checks(tags=["broadcasting"])]
    assert check_encryption(None) == []
    with override_settings(BROADCASTING={"DEFAULT": "radis"}):
        assert check_encryption(None) == []


def test_django_runs_the_check_of_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the others; a warning does not stop the site."""
    monkeypatch.setattr(authorization, "_rules", [])
    for handler in (everybody, lambda user, room: True):
        channel_authorizer("chat.{room}", handler)
    assert "broadcasting.W001" in [m.id for m in run_checks(tags=["broadcasting"])]


def test_django_runs_the_check() -> None:
    """With the others, and alone by its tag."""
    with override_settings(BROADCASTING={"DEFAULT": "radis"}):
        assert "broadcasting.E001" in [message.id for message in run_checks()]
        with pytest.raises(SystemCheckError, match=r"broadcasting\.E001"):
            call_command("check", "--tag", "broadcasting")
    call_command("check", "--tag", "broadcasting", verbosity=0)
