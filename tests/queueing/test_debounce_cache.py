"""What processes agree on through a cache, and what happens between their steps."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import BaseCache, caches
from pytest_django import Settings

from broadcasting.queueing.debounce_cache import TAKEN, DebounceCache, get_debounce_cache

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"


@pytest.fixture
def cache(settings: Settings) -> BaseCache:
    """Return an empty cache. Two of ours over it stand for two processes."""
    settings.CACHES = {"default": {"BACKEND": LOCMEM, "LOCATION": "newest"}}
    caches["default"].clear()
    return caches["default"]


@pytest.fixture
def debounced(cache: BaseCache) -> DebounceCache:
    return DebounceCache(cache)


def envelope(id_: str, socket_id: str | None = None) -> dict[str, Any]:
    """Return as much of an envelope as is looked at."""
    return {"id": id_, "socket_id": socket_id}


class TestDebounceCache:
    def test_first_is_to_be_fetched(self, debounced: DebounceCache, cache: BaseCache) -> None:
        """Those that follow take its place, whichever process puts them there."""
        assert debounced.put("a", envelope("1"), 1)
        assert not DebounceCache(cache).put("a", envelope("2"), 1)
        assert not debounced.put("a", envelope("3"), 1)
        assert DebounceCache(cache).take("a") == envelope("3")

    def test_keys_are_apart(self, debounced: DebounceCache) -> None:
        """What lies under one is not seen under another."""
        assert debounced.put("a", envelope("1"), 1)
        assert debounced.put("b", envelope("2"), 1)
        assert debounced.take("a") == envelope("1")

    def test_what_comes_after_a_fetch_is_to_be_fetched(self, debounced: DebounceCache) -> None:
        """Nothing is left lying."""
        debounced.put("a", envelope("1"), 1)
        debounced.take("a")
        assert debounced.put("a", envelope("2"), 1)
        assert debounced.take("a") == envelope("2")

    def test_nothing_is_taken_twice(self, debounced: DebounceCache) -> None:
        """Two that were sent find one between them."""
        debounced.put("a", envelope("1"), 1)
        assert debounced.take("a") == envelope("1")
        assert debounced.take("a") is TAKEN

    def test_lost_cache_is_not_a_taken_event(
        self, debounced: DebounceCache, cache: BaseCache
    ) -> None:
        """Then who comes sends what it carries."""
        debounced.put("a", envelope("1"), 1)
        cache.clear()
        assert debounced.take("a") is None

    def test_forgotten_event_is_to_be_fetched_again(self, debounced: DebounceCache) -> None:
        """As after a failure to send somebody."""
        debounced.put("a", envelope("1"), 1)
        debounced.forget("a")
        assert debounced.put("a", envelope("2"), 1)

    @pytest.mark.parametrize(
        ("sockets", "expected"),
        [
            (["1.1", "1.1"], "1.1"),
            (["1.1", "2.2"], None),
            (["1.1", "2.2", "1.1"], None),
            (["1.1", None], None),
            ([None, "1.1"], None),
        ],
    )
    def test_page_is_left_out_if_all_are_its_own(
        self, debounced: DebounceCache, sockets: list[str | None], expected: str | None
    ) -> None:
        """Where two pages made the changes, each must hear what the other did."""
        for number, socket_id in enumerate(sockets):
            debounced.put("a", envelope(str(number), socket_id), 1)
        taken = debounced.take("a")
        assert taken is not None
        assert taken["socket_id"] == expected


class Steps(BaseCache):
    """A cache that lets another process run before its n-th operation."""

    def __init__(self, cache: BaseCache, before: int, other: Callable[[], object]) -> None:
        super().__init__({})
        self._cache = cache
        self._left = before
        self._other = other

    def _step(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._other()

    def add(self, *args: Any, **kwargs: Any) -> bool:
        self._step()
        return self._cache.add(*args, **kwargs)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        self._step()
        return self._cache.get(*args, **kwargs)

    def set(self, *args: Any, **kwargs: Any) -> None:
        self._step()
        self._cache.set(*args, **kwargs)

    def touch(self, *args: Any, **kwargs: Any) -> bool:
        self._step()
        return self._cache.touch(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> bool:
        self._step()
        return self._cache.delete(*args, **kwargs)


@pytest.mark.parametrize("before", range(1, 7))
class TestInterleaved:
    def test_put_while_another_takes(self, cache: BaseCache, before: int) -> None:
        """The newer event is either taken or to be fetched: never lost."""
        DebounceCache(cache).put("a", envelope("old"), 1)
        fetched: list[Any] = []
        steps = Steps(cache, before, lambda: fetched.append(DebounceCache(cache).take("a")))
        if DebounceCache(steps).put("a", envelope("new"), 1) or not fetched:
            fetched.append(DebounceCache(cache).take("a"))
        assert envelope("new") in fetched

    def test_take_while_another_puts(self, cache: BaseCache, before: int) -> None:
        """The same the other way round."""
        DebounceCache(cache).put("a", envelope("old"), 1)
        must_fetch: list[bool] = []
        steps = Steps(
            cache,
            before,
            lambda: must_fetch.append(DebounceCache(cache).put("a", envelope("new"), 1)),
        )
        fetched = [DebounceCache(steps).take("a")]
        if any(must_fetch):
            fetched.append(DebounceCache(cache).take("a"))
        assert (envelope("new") in fetched) == bool(must_fetch)

    def test_nobody_misses_what_another_page_did(self, cache: BaseCache, before: int) -> None:
        """An event that holds the changes of two pages leaves out neither."""
        DebounceCache(cache).put("a", envelope("of 1", "1.1"), 1)
        done: list[Any] = []
        steps = Steps(cache, before, lambda: done.append(DebounceCache(cache).take("a")))
        if DebounceCache(steps).put("a", envelope("of 2", "2.2"), 1) or not done:
            done.append(DebounceCache(cache).take("a"))
        of_both = [each for each in done if each and each["id"] == "of 2"]
        was_sent_before = any(each and each["id"] == "of 1" for each in done)
        assert was_sent_before or [each["socket_id"] for each in of_both] == [None]


def test_cache_of_one_process_is_not_shared(settings: Settings) -> None:
    """A worker would find nothing there."""
    settings.CACHES = {
        "default": {"BACKEND": LOCMEM},
        "none": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
        "files": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": "/tmp",
        },
    }
    assert get_debounce_cache("default") is None
    assert get_debounce_cache("none") is None
    assert get_debounce_cache("files") is not None
