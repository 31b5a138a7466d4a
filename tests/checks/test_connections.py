"""The setting, its connections and the processes that serve."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from broadcasting.checks.connections import check_encryption, check_settings, check_workers
from broadcasting.drivers.registry import broadcasters
from tests.checks.reported import ids, reported

LAYER = "broadcasting.drivers.channel_layer.ChannelLayerBroadcaster"
REDIS = "broadcasting.drivers.redis.RedisBroadcaster"
NOWHERE = {"x": {"DRIVER": "no.such.Driver"}}
NO_LAYER = {"x": {"DRIVER": LAYER, "LAYER": "missing"}}
NO_URL = {"x": {"DRIVER": REDIS, "URL": "localhost"}}
NO_OPTION = {"x": {"DRIVER": LAYER, "LAJER": "default"}}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    broadcasters.close_all()
    yield
    broadcasters.close_all()


@pytest.mark.parametrize(
    "broadcasting",
    [
        {},
        {"DEFAULT": "null"},
        {"DEFAULT": "channels"},
        {"DEFAULT": "log", "SERVER": {"CONNECTION": "memory"}},
        {"CONNECTIONS": NOWHERE},  # Nobody uses it, so its package need not be installed.
    ],
)
def test_settings_that_pass(broadcasting: dict[str, Any]) -> None:
    """Without a network or a database."""
    assert reported(check_settings, BROADCASTING=broadcasting) == []


@pytest.mark.parametrize(
    ("broadcasting", "text"),
    [
        ({"DEFALT": "memory"}, "unknown keys: DEFALT"),
        ({"DEFAULT": "radis"}, "no broadcast connection 'radis'"),
        ({"DEFAULT": "x", "CONNECTIONS": NOWHERE}, "cannot be imported"),
        ({"SERVER": {"CONNECTION": "x"}, "CONNECTIONS": NOWHERE}, "cannot be imported"),
        ({"DEFAULT": "x", "CONNECTIONS": NO_OPTION}, "does not fit its driver"),
        ({"DEFAULT": "x", "CONNECTIONS": NO_URL}, "redis://, rediss://, unix://"),
        ({"SERVER": {"CONNECTION": "null"}}, "whose driver only writes"),
        ({"APPS": []}, 'BROADCASTING["APPS"]'),
        ({"AUTHENTICATORS": ["no.such.function"]}, "cannot be imported"),
    ],
)
def test_e001_settings_that_make_no_sense(broadcasting: dict[str, Any], text: str) -> None:
    """Also a server connection that could never be read."""
    (error,) = reported(check_settings, BROADCASTING=broadcasting)
    assert error.startswith("E001 ")
    assert text in error


@pytest.mark.parametrize(
    "broadcasting",
    [
        {"DEFAULT": "x"},
        {"DEFAULT": "null", "SERVER": {"CONNECTION": "x"}},
        {"DEFAULT": "x", "SERVER": {"CONNECTION": "x"}},
    ],
)
def test_e002_a_layer_that_is_not_configured(broadcasting: dict[str, Any]) -> None:
    """It is reported once, also if one connection is used twice."""
    broadcasting = {**broadcasting, "CONNECTIONS": NO_LAYER}
    assert ids(check_settings, BROADCASTING=broadcasting) == ["E002"]


def test_w003_a_master_key_without_pynacl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the first event on an encrypted channel would fail."""
    key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    sealed = {"APPS": [{"ENCRYPTION_MASTER_KEY_BASE64": key}]}
    assert ids(check_encryption, BROADCASTING=sealed) == []
    monkeypatch.setattr("broadcasting.checks.connections.can_seal", lambda: False)
    assert ids(check_encryption, BROADCASTING=sealed) == ["W003"]
    assert ids(check_encryption) == ids(check_encryption, BROADCASTING={"DEFAULT": "radis"}) == []


def test_django_runs_the_checks() -> None:
    """With the others, and alone by their tag."""
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
    """However they are asked for, and also if the default connection only writes."""
    monkeypatch.setenv(name, value)
    (warning,) = reported(check_workers, BROADCASTING={"DEFAULT": connection})
    assert warning.startswith("W016 ")
    assert f"3 server processes ({name}={value!r})" in warning
    assert f"connection {'memory' if connection == 'log' else connection!r}" in warning


@pytest.mark.parametrize(
    ("name", "value", "broadcasting"),
    [
        ("WEB_CONCURRENCY", "1", {}),
        ("WEB_CONCURRENCY", "auto", {}),
        ("GUNICORN_CMD_ARGS", "--bind :8000 --threads 8", {}),
        ("WEB_CONCURRENCY", "4", {"DEFAULT": "x", "CONNECTIONS": {"x": {"DRIVER": REDIS}}}),
        # What makes no sense is reported once.
        ("WEB_CONCURRENCY", "4", {"DEFAULT": "radis"}),
    ],
)
def test_one_process_or_a_shared_connection_passes(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, broadcasting: dict[str, Any]
) -> None:
    """A number that is none counts as one process."""
    monkeypatch.setenv(name, value)
    assert reported(check_workers, BROADCASTING=broadcasting) == []
