"""Connections that remember, and registries that forget after each test."""

from typing import cast

import pytest
from pytest_django import Settings

from broadcasting.drivers.registry import broadcasters
from broadcasting.events import dispatch, payload
from broadcasting.exceptions import BroadcastError
from tests.events.recording import RecordingBroadcaster

DRIVER = "tests.events.recording.RecordingBroadcaster"


@pytest.fixture(autouse=True)
def _empty_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_listeners", {})
    monkeypatch.setattr(payload, "_registered", {})


@pytest.fixture(autouse=True)
def first(settings: Settings) -> RecordingBroadcaster:
    """Return the default connection; ``second``, ``away`` and ``buggy`` exist beside it."""
    settings.BROADCASTING = {
        "DEFAULT": "first",
        "CONNECTIONS": {
            "first": {"DRIVER": DRIVER},
            "second": {"DRIVER": DRIVER},
            "away": {"DRIVER": DRIVER, "ERROR": BroadcastError("the bus is away")},
            "buggy": {"DRIVER": DRIVER, "ERROR": ZeroDivisionError("a bug")},
        },
    }
    return cast(RecordingBroadcaster, broadcasters["first"])


@pytest.fixture
def second(first: RecordingBroadcaster) -> RecordingBroadcaster:
    """Return a connection that is not the default one."""
    return cast(RecordingBroadcaster, broadcasters["second"])
