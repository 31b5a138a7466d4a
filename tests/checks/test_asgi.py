"""``ASGI_APPLICATION``, daphne and ``runserver``."""

import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.apps import apps
from django.core.management.base import BaseCommand
from django.core.management.commands.runserver import Command as RunserverCommand

from broadcasting.checks import asgi
from broadcasting.checks.asgi import check_asgi_application, check_daphne_version, check_runserver
from tests.checks.reported import ids, reported

DRIVER = "broadcasting.drivers.pusher.PusherBroadcaster"
PUSHER = {"DEFAULT": "x", "CONNECTIONS": {"x": {"DRIVER": DRIVER, "URL": "https://a.example"}}}
NEWBORN = "newborn_asgi.application"
GET = "application = get_asgi_application()"


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
    (error,) = reported(check_asgi_application, ASGI_APPLICATION=path)
    assert error.startswith(f"E003 ASGI_APPLICATION is {path!r}; {text}.")


def test_only_daphne_needs_an_application(request: pytest.FixtureRequest) -> None:
    """`broadcast_serve` makes one; daphne's runserver does not start without."""
    assert ids(check_asgi_application, ASGI_APPLICATION=None) == []
    request.getfixturevalue("daphne")
    assert ids(check_asgi_application, ASGI_APPLICATION=None) == ["E003"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (GET, ["W012"]),
        ("application: App = asgi.get_asgi_application()", ["W012"]),
        ("application = ProtocolTypeRouter({})", []),
        (f"{GET}\napplication = Router(application)", []),
        (f"if 1:\n    application = Router()\nelse:\n    {GET}", []),
        ("django = get_asgi_application()\nfrom shop.routing import application", []),
        ("application = Sentry(get_asgi_application())", []),
        ("not Python", []),
    ],
)
def test_w012_an_application_that_has_no_sockets(
    source: str,
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Only what is certain is reported, and the module is not imported."""
    (tmp_path / "newborn_asgi.py").write_text(f"raise AssertionError\n{source}")
    monkeypatch.syspath_prepend(tmp_path)
    # Without daphne `broadcast_serve` brings the sockets.
    assert ids(check_asgi_application, ASGI_APPLICATION=NEWBORN) == []
    request.getfixturevalue("daphne")
    assert ids(check_asgi_application, ASGI_APPLICATION=NEWBORN) == expected
    # The sockets may be elsewhere.
    assert ids(check_asgi_application, ASGI_APPLICATION=NEWBORN, BROADCASTING=PUSHER) == []
    assert "newborn_asgi" not in sys.modules
    # A module without source was made at run time, or compiled.
    monkeypatch.setitem(sys.modules, "newborn_asgi", ModuleType("newborn_asgi"))
    assert ids(check_asgi_application, ASGI_APPLICATION=NEWBORN) == []


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
    """With DEBUG only, and not if another server has the sockets."""
    for app in ("django.core", "django.contrib.staticfiles", "whitenoise.runserver_nostatic"):
        runserver(app, RunserverCommand)
        assert ids(check_runserver) == []
        assert ids(check_runserver, DEBUG=True) == ["I002"]
        for broadcasting in (PUSHER, {"DEFAULT": "log"}, {"DEFAULT": "radis"}):
            assert ids(check_runserver, DEBUG=True, BROADCASTING=broadcasting) == []
    runserver("shop", OwnRunserver)
    assert ids(check_runserver, DEBUG=True) == []


@pytest.mark.parametrize(
    ("command", "expected"), [(OwnRunserver, ["W006"]), (DaphneRunserver, []), (BuiltOnDaphne, [])]
)
def test_w006_a_runserver_before_daphnes(
    daphne: None,
    runserver: Callable[[str, type[BaseCommand]], None],
    command: type[BaseCommand],
    expected: list[str],
) -> None:
    """Its app is named. A command that builds on daphne's passes."""
    runserver("shop", command)
    assert ids(check_runserver) == expected
    assert all("'shop' before 'daphne'" in text for text in reported(check_runserver))


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        *((old, ["W007"]) for old in ("3.0.2", "4.1.2", "4.2.1", "4.2")),
        *((new, []) for new in ("4.2.2", "4.10.0", "5.0.dev1", None)),
    ],
)
def test_w007_an_old_daphne(
    monkeypatch: pytest.MonkeyPatch, installed: str | None, expected: list[str]
) -> None:
    """Numbers are compared as numbers; without daphne nothing is wrong."""

    def version(package: str) -> str:
        if installed is None:
            raise PackageNotFoundError(package)
        return installed

    monkeypatch.setattr(asgi, "version", version)
    assert ids(check_daphne_version) == expected
    assert all(str(installed) in text for text in reported(check_daphne_version))
