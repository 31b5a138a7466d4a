"""What is reported of ``CHANNEL_LAYERS``."""

from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
from channels_redis.core import RedisChannelLayer
from django.core.checks import CheckMessage
from django.test import override_settings

from broadcasting.checks import layers
from broadcasting.checks.layers import check_in_memory_layers, check_layer_timeouts

CORE = "channels_redis.core.RedisChannelLayer"
URL = "redis://127.0.0.1:6379/0"


class PatientLayer(RedisChannelLayer):  # type: ignore[misc]  # channels_redis has no types
    """Waits for less time than redis-py does."""

    brpop_timeout = 2


@pytest.fixture
def redis_py(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return what is installed, to be altered: redis-py 8 at first."""
    installed = {"redis": "8.1.0"}

    def version(package: str) -> str:
        if package not in installed:
            raise PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(layers, "version", version)
    return installed


def check(hosts: Any = None, backend: str = CORE) -> list[CheckMessage]:
    """Return what is said of a layer with these hosts; `None` is for none at all."""
    config = {} if hosts is None else {"hosts": hosts}
    with override_settings(CHANNEL_LAYERS={"jobs": {"BACKEND": backend, "CONFIG": config}}):
        return check_layer_timeouts(None)


CUT_OFF: list[Any] = [
    None,
    [],
    [URL],
    [("127.0.0.1", 6379)],
    [{"address": URL}],
    [{"host": "127.0.0.1", "port": 6379}],
    [{"sentinels": [("127.0.0.1", 26379)], "master_name": "main"}],
    [{"address": f"{URL}?socket_timeout=3", "socket_timeout": None}],
    [{"address": URL, "socket_timeout": None}, URL, URL],
]


@pytest.mark.parametrize("hosts", CUT_OFF, ids=str)
def test_w008_a_layer_whose_reads_are_cut_off(redis_py: dict[str, str], hosts: Any) -> None:
    """Told once of each layer, however its hosts are written."""
    (warning,) = check(hosts)
    assert warning.id == "broadcasting.W008"
    assert "CHANNEL_LAYERS['jobs'] waits 5 seconds" in warning.msg


@pytest.mark.parametrize(
    "hosts",
    [
        [{"address": URL, "socket_timeout": None}],
        [{"address": URL, "socket_timeout": 30}],
        [f"{URL}?socket_timeout=30"],
        [{"address": f"{URL}?socket_timeout=never"}],
        [{"sentinels": [], "master_name": "main", "socket_timeout": None}],
    ],
    ids=str,
)
def test_a_layer_with_time_to_wait_passes(redis_py: dict[str, str], hosts: Any) -> None:
    """A value that is none is for redis-py to refuse."""
    assert check(hosts) == []


@pytest.mark.parametrize("installed", ["7.4.0", "5.2.1", None])
def test_before_redis_py_8_only_a_timeout_of_ones_own_counts(
    redis_py: dict[str, str], installed: str | None
) -> None:
    """There was none by default."""
    redis_py.clear()
    if installed is not None:
        redis_py["redis"] = installed
    assert check([URL]) == []
    (warning,) = check([{"address": URL, "socket_timeout": 1.5}])
    assert "end a read after 1.5" in warning.msg


def test_subclasses_count_with_the_time_that_they_wait(redis_py: dict[str, str]) -> None:
    """Five seconds suffice for two."""
    patient = f"{__name__}.PatientLayer"
    assert check([URL], patient) == []
    (warning,) = check([f"{URL}?socket_timeout=2"], patient)
    assert "waits 2 seconds" in warning.msg


@pytest.mark.parametrize(
    "entry",
    [
        {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"},
        {"BACKEND": "no.such.Layer"},
        {"BACKEND": "os.path.join"},
        {"CONFIG": {}},
    ],
    ids=str,
)
def test_other_layers_pass(redis_py: dict[str, str], entry: dict[str, Any]) -> None:
    """Those that cannot be made are told of where they are used."""
    with override_settings(CHANNEL_LAYERS={"default": entry}):
        assert check_layer_timeouts(None) == []
        assert check_in_memory_layers(None) == []


def test_w015_every_in_memory_layer_is_named() -> None:
    """Also those that carry no broadcasts."""
    in_memory = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    entries = {"default": {"BACKEND": CORE}, "jobs": in_memory, "mail": in_memory}
    with override_settings(CHANNEL_LAYERS=entries):
        first, second = check_in_memory_layers(None)
    assert (first.id, second.id) == ("broadcasting.W015",) * 2
    assert "'jobs'" in first.msg
    assert "'mail'" in second.msg


def test_a_project_without_layers_passes() -> None:
    """It needs none."""
    with override_settings():
        from django.conf import settings

        del settings.CHANNEL_LAYERS
        assert check_layer_timeouts(None) == check_in_memory_layers(None) == []


def test_no_layers_at_all() -> None:
    """A project may say so with `None`."""
    with override_settings(CHANNEL_LAYERS=None):
        assert check_layer_timeouts(None) == check_in_memory_layers(None) == []
