"""The connections and registries that tests of events have."""

from tests.events.conftest import _empty_registries, first, second

__all__ = ["_empty_registries", "first", "second"]
