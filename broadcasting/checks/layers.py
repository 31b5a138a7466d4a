"""``CHANNEL_LAYERS``, also layers that no connection uses but consumers of the project."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from .problem import problem


def check_layer_timeouts() -> Iterator[CheckMessage]:
    """Report layers whose reads are ended before they return: redis-py 8 does so by default."""
    for alias, backend, config in _layers("channels_redis.core.RedisChannelLayer"):
        wait = backend.brpop_timeout
        timeouts = [t for t in _timeouts(config.get("hosts")) if t is not None and t <= wait]
        if timeouts:
            yield problem(
                "broadcasting.W008",
                f"CHANNEL_LAYERS[{alias!r}] waits {wait} seconds for a message, and its "
                f"connections to Redis end a read after {timeouts[0]:g}: every consumer dies "
                f"with a TimeoutError while nothing happens.",
                'Write {"address": …, "socket_timeout": None, "health_check_interval": 15} for '
                'each of its "hosts".',
            )


def check_in_memory_layers() -> Iterator[CheckMessage]:
    """Report layers that were made for tests."""
    for alias, _, _ in _layers("channels.layers.InMemoryChannelLayer"):
        yield problem(
            "broadcasting.W015",
            f"CHANNEL_LAYERS[{alias!r}] is the in-memory layer: it ends at its process, and "
            f"silently drops what does not fit into a mailbox.",
            "Use a layer over Redis. For broadcasts alone use a memory connection, with one "
            "process, or a redis one.",
        )


def _layers(kind: str) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Yield alias, class and ``CONFIG`` of the layers of a class, subclasses included."""
    for alias, entry in (getattr(settings, "CHANNEL_LAYERS", None) or {}).items():
        with suppress(ImportError, KeyError, TypeError):  # `check_settings` reports it.
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
        if isinstance(address, str):  # The address wins over the rest.
            query = parse_qs(urlsplit(address).query)
            timeout = query.get("socket_timeout", [timeout])[0]
        with suppress(TypeError, ValueError):  # redis-py reports it.
            yield None if timeout is None else float(timeout)


def _default_timeout() -> float | None:
    try:
        major = re.match(r"\d+", version("redis"))
    except PackageNotFoundError:
        return None
    return 5.0 if major is not None and int(major[0]) >= 8 else None
