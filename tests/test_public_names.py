"""What ``from broadcasting import …`` offers."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import broadcasting

NAMES = [
    "BroadcastError",
    "BroadcastNotification",
    "BroadcastsModelEvents",
    "BroadcastsQuerySet",
    "Channel",
    "EncryptedPrivateChannel",
    "ModelEvent",
    "PresenceChannel",
    "PrivateChannel",
    "ShouldBroadcast",
    "ShouldBroadcastNow",
    "abroadcast",
    "abroadcast_html",
    "abroadcast_to",
    "aevent",
    "anotify",
    "aterminate_user_connections",
    "broadcast",
    "broadcast_html",
    "broadcast_to",
    "channel_authorizer",
    "event",
    "flush_debounced",
    "listen",
    "notify",
    "register_broadcast_fields",
    "terminate_user_connections",
    "user_authenticator",
    "without_broadcasting",
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


def test_they_are_listed_before_their_first_use() -> None:
    """A shell completes what nobody has touched yet, and listing imports nothing."""
    code = "import sys, broadcasting; print('django' in sys.modules, *dir(broadcasting))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    imported, *names = done.stdout.split()
    assert imported == "False"
    assert names == sorted({*names, *NAMES, "__version__"})


@pytest.mark.parametrize("name", NAMES)
def test_each_may_be_the_first_import_of_a_process(name: str) -> None:
    """No circle of imports stands in the way, whichever comes first."""
    code = f"from broadcasting import {name}; print({name}.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.strip() == name, done.stderr


def test_type_checkers_see_the_same_names() -> None:
    """What is written for them comes from where it is resolved at run time."""
    assert broadcasting.__file__ is not None
    tree = ast.parse(Path(broadcasting.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: statement.module
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert sorted(seen) == NAMES
    for name, module in seen.items():
        home = import_module(f"broadcasting.{module}")
        assert getattr(home, name) is getattr(broadcasting, name)


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
