"""The fixtures of the pytest plugin, which an installed package would bring."""

from typing import cast

import pytest
from pytest_django import Settings

from broadcasting.drivers.registry import broadcasters
from broadcasting.pytest_plugin import async_broadcast_client, broadcast_client, fake_broadcasts
from tests.events.recording import RecordingBroadcaster as Recorder

__all__ = ["async_broadcast_client", "broadcast_client", "fake_broadcasts"]


@pytest.fixture
def driver(settings: Settings) -> Recorder:
    """Return the default connection, which remembers what is really sent."""
    settings.BROADCASTING = {
        "DEFAULT": "first",
        "CONNECTIONS": {"first": {"DRIVER": "tests.events.recording.RecordingBroadcaster"}},
    }
    return cast(Recorder, broadcasters["first"])
