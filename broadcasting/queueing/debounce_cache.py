"""
Where held events wait for all processes: a cache that all of them share.

Each event replaces the one before it under the same key. The process that puts the first
one there enqueues a worker to take whatever is the newest by then. No value is read, changed
and written back, so processes need no lock:

* ``newest`` is only ever replaced. The worker that takes it stores its id in ``taken``: the
  same event is not taken again, and one that is put there meanwhile is not lost.
* ``waiting`` means that a worker will come. It is removed before ``newest`` is read, so an
  event that comes too late for that reading finds it gone and enqueues another worker. It
  expires soon after, in case no worker comes.
* ``socket`` is the page to leave out. As soon as two events differ in it, no page is left
  out for a while: each page must get the changes that others have made.
"""

import math
from collections.abc import Mapping
from typing import Any

from django.core.cache import BaseCache, caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache

KEPT = 86_400  # Seconds. A queue that is late by more has the older event to send.
SOCKET_KEPT = 60  # Seconds, beyond the pause.

TAKEN: Mapping[str, Any] = {}  # In place of an event that another worker has taken.

_NOBODY = ""


class DebounceCache:
    """The newest events by key. Every method raises what the cache raises when it is away."""

    def __init__(self, cache: BaseCache) -> None:
        self._cache = cache

    def put(self, key: str, envelope: Mapping[str, Any], seconds: float) -> bool:
        """Keep `envelope`. Return whether the caller must enqueue a worker for `seconds` later."""
        self._keep_socket(key, envelope["socket_id"] or _NOBODY, seconds)
        self._cache.set(_name(key, "newest"), envelope, KEPT)
        # Some caches count in whole seconds.
        return self._cache.add(_name(key, "waiting"), 1, math.ceil(seconds) + 1)

    def take(self, key: str) -> Mapping[str, Any] | None:
        """Return the newest envelope, `TAKEN`, or `None` if the cache has lost it."""
        self.forget(key)
        envelope: dict[str, Any] | None = self._cache.get(_name(key, "newest"))
        if envelope is None:
            return None
        if self._cache.get(_name(key, "taken")) == envelope["id"]:
            return TAKEN
        self._cache.set(_name(key, "taken"), envelope["id"], KEPT)
        socket_id = self._cache.get(_name(key, "socket")) or None
        return {**envelope, "socket_id": socket_id}

    def forget(self, key: str) -> None:
        """Make the next `put` ask for a worker."""
        self._cache.delete(_name(key, "waiting"))

    def _keep_socket(self, key: str, socket: str, seconds: float) -> None:
        name, kept = _name(key, "socket"), math.ceil(seconds) + SOCKET_KEPT
        if self._cache.add(name, socket, kept):
            return
        if self._cache.get(name) == socket:
            self._cache.touch(name, kept)
        else:
            self._cache.set(name, _NOBODY, kept)


def get_debounce_cache(alias: str) -> DebounceCache | None:
    """Return the one in the cache `alias`, `None` if other processes do not share that."""
    cache = caches[alias]
    return None if isinstance(cache, LocMemCache | DummyCache) else DebounceCache(cache)


def _name(key: str, what: str) -> str:
    return f"broadcasting.debounce.{key}.{what}"
