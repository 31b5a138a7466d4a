"""``manage.py broadcast_install`` and ``python -m broadcasting install``, in real projects."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from broadcasting.management import install
from broadcasting.management.commands import broadcast_install
from broadcasting.management.edits import Edit
from tests.conftest import ROOT, end
from tests.utils import free_port, wait_until

SETTINGS, URLS, ASGI = "mysite/settings.py", "mysite/urls.py", "mysite/asgi.py"
MIDDLEWARE = "broadcasting.middleware.SocketIdMiddleware"
APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.staticfiles"]
# The rest of what a settings file says.
REST = """
SECRET_KEY = "x"
MIDDLEWARE = []
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
"""
MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{settings}")
execute_from_command_line(sys.argv)
"""
GET = "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n"
FILES = {
    "manage.py": MANAGE.format(settings="mysite.settings"),
    "mysite/__init__.py": "",
    SETTINGS: f"INSTALLED_APPS = {APPS}\n{REST}",
    URLS: "from django.urls import path\n\nurlpatterns = []\n",
    ASGI: GET,
}
# What a process of the project finds.
LOOK = """
import json, django
django.setup()
from django.conf import settings
from django.urls import resolve
from django.utils.module_loading import import_string
from broadcasting.management.install import Installation
application, again = import_string(settings.ASGI_APPLICATION), Installation(None)
print(json.dumps({
    "apps": settings.INSTALLED_APPS,
    "middleware": settings.MIDDLEWARE,
    "broadcasting": settings.BROADCASTING,
    "auth": resolve("/broadcasting/auth").url_name,
    "again": len(again.edits) + len(again.left),
    "protocols": sorted(application.application_mapping),
}))
"""


class Site:
    """A project in a folder of its own."""

    def __init__(self, root: Path, files: Mapping[str, str | None]) -> None:
        self.root = root
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_text(textwrap.dedent(text))

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    def environment(self) -> dict[str, str]:
        """Return the environment of a process that knows nothing of this suite's settings."""
        environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
        return environment | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def python(
        self, *arguments: str, status: int = 0, environment: dict[str, str] | None = None
    ) -> str:
        """Run Python there, and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-B", *arguments],  # Files are written twice in one second.
            cwd=self.root,
            env=self.environment() | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout
        assert "Traceback" not in done.stdout
        return done.stdout

    def install(self, *options: str, status: int = 0) -> str:
        """Run the command and return what it printed."""
        return self.python("-m", "broadcasting", "install", "--no-input", *options, status=status)

    def look(self, settings: str = "mysite.settings", **more: str) -> Any:
        """Return what the project has."""
        printed = self.python("-c", LOOK, environment={"DJANGO_SETTINGS_MODULE": settings} | more)
        return json.loads(printed.splitlines()[-1])


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., Site]:
    """Return what makes a project of `FILES` with the changes that are given."""

    def make(files: Mapping[str, str | None] | None = None) -> Site:
        Site(tmp_path, FILES)
        return Site(tmp_path, files or {})

    return make


MakeSite = Callable[..., Site]

LAYOUTS: dict[str, tuple[dict[str, str | None], list[str]]] = {
    "typed tuple, last line without an end": (
        {SETTINGS: f"INSTALLED_APPS: tuple[str, ...] = {tuple(APPS)}\n{REST.rstrip()}"},
        [SETTINGS, URLS, ASGI],
    ),
    "parts, and files with little in them": (
        {
            SETTINGS: f"""
            DJANGO_APPS = {APPS}
            LOCAL_APPS = []
            INSTALLED_APPS = DJANGO_APPS + LOCAL_APPS
            ROOT_URLCONF = "mysite.urls"
            """,
            ASGI: None,
            "mysite/wsgi.py": 'setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")',
        },
        [SETTINGS, URLS, ASGI],
    ),
    "base and local": (
        {
            SETTINGS: None,
            "manage.py": MANAGE.format(settings="mysite.settings.local"),
            "mysite/settings/__init__.py": "",
            "mysite/settings/base.py": FILES[SETTINGS],
            "mysite/settings/local.py": """
            from . import extra
            from .base import *
            INSTALLED_APPS += ["django.contrib.messages"]
            MIDDLEWARE = ["django.middleware.common.CommonMiddleware", *MIDDLEWARE]
            """,
            "mysite/settings/extra.py": "from . import base",
        },
        ["mysite/settings/base.py", URLS, ASGI],
    ),
    "three steps": (
        {
            SETTINGS: None,
            "mysite/settings/__init__.py": "from mysite.settings.local import *\n",
            "mysite/settings/local.py": "import os\nfrom .base import *\nMIDDLEWARE = []\n",
            "mysite/settings/base.py": f"from .apps import INSTALLED_APPS\n{REST}",
            "mysite/settings/apps.py": f"INSTALLED_APPS = {APPS}\n",
        },
        [*(f"mysite/settings/{name}.py" for name in ("apps", "local", "base")), URLS, ASGI],
    ),
    "daphne below staticfiles": (
        {SETTINGS: f"INSTALLED_APPS = {[*APPS, 'daphne']}\n{REST}"},
        [SETTINGS, URLS, ASGI],
    ),
    "languages, and a pattern that takes everything": (
        {
            URLS: """
            from django.conf.urls.i18n import i18n_patterns
            from django.http import HttpResponse
            from django.urls import include, path, re_path
            urlpatterns = i18n_patterns(re_path("", lambda request: HttpResponse()))
            urlpatterns += [re_path("", lambda request: HttpResponse())]
            """,
        },
        [SETTINGS, URLS, ASGI],
    ),
    "much is there": (
        {
            SETTINGS: f"INSTALLED_APPS = {['daphne', *APPS]}\n{REST}"
            "BROADCASTING = {'DEFAULT': 'memory', 'APPS': [{'ID': '1', 'KEY': 'k', 'SECRET': 's'}]}"
            f"\nMIDDLEWARE = ['{MIDDLEWARE}']\nASGI_APPLICATION = 'mysite.asgi.application'\n",
            URLS: """
            from django.urls import include, path
            urlpatterns = [path("", include("mysite.more"))]
            """,
            "mysite/more.py": """
            from django.urls import include, path
            urlpatterns = [path("", include("broadcasting.urls"))]
            """,
        },
        [SETTINGS, ASGI],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout(layout: str, make_site: MakeSite) -> None:
    """However files are laid out, each gets what it lacks; a second run finds nothing to do."""
    files, written = LAYOUTS[layout]
    site = make_site(files)
    assert f"Wrote {', '.join(written)}.\n" in site.install()
    found = site.look("mysite.settings.local" if layout == "base and local" else "mysite.settings")
    assert found["apps"].count("daphne") == found["apps"].count("broadcasting") == 1
    assert found["apps"][0] == "daphne"
    assert set(APPS) <= set(found["apps"])
    assert found["middleware"].count(MIDDLEWARE) == 1
    assert set(found["broadcasting"]["APPS"][0]) == {"ID", "KEY", "SECRET"}
    assert found["auth"] == "auth"
    assert found["protocols"] == ["http", "websocket"]
    assert found["again"] == 0
    for name in written:
        assert site.read(name).count(install.BEGIN) == site.read(name).count(install.END) == 1


def test_new_project_serves_sockets(tmp_path: Path) -> None:
    """What ``startproject`` makes passes all checks; its runserver greets a client with the key."""
    call_command("startproject", "mysite", str(tmp_path))
    site = Site(tmp_path, {})
    printed = site.install("--connection", "memory")
    assert "--- mysite/settings.py" in printed
    site.python("manage.py", "check", "--fail-level", "WARNING")
    assert site.python("manage.py", "broadcast_install") == "Nothing to do.\n"
    broadcasting = site.look()["broadcasting"]
    assert broadcasting["DEFAULT"] == "memory"
    port = free_port()
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"],
            cwd=tmp_path,
            env=site.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    greetings: list[dict[str, Any]] = []

    def is_greeted() -> bool:
        url = f"ws://127.0.0.1:{port}/app/{broadcasting['APPS'][0]['KEY']}?protocol=7"
        with suppress(OSError, WebSocketException), connect(url) as socket:
            greetings.append(json.loads(socket.recv()))
        return bool(greetings)

    try:
        wait_until(is_greeted, 60, "the server greets a socket")
    except AssertionError as exc:
        pytest.fail(f"{exc}\n{site.read('server.log')}")
    finally:
        end(process)
    assert greetings[0]["event"] == "pusher:connection_established"


def test_credentials_come_from_the_environment_first(make_site: MakeSite) -> None:
    """Those in the file are new in each project, and say that they are for development."""
    site = make_site()
    site.install("--connection", "redis")
    (app,) = site.look()["broadcasting"]["APPS"]
    assert app["ID"].isdigit()
    assert app["SECRET"].startswith("insecure-")
    assert len(app["SECRET"]) > 40
    found = site.look(BROADCAST_SECRET="mine", REDIS_URL="redis://there/1")["broadcasting"]
    assert found["APPS"][0] == {**app, "SECRET": "mine"}
    assert (found["DEFAULT"], found["CONNECTIONS"]["redis"]["URL"]) == ("redis", "redis://there/1")
    assert 'Set "DEFAULT" in it' in site.install("--connection", "memory", status=1)
    make_site()
    site.install()
    assert not set(app.values()) & set(site.look()["broadcasting"]["APPS"][0].values())


@pytest.mark.parametrize(
    ("files", "printed"),
    [
        (
            {
                ASGI: f"{GET}from channels.routing import ProtocolTypeRouter\n"
                "application = ProtocolTypeRouter({'http': application})\n"
            },
            [f"{ASGI}. application is more than", '"websocket": URLRouter([*websocket_url'],
        ),
        (
            {URLS: "from os import path\nurlpatterns = []\n"},
            [f"{URLS}. path is not that of django.urls", 'path("", include("broadcasting.urls"))'],
        ),
        ({URLS: f"{install.BEGIN}\nurlpatterns = []\n"}, [f"{URLS}. The block", "is missing"]),
        (
            {SETTINGS: f"{FILES[SETTINGS]}ASGI_APPLICATION = 'channels.routing.URLRouter'\n"},
            ["channels/routing.py. The file belongs to an installed package"],
        ),
    ],
)
def test_what_is_left_to_the_user(
    files: Mapping[str, str], printed: list[str], make_site: MakeSite
) -> None:
    """It is printed with the reason and the lines, and the command fails; the rest is written."""
    site = make_site(files)
    output = site.install(status=1)
    for text in printed:
        assert text in output
    assert install.END in site.read(SETTINGS)
    for name in files.keys() - {SETTINGS}:
        assert site.read(name) == files[name]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({SETTINGS: "import a_package_that_is_not_there\n"}, "a_package_that_is_not_there"),
        ({URLS: "urlpatterns = [\n"}, "SyntaxError"),
        ({ASGI: "1 / 0\n"}, "ZeroDivisionError"),
        ({SETTINGS: "class Dev:\n    INSTALLED_APPS = []\n"}, "does not set INSTALLED_APPS"),
        ({SETTINGS: None, "mysite/settings/dev.py": ""}, "--settings mysite.settings.dev"),
        ({"manage.py": None}, "Run the command in the folder of manage.py"),
    ],
)
def test_nothing_is_written_where_the_project_cannot_be_imported(
    files: Mapping[str, str | None], message: str, make_site: MakeSite
) -> None:
    """The one line of the error says what to correct."""
    site = make_site(files)
    assert message in site.install(status=1)
    assert not any(install.BEGIN in path.read_text() for path in site.root.rglob("*.py"))
    assert "usage: python -m broadcasting install" in site.python("-m", "broadcasting", status=2)


# Showing, asking and writing


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edit:
    """Make the command find one edit."""
    edit = Edit(tmp_path / "settings.py", "a = 1\n", "a = 2\n")
    edit.path.write_text(edit.before)

    class Planned:
        edits = (edit,)
        left = ()

    monkeypatch.setattr(broadcast_install, "_plan", lambda connection: Planned)
    return edit


def test_it_shows_asks_and_writes(
    edit: Edit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The differences come first, then the question, then the files."""

    def reply(prompt: str) -> str:
        assert "+a = 2\n" in capsys.readouterr().out
        return " Yes"

    monkeypatch.setattr("builtins.input", reply)
    call_command("broadcast_install", no_color=True)
    assert edit.path.read_text() == "a = 2\n"


@pytest.mark.parametrize("answer", ["", "no", None])
def test_nothing_is_written_without_a_yes(
    answer: str | None, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where nobody can answer, nor with ``--dry-run``."""

    def reply(prompt: str) -> str:
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", reply)
    with pytest.raises(CommandError, match="Nothing was written"):
        call_command("broadcast_install")
    call_command("broadcast_install", "--dry-run")
    assert edit.path.read_text() == "a = 1\n"


def test_missing_package_and_file_are_named(edit: Edit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command can be run again."""
    edit.path.unlink()
    edit.path.mkdir()
    with pytest.raises(CommandError, match=str(edit.path)):
        call_command("broadcast_install", "--no-input")
    monkeypatch.setattr(broadcast_install, "find_spec", lambda name: None)
    with pytest.raises(CommandError, match=r'pip install daphne "whik\[redis\]"'):
        call_command("broadcast_install", "--no-input", "--connection", "redis")
