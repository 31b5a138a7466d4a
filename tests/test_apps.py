"""What happens when Django starts."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

# The smallest project there is: no database, no BROADCASTING, no CHANNEL_LAYERS.
PROJECT = """
import django
from django.conf import settings
settings.configure(SECRET_KEY="s", INSTALLED_APPS=["broadcasting"], **{more!r})
django.setup()
"""


def in_project(code: str, **more: object) -> list[str]:
    """Return the words that `code` prints in a process of a project with `more` settings."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROJECT.format(more=more) + code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def new_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the directory of an app, ``newborn``, that can be installed."""
    package = tmp_path / "newborn"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "newborn"]:
        del sys.modules[name]


def start_with(app: str) -> None:
    """Start Django with `app` installed after broadcasting, and go back."""
    with override_settings(INSTALLED_APPS=["broadcasting", app]):
        apps.get_app_config("broadcasting").ready()


def test_listeners_of_every_app_are_imported(new_app: Path) -> None:
    """Of apps that come later in INSTALLED_APPS, too."""
    (new_app / "listeners.py").write_text("HEARD = True\n")
    start_with("newborn")
    assert sys.modules["newborn.listeners"].HEARD is True


def test_an_app_without_listeners_is_fine(new_app: Path) -> None:
    """Most have none."""
    start_with("newborn")
    assert "newborn.listeners" not in sys.modules


def test_a_mistake_in_listeners_is_not_swallowed(new_app: Path) -> None:
    """The project hears of it at the start, not by events that nobody hears."""
    (new_app / "listeners.py").write_text("import no_such_module\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        start_with("newborn")


def test_the_rules_for_channels_of_every_app_are_imported(new_app: Path) -> None:
    """They are there before the first request asks."""
    (new_app / "channel_auth.py").write_text("ASKED = True\n")
    start_with("newborn")
    assert sys.modules["newborn.channel_auth"].ASKED is True


def test_a_mistake_in_a_rule_stops_the_start(new_app: Path) -> None:
    """With the reason; nobody is let in or kept out by it unnoticed."""
    (new_app / "channel_auth.py").write_text(
        "from broadcasting import channel_authorizer\n"
        "channel_authorizer('private-chat', lambda user: True)\n"
    )
    with pytest.raises(ImproperlyConfigured, match="must not begin with private-"):
        start_with("newborn")


def test_the_demos_listeners_are_there() -> None:
    """They were imported when the suite started."""
    assert "whik.listeners" in sys.modules


def test_the_app_has_neither_models_nor_migrations() -> None:
    """It can be installed without touching the database."""
    config = apps.get_app_config("broadcasting")
    assert list(config.get_models()) == []
    assert not (Path(config.path) / "migrations").exists()


def test_a_project_needs_no_setting() -> None:
    """Events stay in the process, the check passes, and every process signs alike."""
    code = """
from django.core.checks import run_checks
from broadcasting.conf import get_settings
settings = get_settings()
print(settings.default, settings.apps[0].secret, run_checks(tags=["broadcasting"]))
"""
    default, secret, found = in_project(code)
    assert (default, len(secret), found) == ("memory", 64, "[]")
    assert in_project(code) == [default, secret, found]


def test_the_process_that_routes_sockets_serves() -> None:
    """`broadcasting.routing` makes it so; the HTTP addresses alone do not."""
    code = """
from broadcasting.drivers.base import is_serving_here
import broadcasting.urls
print(is_serving_here())
import broadcasting.routing
print(is_serving_here())
"""
    assert in_project(code, ROOT_URLCONF="broadcasting.urls") == ["False", "True"]


@pytest.mark.parametrize(
    ("server", "prefix"), [({}, ""), ({"PATH": "ws"}, "ws/"), ({"PATH": "/a/b/"}, "a/b/")]
)
def test_sockets_connect_below_the_path(server: dict[str, str], prefix: str) -> None:
    """At ``<path>/app/<key>``, and nowhere else."""
    addresses = [f"{prefix}app/abc", f"{prefix}app/", f"{prefix}app/abc/more", f"x/{prefix}app/abc"]
    code = f"""
from broadcasting.routing import websocket_urlpatterns
(route,) = websocket_urlpatterns
for address in {[*addresses, "app/abc"]!r}:
    match = route.resolve(address)
    print(match and match.kwargs["key"])
"""
    bare = "None" if prefix else "abc"
    printed = in_project(code, BROADCASTING={"SERVER": server})
    assert printed == ["abc", "None", "None", "None", bare]
