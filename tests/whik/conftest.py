"""What the tests of the demo's pages share."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from tests.whik.recording import RecordingBroadcaster, Sent


@pytest.fixture
def sent(settings: Settings) -> Iterator[list[Sent]]:
    """Return the list of what the default connection is given until the test ends."""
    settings.BROADCASTING = {
        "DEFAULT": "recording",
        "CONNECTIONS": {"recording": {"DRIVER": "tests.whik.recording.RecordingBroadcaster"}},
    }
    yield RecordingBroadcaster.sent
    RecordingBroadcaster.sent.clear()


@pytest.fixture
def commits(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> Callable[[], AbstractContextManager[list[Any]]]:
    """Return a context that does, at its end, what a test's transaction holds until commit."""
    return lambda: django_capture_on_commit_callbacks(execute=True)
