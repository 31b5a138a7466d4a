"""What processes agree on through a cache, and what happens between their steps."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import BaseCache, caches
from pytest_django import Settings

from broadcasting.queueing.debounce_cache import TAKEN, Shelf, get_shelf

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"


@pytest.fixture
def cache(settings: Settings) -> BaseCache:
    """Return an empty cache. Two shelves over it stand for two processes."""
    settings.CACHES = {"default": {"BACKEND": LOCMEM, "LOCATION": "newest"}}
    caches["default"].clear()
    return caches["default"]


@pytest.fixture
def shelf(cache: BaseCache) -> Shelf:
    return Shelf(cache)


def envelope(id_: str, socket_id: str | None = None) -> dict[str, Any]:
    """Return as much of an envelope as a shelf looks at."""
    return {"id": id_, "socket_id": socket_id}


class TestShelf:
    def test_first_is_to_be_fetched(self, shelf: Shelf, cache: BaseCache) -> None:
        """Those that follow take its place, whichever process puts them there."""
        assert shelf.put("a", envelope("1"), 1)
        assert not Shelf(cache).put("a", envelope("2"), 1)
        assert not shelf.put("a", envelope("3"), 1)
        assert Shelf(cache).take("a") == envelope("3")

    def test_keys_are_apart(self, shelf: Shelf) -> None:
        """What lies under one is not seen under another."""
        assert shelf.put("a", envelope("1"), 1)
        assert shelf.put("b", envelope("2"), 1)
        assert shelf.take("a") == envelope("1")

    def test_what_comes_after_a_fetch_is_to_be_fetched(self, shelf: Shelf) -> None:
        """Nothing is left lying."""
        shelf.put("a", envelope("1"), 1)
        shelf.take("a")
        assert shelf.put("a", envelope("2"), 1)
        assert shelf.take("a") == envelope("2")

    def test_nothing_is_taken_twice(self, shelf: Shelf) -> None:
        """Two that were sent find one between them."""
        shelf.put("a", envelope("1"), 1)
        assert shelf.take("a") == envelope("1")
        assert shelf.take("a") is TAKEN

    def test_lost_cache_is_told_from_a_taken_event(self, shelf: Shelf, cache: BaseCache) -> None:
        """Then who comes sends what it carries."""
        shelf.put("a", envelope("1"), 1)
        cache.clear()
        assert shelf.take("a") is None

    def test_forgotten_event_is_to_be_fetched_again(self, shelf: Shelf) -> None:
        """As after a failure to send somebody."""
        shelf.put("a", envelope("1"), 1)
        shelf.forget("a")
        assert shelf.put("a", envelope("2"), 1)

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
        self, shelf: Shelf, sockets: list[str | None], expected: str | None
    ) -> None:
        """Where two pages made the changes, each must hear what the other did."""
        for number, socket_id in enumerate(sockets):
            shelf.put("a", envelope(str(number), socket_id), 1)
        taken = shelf.take("a")
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
        Shelf(cache).put("a", envelope("old"), 1)
        fetched: list[Any] = []
        steps = Steps(cache, before, lambda: fetched.append(Shelf(cache).take("a")))
        if Shelf(steps).put("a", envelope("new"), 1) or not fetched:
            fetched.append(Shelf(cache).take("a"))
        assert envelope("new") in fetched

    def test_take_while_another_puts(self, cache: BaseCache, before: int) -> None:
        """The same the other way round."""
        Shelf(cache).put("a", envelope("old"), 1)
        must_fetch: list[bool] = []
        steps = Steps(
            cache, before, lambda: must_fetch.append(Shelf(cache).put("a", envelope("new"), 1))
        )
        fetched = [Shelf(steps).take("a")]
        if any(must_fetch):
            fetched.append(Shelf(cache).take("a"))
        assert (envelope("new") in fetched) == bool(must_fetch)

    def test_nobody_misses_what_another_page_did(self, cache: BaseCache, before: int) -> None:
        """An event that holds the changes of two pages leaves out neither."""
        Shelf(cache).put("a", envelope("of 1", "1.1"), 1)
        done: list[Any] = []
        steps = Steps(cache, before, lambda: done.append(Shelf(cache).take("a")))
        if Shelf(steps).put("a", envelope("of 2", "2.2"), 1) or not done:
            done.append(Shelf(cache).take("a"))
        of_both = [each for each in done if each and each["id"] == "of 2"]
        was_sent_before = any(each and each["id"] == "of 1" for each in done)
        assert was_sent_before or [each["socket_id"] for each in of_both] == [None]


def test_cache_of_one_process_is_no_shelf(settings: Settings) -> None:
    """A worker would find nothing there."""
    settings.CACHES = {
        "default": {"BACKEND": LOCMEM},
        "none": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
        "files": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": "/tmp",
        },
    }
    assert get_shelf("default") is None
    assert get_shelf("none") is None
    assert get_shelf("files") is not None
