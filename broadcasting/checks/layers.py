"""``CHANNEL_LAYERS``: also those that carry the project's own consumers and no broadcasts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Warning
from django.utils.module_loading import import_string


def check_layer_timeouts(
    app_configs: Sequence[AppConfig] | None, **kwargs: object
) -> list[CheckMessage]:
    """Report layers whose reads are ended before they return: redis-py 8 does so by default."""
    found: list[CheckMessage] = []
    for alias, backend, config in _layers("channels_redis.core.RedisChannelLayer"):
        wait = backend.brpop_timeout
        for timeout in _timeouts(config.get("hosts")):
            if timeout is not None and timeout <= wait:
                found.append(
                    Warning(
                        f"CHANNEL_LAYERS[{alias!r}] waits {wait} seconds for a message, and its "
                        f"connections to Redis end a read after {timeout:g}: every consumer "
                        f"dies with a TimeoutError while nothing happens.",
                        hint='Write {"address": …, "socket_timeout": None, '
                        '"health_check_interval": 15} for each of its "hosts". '
                        "See docs/checks.md#broadcastingw008",
                        id="broadcasting.W008",
                    )
                )
                break
    return found


def check_in_memory_layers(
    app_configs: Sequence[AppConfig] | None, **kwargs: object
) -> list[CheckMessage]:
    """Report layers that were made for tests."""
    return [
        Warning(
            f"CHANNEL_LAYERS[{alias!r}] is the in-memory layer: it ends at its process, and drops "
            f"what does not fit into a mailbox without a word.",
            hint="Use a layer over Redis. For broadcasts alone a memory connection does, with one "
            "process, or a redis one. See docs/checks.md#broadcastingw015",
            id="broadcasting.W015",
        )
        for alias, _, _ in _layers("channels.layers.InMemoryChannelLayer")
    ]


def _layers(kind: str) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Yield alias, class and ``CONFIG`` of the layers of a class, subclasses included."""
    for alias, entry in (getattr(settings, "CHANNEL_LAYERS", None) or {}).items():
        with suppress(ImportError, KeyError, TypeError):  # `check_settings` says so.
            backend = import_string(entry["BACKEND"])
            bases = getattr(backend, "__mro__", ())  # A function may make one, too.
            if kind in {f"{base.__module__}.{base.__qualname__}" for base in bases}:
                yield alias, backend, entry.get("CONFIG", {})


def _timeouts(hosts: Any) -> Iterator[float | None]:
    """Yield after how many seconds redis-py ends a read from each host, `None` for never."""
    default = _default_timeout()
    for host in hosts or [""]:
        entry = host if isinstance(host, Mapping) else {"address": host}
        timeout = entry.get("socket_timeout", default)
        address = entry.get("address")
        if isinstance(address, str):  # What an address says goes before the rest.
            query = parse_qs(urlsplit(address).query)
            timeout = query.get("socket_timeout", [timeout])[0]
        with suppress(TypeError, ValueError):  # redis-py says so.
            yield None if timeout is None else float(timeout)


def _default_timeout() -> float | None:
    try:
        major = re.match(r"\d+", version("redis"))
    except PackageNotFoundError:
        return None
    return 5.0 if major is not None and int(major[0]) >= 8 else None
