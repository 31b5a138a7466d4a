"""What is reported of ``ASGI_APPLICATION``, daphne and ``runserver``."""

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import CheckMessage
from django.core.management.base import BaseCommand
from django.core.management.commands.runserver import Command as RunserverCommand
from django.test import override_settings

from broadcasting.checks import asgi
from broadcasting.checks.asgi import check_asgi_application, check_daphne_version, check_runserver

PUSHER = {
    "DEFAULT": "x",
    "CONNECTIONS": {
        "x": {
            "DRIVER": "broadcasting.drivers.pusher.PusherBroadcaster",
            "URL": "https://ws.example.com",
        }
    },
}


@pytest.fixture
def daphne(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that daphne is in INSTALLED_APPS: importing it makes an event loop."""
    is_installed = apps.is_installed
    monkeypatch.setattr(apps, "is_installed", lambda name: name == "daphne" or is_installed(name))


@pytest.fixture
def runserver(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, type[BaseCommand]], None]:
    """Return what makes a command of an app the one that runs."""

    def install(app: str, command: type[BaseCommand]) -> None:
        monkeypatch.setattr(asgi, "get_commands", lambda: {"runserver": app})
        monkeypatch.setattr(asgi, "load_command_class", lambda app, name: command())

    return install


@pytest.fixture
def asgi_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return what writes ``newborn_asgi.py``, which fails when it is imported."""

    def write(source: str) -> None:
        text = textwrap.dedent(source)
        (tmp_path / "newborn_asgi.py").write_text(f"raise AssertionError\n{text}")

    monkeypatch.syspath_prepend(tmp_path)
    with override_settings(ASGI_APPLICATION="newborn_asgi.application"):
        yield write


def ids(found: list[CheckMessage]) -> list[str | None]:
    """Return the numbers only."""
    return [message.id and message.id.removeprefix("broadcasting.") for message in found]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", "it must be a dotted path"),
        ("application", "it must be a dotted path"),
        (("tests", "asgi"), "it must be a dotted path"),
        ("no_such_package.asgi.application", "there is no module 'no_such_package.asgi'"),
        ("tests.no_such_module.application", "there is no module 'tests.no_such_module'"),
    ],
)
def test_e003_a_path_that_leads_nowhere(path: Any, text: str) -> None:
    """Whether or not daphne is there: `broadcast_serve` takes it, too."""
    with override_settings(ASGI_APPLICATION=path):
        (error,) = check_asgi_application(None)
    assert error.id == "broadcasting.E003"
    assert error.msg == f"ASGI_APPLICATION is {path!r}; {text}."


def test_without_daphne_no_application_is_needed() -> None:
    """`broadcast_serve` makes one."""
    with override_settings():
        from django.conf import settings

        del settings.ASGI_APPLICATION
        assert check_asgi_application(None) == []


def test_e003_daphne_needs_an_application(daphne: None) -> None:
    """Its runserver does not start without."""
    with override_settings(ASGI_APPLICATION=None):
        assert ids(check_asgi_application(None)) == ["E003"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("application = get_asgi_application()", ["W012"]),
        ("application: App = asgi.get_asgi_application()", ["W012"]),
        ("application = ProtocolTypeRouter({})", []),
        ("application = get_asgi_application()\napplication = Router(application)", []),
        ("if 1:\n    application = Router()\nelse:\n    application = get_asgi_application()", []),
        ("django = get_asgi_application()\nfrom shop.routing import application", []),
        ("application = Sentry(get_asgi_application())", []),
        ("not Python", []),
    ],
)
def test_w012_an_application_that_has_no_sockets(
    daphne: None, asgi_module: Callable[[str], None], source: str, expected: list[str]
) -> None:
    """Only what is certain is told, and the module is not imported."""
    asgi_module(source)
    assert ids(check_asgi_application(None)) == expected
    with override_settings(BROADCASTING=PUSHER):
        assert check_asgi_application(None) == []  # The sockets are elsewhere.
    assert "newborn_asgi" not in sys.modules


def test_broadcast_serve_brings_the_sockets(asgi_module: Callable[[str], None]) -> None:
    """So the application need not, where daphne does not run."""
    asgi_module("application = get_asgi_application()")
    assert check_asgi_application(None) == []


def test_a_module_without_source_is_not_guessed_at(
    daphne: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made at run time, or compiled."""
    monkeypatch.setitem(sys.modules, "newborn_asgi", ModuleType("newborn_asgi"))
    with override_settings(ASGI_APPLICATION="newborn_asgi.application"):
        assert check_asgi_application(None) == []


class OwnRunserver(RunserverCommand):
    """Of the project, or of a package that serves WebSockets its own way."""


class DaphneRunserver(RunserverCommand):
    """What daphne's looks like from here."""


DaphneRunserver.__module__ = "daphne.management.commands.runserver"


class BuiltOnDaphne(DaphneRunserver):
    """As WhiteNoise's, which takes the command of the app below."""


def test_i002_a_runserver_without_sockets(
    runserver: Callable[[str, type[BaseCommand]], None],
) -> None:
    """Told while somebody develops, and not where the sockets are served elsewhere."""
    for app in ("django.core", "django.contrib.staticfiles", "whitenoise.runserver_nostatic"):
        runserver(app, RunserverCommand)
        assert check_runserver(None) == []
        with override_settings(DEBUG=True):
            assert ids(check_runserver(None)) == ["I002"]
            for broadcasting in (PUSHER, {"DEFAULT": "log"}, {"DEFAULT": "radis"}):
                with override_settings(BROADCASTING=broadcasting):
                    assert check_runserver(None) == []


def test_an_unknown_runserver_passes(runserver: Callable[[str, type[BaseCommand]], None]) -> None:
    """It may well speak WebSocket."""
    runserver("shop", OwnRunserver)
    with override_settings(DEBUG=True):
        assert check_runserver(None) == []


def test_w006_a_runserver_before_daphnes(
    daphne: None, runserver: Callable[[str, type[BaseCommand]], None]
) -> None:
    """Of whatever app, which is named."""
    runserver("shop", OwnRunserver)
    (warning,) = check_runserver(None)
    assert warning.id == "broadcasting.W006"
    assert "'shop' before 'daphne'" in warning.msg


@pytest.mark.parametrize("command", [DaphneRunserver, BuiltOnDaphne])
def test_a_runserver_of_daphne_passes(
    daphne: None, runserver: Callable[[str, type[BaseCommand]], None], command: type[BaseCommand]
) -> None:
    """Itself, and what builds upon it."""
    runserver("whichever", command)
    with override_settings(DEBUG=True):
        assert check_runserver(None) == []


def test_the_demos_runserver_is_daphnes() -> None:
    """The name by which the check knows it, seen where daphne is really there."""
    code = (
        "import django; django.setup()\n"
        "from broadcasting.checks.asgi import check_runserver\n"
        "from django.core.management import get_commands\n"
        "print(get_commands()['runserver'], check_runserver(None))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[2],
        env={"DJANGO_SETTINGS_MODULE": "tests.checks.projects.right"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "daphne []\n", done.stderr


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ("3.0.2", ["W007"]),
        ("4.1.2", ["W007"]),
        ("4.2.1", ["W007"]),
        ("4.2", ["W007"]),
        ("4.2.2", []),
        ("4.2.3", []),
        ("4.10.0", []),
        ("5.0.dev1", []),
        (None, []),
    ],
)
def test_w007_an_old_daphne(
    monkeypatch: pytest.MonkeyPatch, installed: str | None, expected: list[str]
) -> None:
    """Numbers are compared as numbers; without daphne nothing is wrong."""

    def version(package: str) -> str:
        assert package == "daphne"
        if installed is None:
            raise PackageNotFoundError(package)
        return installed

    monkeypatch.setattr(asgi, "version", version)
    found = check_daphne_version(None)
    assert ids(found) == expected
    assert all(str(installed) in message.msg for message in found)
