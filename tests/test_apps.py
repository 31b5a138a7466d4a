"""What happens when Django starts."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
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
    importlib.invalidate_caches()
    with override_settings(INSTALLED_APPS=["broadcasting", app]):
        apps.get_app_config("broadcasting").ready()


@pytest.mark.parametrize("name", ["listeners", "channel_auth"])
def test_modules_of_every_app_are_imported_if_there(name: str, new_app: Path) -> None:
    start_with("newborn")
    (new_app / f"{name}.py").write_text("import no_such_module\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        start_with("newborn")
    (new_app / f"{name}.py").write_text("HEARD = True\n")
    start_with("newborn")
    assert sys.modules[f"newborn.{name}"].HEARD is True


def test_the_app_has_neither_models_nor_migrations() -> None:
    config = apps.get_app_config("broadcasting")
    assert list(config.get_models()) == []
    assert not (Path(config.path) / "migrations").exists()


def test_a_project_needs_no_setting() -> None:
    code = """
from django.core.checks import run_checks
from broadcasting.conf import get_settings
settings = get_settings()
print(settings.default, settings.apps[0].secret, run_checks(tags=["broadcasting"]))
"""
    default, secret, found = in_project(code)
    assert (default, len(secret), found) == ("memory", 64, "[]")
    assert in_project(code) == [default, secret, found]


@pytest.mark.parametrize(
    ("server", "prefix"), [({}, ""), ({"PATH": "ws"}, "ws/"), ({"PATH": "/a/b/"}, "a/b/")]
)
def test_sockets_connect_below_the_path(server: dict[str, str], prefix: str) -> None:
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
