"""What the tests of the demo share."""

from collections.abc import Iterator

import pytest
from django.core.cache import cache

from broadcasting.pytest_plugin import fake_broadcasts

__all__ = ["fake_broadcasts"]


@pytest.fixture(autouse=True)
def _no_changes_yet() -> Iterator[None]:
    """Forget how many changes earlier tests have made."""
    cache.clear()
    yield
    cache.clear()
