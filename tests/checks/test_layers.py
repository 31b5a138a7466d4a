"""``CHANNEL_LAYERS``."""

from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
from channels_redis.core import RedisChannelLayer

from broadcasting.checks import layers
from broadcasting.checks.layers import check_in_memory_layers, check_layer_timeouts
from tests.checks.reported import ids, reported

CORE = "channels_redis.core.RedisChannelLayer"
URL = "redis://127.0.0.1:6379/0"


class PatientLayer(RedisChannelLayer):  # type: ignore[misc]  # channels_redis has no types
    """Waits for less time than redis-py does."""

    brpop_timeout = 2


@pytest.fixture(autouse=True)
def redis_py(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return what is installed, to be altered: redis-py 8 at first."""
    installed = {"redis": "8.1.0"}

    def version(package: str) -> str:
        if package not in installed:
            raise PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(layers, "version", version)
    return installed


def check(hosts: Any, backend: str = CORE) -> list[str]:
    """Return what is reported of a layer with these hosts; `None` is for none at all."""
    config = {} if hosts is None else {"hosts": hosts}
    entry = {"BACKEND": backend, "CONFIG": config}
    return reported(check_layer_timeouts, CHANNEL_LAYERS={"jobs": entry})


@pytest.mark.parametrize(
    ("hosts", "is_cut_off"),
    [
        (None, True),
        ([], True),
        ([URL], True),
        ([("127.0.0.1", 6379)], True),
        ([{"host": "127.0.0.1", "port": 6379}], True),
        ([{"sentinels": [("127.0.0.1", 26379)], "master_name": "main"}], True),
        ([{"address": f"{URL}?socket_timeout=3", "socket_timeout": None}], True),
        ([{"address": URL, "socket_timeout": None}, URL, URL], True),
        ([{"address": URL, "socket_timeout": None}], False),
        ([{"address": URL, "socket_timeout": 30}], False),
        ([f"{URL}?socket_timeout=30"], False),
        ([f"{URL}?socket_timeout=never"], False),  # For redis-py to refuse.
        ([{"sentinels": [], "master_name": "main", "socket_timeout": None}], False),
    ],
    ids=str,
)
def test_w008_a_layer_whose_reads_are_cut_off(hosts: Any, is_cut_off: bool) -> None:
    """Each layer is reported once, however its hosts are written."""
    found = check(hosts)
    assert len(found) == is_cut_off
    for warning in found:
        assert warning.startswith("W008 CHANNEL_LAYERS['jobs'] waits 5 seconds")


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
    assert "end a read after 1.5" in warning


def test_subclasses_count_with_the_time_that_they_wait() -> None:
    """Five seconds suffice for two."""
    patient = f"{__name__}.PatientLayer"
    assert check([URL], patient) == []
    (warning,) = check([f"{URL}?socket_timeout=2"], patient)
    assert "waits 2 seconds" in warning


@pytest.mark.parametrize(
    "entries",
    [
        {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}},
        {"default": {"BACKEND": "no.such.Layer"}},
        {"default": {"BACKEND": "os.path.join"}},
        {"default": {"CONFIG": {}}},
        {},
        None,
    ],
    ids=str,
)
def test_other_layers_and_none_at_all_pass(entries: object) -> None:
    """Those that cannot be made are reported with the connection that uses them."""
    assert ids(check_layer_timeouts, CHANNEL_LAYERS=entries) == []
    assert ids(check_in_memory_layers, CHANNEL_LAYERS=entries) == []


def test_w015_every_in_memory_layer_is_named() -> None:
    """Also those that carry no broadcasts."""
    in_memory = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    entries = {"default": {"BACKEND": CORE}, "jobs": in_memory, "mail": in_memory}
    first, second = reported(check_in_memory_layers, CHANNEL_LAYERS=entries)
    assert first.startswith("W015 CHANNEL_LAYERS['jobs']")
    assert second.startswith("W015 CHANNEL_LAYERS['mail']")
