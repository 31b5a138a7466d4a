"""The connections of tests of events, and a queue of the project's own."""

from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from broadcasting import flush_debounced
from tests.events.conftest import _empty_registries, first, second
from tests.events.recording import RecordingBroadcaster
from tests.queueing.jobs import KEY, WAY, jobs

__all__ = ["_empty_registries", "first", "second"]


@pytest.fixture
def queued(first: RecordingBroadcaster, settings: Settings) -> Iterator[dict[str, Any]]:
    """Queue everything; return the options, to change."""
    options: dict[str, Any] = {"BACKEND": WAY}
    settings.BROADCASTING = {
        **settings.BROADCASTING,
        "QUEUE": options,
        "APPS": [{"ENCRYPTION_MASTER_KEY_BASE64": KEY, "MAX_EVENT_SIZE": 500}],
    }
    jobs.__init__()  # type: ignore[misc]  # Forgets.
    yield options
    flush_debounced()
