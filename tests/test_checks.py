"""System checks: what is reported, under which id."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.checks import CheckMessage, Error, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from broadcasting.checks import check_settings
from broadcasting.drivers import broadcasters

LAYER = "broadcasting.drivers.channel_layer.ChannelLayerBroadcaster"

REDIS = "broadcasting.drivers.redis.RedisBroadcaster"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    broadcasters.close_all()
    yield
    broadcasters.close_all()


def check(**broadcasting: Any) -> list[CheckMessage]:
    """Return what is found wrong with these settings."""
    with override_settings(BROADCASTING=broadcasting):
        return check_settings(None)


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
    ],
    ids=str,
)
def test_e001_settings_that_make_no_sense(broadcasting: dict[str, Any], text: str) -> None:
    """Also a server connection that could never be read."""
    (error,) = check(**broadcasting)
    assert isinstance(error, Error)
    assert error.id == "broadcasting.E001"
    assert text in error.msg
    assert error.hint == "See docs/settings.md."


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


def test_django_runs_the_check() -> None:
    """With the others, and alone by its tag."""
    with override_settings(BROADCASTING={"DEFAULT": "radis"}):
        assert "broadcasting.E001" in [message.id for message in run_checks()]
        with pytest.raises(SystemCheckError, match=r"broadcasting\.E001"):
            call_command("check", "--tag", "broadcasting")
    call_command("check", "--tag", "broadcasting", verbosity=0)
