"""What ``from broadcasting import …`` offers."""

import subprocess
import sys

import pytest

import broadcasting

NAMES = [
    "BroadcastError",
    "Channel",
    "PresenceChannel",
    "PrivateChannel",
    "ShouldBroadcast",
    "ShouldBroadcastNow",
    "abroadcast",
    "abroadcast_to",
    "aevent",
    "broadcast",
    "broadcast_to",
    "event",
    "listen",
    "register_broadcast_fields",
]


def test_these_and_no_others() -> None:
    """A name more or less is a change for users."""
    assert broadcasting.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_is_there_under_its_name(name: str) -> None:
    """Imported on first use, the same object ever after."""
    value = getattr(broadcasting, name)
    assert value.__name__ == name
    assert getattr(broadcasting, name) is value
    assert value.__doc__


def test_another_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="module 'broadcasting' has no attribute 'evnt'"):
        _ = broadcasting.evnt


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("broadcasting", ["django", "channels", "redis", "asyncio"]),
        ("broadcasting.protocol.connection", ["django", "channels", "redis", "asyncio"]),
    ],
)
def test_a_low_floor_pulls_in_nothing_above_it(module: str, absent: list[str]) -> None:
    """The protocol can be used without Django."""
    code = f"import sys, {module}; print(*(set(sys.modules) & {set(absent)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []
