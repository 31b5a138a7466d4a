"""What is reported of the setting, its connections and the processes that serve."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.checks import CheckMessage, Error, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from broadcasting.checks.connections import check_encryption, check_settings, check_workers
from broadcasting.drivers.registry import broadcasters

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


def test_django_runs_the_check() -> None:
    """With the others, and alone by its tag."""
    with override_settings(BROADCASTING={"DEFAULT": "radis"}):
        # Without apps: Django 6.1 asks the database what it can do for their models.
        assert "broadcasting.E001" in [message.id for message in run_checks(app_configs=[])]
        with pytest.raises(SystemCheckError, match=r"broadcasting\.E001"):
            call_command("check", "--tag", "broadcasting")
    call_command("check", "--tag", "broadcasting", verbosity=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEB_CONCURRENCY", "3"),
        ("UVICORN_WORKERS", "3"),
        ("GRANIAN_WORKERS", "3"),
        ("GUNICORN_CMD_ARGS", "--bind :8000 -w 3"),
        ("GUNICORN_CMD_ARGS", "--workers=3 --threads 8"),
    ],
)
@pytest.mark.parametrize("connection", ["memory", "channels", "log"])
def test_w016_several_processes_with_a_connection_of_one(
    monkeypatch: pytest.MonkeyPatch, connection: str, name: str, value: str
) -> None:
    """However they are asked for, and also where the default connection only writes."""
    monkeypatch.setenv(name, value)
    with override_settings(BROADCASTING={"DEFAULT": connection}):
        (warning,) = check_workers(None)
    assert warning.id == "broadcasting.W016"
    assert f"3 server processes ({name}={value!r})" in warning.msg
    read = "memory" if connection == "log" else connection
    assert f"connection {read!r} stays in one" in warning.msg


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEB_CONCURRENCY", "1"),
        ("WEB_CONCURRENCY", ""),
        ("WEB_CONCURRENCY", "auto"),
        ("GUNICORN_CMD_ARGS", "--bind :8000 --threads 8"),
    ],
)
def test_one_process_passes(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """So does a number that is none."""
    monkeypatch.setenv(name, value)
    with override_settings(BROADCASTING={"DEFAULT": "memory"}):
        assert check_workers(None) == []


@pytest.mark.parametrize(
    "broadcasting",
    [
        {"DEFAULT": "x", "CONNECTIONS": {"x": {"DRIVER": REDIS}}},
        {"DEFAULT": "log", "SERVER": {"CONNECTION": "x"}, "CONNECTIONS": {"x": {"DRIVER": REDIS}}},
        {"DEFAULT": "radis"},
        {"DEFAULT": "x", "CONNECTIONS": {"x": {"DRIVER": LAYER, "LAYER": "missing"}}},
    ],
    ids=str,
)
def test_several_processes_pass(
    monkeypatch: pytest.MonkeyPatch, broadcasting: dict[str, Any]
) -> None:
    """With a connection that leads from one to the other; what makes no sense is told once."""
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    with override_settings(BROADCASTING=broadcasting):
        assert check_workers(None) == []
