"""
The newest of several events, in a cache that all processes share.

Whoever fires an event puts it on the `Shelf`, where it takes the place of the one before.
The first is told that somebody must come for what will lie there then. Nothing is read,
changed and written back, so processes need no lock:

* ``newest`` is only ever replaced. Whoever takes it notes its id in ``taken``: the same one
  is not taken again, and one that is put there meanwhile is not lost.
* ``waiting`` says that somebody will come. It is removed before ``newest`` is read, so an
  event that comes too late for that reading finds it gone and sends somebody else. It
  expires soon after, in case nobody comes.
* ``socket`` is the page to leave out. As soon as two events differ in it, it is nobody, and
  stays so for a while: each page must hear of the changes that others have made.
"""

import math
from collections.abc import Mapping
from typing import Any

from django.core.cache import BaseCache, caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache

KEPT = 86_400  # Seconds. A queue that is late by more has the older event to send.
SOCKET_KEPT = 60  # Seconds, beyond the pause.

TAKEN: Mapping[str, Any] = {}  # Said of an event that somebody else has taken.

_NOBODY = ""


class Shelf:
    """
    Where the newest events lie.

    Every method raises what the cache raises when it is away.
    """

    def __init__(self, cache: BaseCache) -> None:
        self._cache = cache

    def put(self, key: str, envelope: Mapping[str, Any], seconds: float) -> bool:
        """Put `envelope` there. Tell whether the caller must have it fetched after `seconds`."""
        self._note_socket(key, envelope["socket_id"] or _NOBODY, seconds)
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
        """Let the next `put` say that somebody must come."""
        self._cache.delete(_name(key, "waiting"))

    def _note_socket(self, key: str, socket: str, seconds: float) -> None:
        name, kept = _name(key, "socket"), math.ceil(seconds) + SOCKET_KEPT
        if self._cache.add(name, socket, kept):
            return
        if self._cache.get(name) == socket:
            self._cache.touch(name, kept)
        else:
            self._cache.set(name, _NOBODY, kept)


def get_shelf(alias: str) -> Shelf | None:
    """Return the shelf in the cache `alias`; `None` if other processes do not see that."""
    cache = caches[alias]
    return None if isinstance(cache, LocMemCache | DummyCache) else Shelf(cache)


def _name(key: str, what: str) -> str:
    return f"broadcasting.debounce.{key}.{what}"
