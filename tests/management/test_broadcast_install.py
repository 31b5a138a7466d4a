"""``manage.py broadcast_install`` and ``python -m broadcasting install``."""

import importlib
import io
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
from django.core.management import CommandError, call_command
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from broadcasting.management.commands import broadcast_install
from broadcasting.management.installing import installation as installation_module
from broadcasting.management.installing.installation import SETTINGS, Installation
from broadcasting.management.installing.project import Project
from tests.conftest import ROOT, end
from tests.utils import free_port, wait_until

MIDDLEWARE = "broadcasting.middleware.SocketIdMiddleware"
SETTINGS_PY, URLS_PY, ASGI_PY = "mysite/settings", "mysite/urls", "mysite/asgi"
URLS = """
from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
"""
ASGI = """
import os
from django.core.asgi import get_asgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
application = get_asgi_application()
"""
# The rest of what a settings file says.
REST = """
MIDDLEWARE = []
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
"""
SETTINGS_FILE = 'INSTALLED_APPS = ["django.contrib.staticfiles", "shop"]\n' + REST


class Site:
    """A project in a folder of its own."""

    def __init__(self, root: Path, settings_module: str = "mysite.settings") -> None:
        self.root = root
        self.settings_module = settings_module

    def write(self, files: Mapping[str, str]) -> None:
        """Write files, their names without ``.py``."""
        for name, text in files.items():
            path = self.root / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    def read(self, name: str) -> str:
        """Return the text of a file."""
        return (self.root / f"{name}.py").read_text()

    def values(self) -> dict[str, Any]:
        """Return the settings as the project would have them."""
        own = {path.name for path in self.root.iterdir()}
        try:
            module = importlib.import_module(self.settings_module)
            return {name: getattr(module, name, None) for name in SETTINGS}
        finally:
            for name in [n for n in sys.modules if n.partition(".")[0] in own]:
                del sys.modules[name]

    def project(self) -> Project:
        """Return the project as the command would find it."""
        return Project(self.settings_module, self.values(), [self.root])

    def install(self, connection: str | None = None) -> Installation:
        """Make every edit that can be made, and write it."""
        installation = Installation(self.project(), connection)
        installation.plan()
        for source in installation.project.changed:
            source.write()
        return installation

    def is_installed(self) -> bool:
        """Tell whether the settings have what broadcasting needs, and nothing is left to do."""
        values = self.values()
        again = Installation(self.project())
        again.plan()
        apps = list(values["INSTALLED_APPS"])
        return (
            not again.left
            and not again.project.changed
            and apps.count("daphne") == apps.count("broadcasting") == 1
            and MIDDLEWARE in values["MIDDLEWARE"]
            and values["ASGI_APPLICATION"].endswith("asgi.application")
            and set(values["BROADCASTING"]["APPS"][0]) == {"ID", "KEY", "SECRET"}
        )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a small project, all in order and without broadcasting."""
    monkeypatch.syspath_prepend(tmp_path)
    # Files are written twice in one second.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    site = Site(tmp_path)
    site.write({"mysite/__init__": "", SETTINGS_PY: SETTINGS_FILE, URLS_PY: URLS, ASGI_PY: ASGI})
    return site


Run = Callable[..., str]


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the command in the project and returns what it prints."""
    monkeypatch.setattr(broadcast_install, "_project", site.project)

    def run(*arguments: str) -> str:
        output = io.StringIO()
        try:
            call_command("broadcast_install", *arguments, stdout=output, no_color=True)
        except CommandError as exc:
            output.write(f"CommandError: {exc}")
        return output.getvalue()

    return run


# What a project is left with


def test_every_file_gets_its_lines(site: Site) -> None:
    """Apps in their order, middleware, ASGI, credentials, addresses and routes."""
    assert site.install().left == []
    values = site.values()
    assert values["INSTALLED_APPS"] == [
        "daphne",
        "django.contrib.staticfiles",
        "shop",
        "broadcasting",
    ]
    assert values["MIDDLEWARE"] == [MIDDLEWARE]
    assert values["ASGI_APPLICATION"] == "mysite.asgi.application"
    assert 'urlpatterns = [path("admin/", admin.site.urls), path("", include(' in site.read(
        "mysite/urls"
    )
    assert "URLRouter([*websocket_urlpatterns, websocket_fallback])" in site.read(ASGI_PY)
    assert site.is_installed()


def test_credentials_are_new_each_time_and_come_from_the_environment_first(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one in the file says that it is for development only."""
    site.install()
    (first,) = site.values()["BROADCASTING"]["APPS"]
    site.write({SETTINGS_PY: SETTINGS_FILE})
    site.install()
    (second,) = site.values()["BROADCASTING"]["APPS"]
    assert not set(first.values()) & set(second.values())
    assert first["ID"].isdigit()
    assert first["SECRET"].startswith("insecure-")
    assert len(first["SECRET"]) > 40
    monkeypatch.setenv("BROADCAST_SECRET", "from the environment")
    assert site.values()["BROADCASTING"]["APPS"][0]["SECRET"] == "from the environment"


@pytest.mark.parametrize("connection", ["memory", "channels", "redis"])
def test_connection_is_written(
    connection: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the address from the environment where it has one."""
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere/1")
    site.install(connection)
    values = site.values()
    assert values["BROADCASTING"]["DEFAULT"] == connection
    assert ("redis://elsewhere/1" in repr(values)) == (connection != "memory")
    assert bool(values["CHANNEL_LAYERS"]) == (connection == "channels")
    assert site.is_installed()


def test_channel_layer_that_is_there_stays(site: Site) -> None:
    """`--connection channels` then means that one."""
    layer = 'CHANNEL_LAYERS = {"default": {"BACKEND": "x"}}\n'
    site.write({SETTINGS_PY: SETTINGS_FILE + layer})
    site.install("channels")
    assert site.values()["CHANNEL_LAYERS"] == {"default": {"BACKEND": "x"}}


SPLIT = {
    "one file": {SETTINGS_PY: SETTINGS_FILE},
    "single quotes, tuple, typed": {
        SETTINGS_PY: "INSTALLED_APPS: tuple[str, ...] = (\n    'shop',\n)\n" + REST
    },
    "tabs": {SETTINGS_PY: "INSTALLED_APPS = [\n\t'shop'\n]\n" + REST},
    "parts": {
        SETTINGS_PY: """
            DJANGO_APPS = ["django.contrib.staticfiles"]
            THIRD_PARTY_APPS = ["rest_framework"]
            LOCAL_APPS = ["shop"]
            INSTALLED_APPS = DJANGO_APPS + THIRD_PARTY_APPS + LOCAL_APPS
            """
        + textwrap.indent(REST, " " * 12)
    },
    "stars": {
        SETTINGS_PY: "OWN = ['shop']\nINSTALLED_APPS = ['a', *OWN]\n" + REST,
    },
    "base and local": {
        "mysite/settings/__init__": "",
        "mysite/settings/base": SETTINGS_FILE,
        "mysite/settings/local": """
            from .base import *
            INSTALLED_APPS += ["debug_toolbar"]
            if True:
                MIDDLEWARE = ["debug_toolbar.middleware", *MIDDLEWARE]
            """,
    },
    "three steps": {
        "mysite/settings/__init__": "from mysite.settings.local import *\n",
        "mysite/settings/local": "from .base import *\n",
        "mysite/settings/base": "from .apps import INSTALLED_APPS\n" + REST,
        "mysite/settings/apps": "INSTALLED_APPS = []\n",
    },
    "added in place": {
        SETTINGS_PY: SETTINGS_FILE + "INSTALLED_APPS.append('x')\nMIDDLEWARE += ['y']\n"
    },
    "local at the end": {
        SETTINGS_PY: SETTINGS_FILE
        + "# This machine's own.\ntry:\n    from .local import *\nexcept ImportError:\n    pass\n",
        "mysite/local": "DEBUG = True\n",
    },
    "last line without an end": {SETTINGS_PY: SETTINGS_FILE.rstrip()},
    "ASGI_APPLICATION is there": {
        SETTINGS_PY: SETTINGS_FILE + "ASGI_APPLICATION = 'mysite.asgi.application'\n"
    },
    "no WSGI_APPLICATION": {
        SETTINGS_PY: "INSTALLED_APPS = []\nMIDDLEWARE = []\nROOT_URLCONF = 'mysite.urls'\n"
    },
}


@pytest.mark.parametrize("layout", SPLIT)
def test_settings_are_found_however_they_are_laid_out(layout: str, site: Site) -> None:
    """In one file or several, literal or put together; and a second run finds nothing to do."""
    files = SPLIT[layout]
    if SETTINGS_PY not in files:
        (site.root / "mysite" / "settings.py").unlink()
    site.write(files)
    if "mysite/settings/local" in files and layout == "base and local":
        site.settings_module = "mysite.settings.local"
    before = site.values()
    assert site.install().left == []
    assert site.is_installed()
    values = site.values()
    kept = [app for app in values["INSTALLED_APPS"] if app not in {"daphne", "broadcasting"}]
    assert kept == list(before["INSTALLED_APPS"])
    assert [m for m in values["MIDDLEWARE"] if m != MIDDLEWARE] == list(before["MIDDLEWARE"])
    assert values["INSTALLED_APPS"][0] == "daphne"
    assert type(values["INSTALLED_APPS"]) is type(before["INSTALLED_APPS"])


def test_list_for_packages_is_preferred(site: Site) -> None:
    """Many projects keep what is theirs apart."""
    site.write(SPLIT["parts"])
    site.install()
    assert 'THIRD_PARTY_APPS = ["rest_framework", "broadcasting"]' in site.read(SETTINGS_PY)


def test_local_settings_keep_the_last_word(site: Site) -> None:
    """BROADCASTING of one machine replaces the one that is written."""
    site.write(SPLIT["local at the end"])
    site.install()
    site.write({"mysite/local": "BROADCASTING = {'DEFAULT': 'null'}\n"})
    assert site.values()["BROADCASTING"] == {"DEFAULT": "null"}


@pytest.mark.parametrize(
    ("apps", "expected"),
    [
        ('["daphne", "django.contrib.staticfiles"]', ["daphne", "django.contrib.staticfiles"]),
        (
            '["whitenoise.runserver_nostatic", "daphne"]',
            ["whitenoise.runserver_nostatic", "daphne"],
        ),
        (
            '["django.contrib.staticfiles", "daphne", "shop"]',
            ["daphne", "django.contrib.staticfiles", "shop"],
        ),
        (
            '["django.contrib.staticfiles", "daphne.apps.DaphneConfig", "shop"]',
            ["daphne", "django.contrib.staticfiles", "shop"],
        ),
    ],
)
def test_daphne_is_moved_only_where_its_runserver_would_not_be_used(
    apps: str, expected: list[str], site: Site
) -> None:
    """Of two apps with a runserver Django takes the first one's."""
    site.write({SETTINGS_PY: f"INSTALLED_APPS = {apps}\n{REST}"})
    assert site.install().left == []
    assert site.values()["INSTALLED_APPS"] == [*expected, "broadcasting"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("[]", '[path("", include("broadcasting.urls"))]'),
        ("[a] + static()", '[a, path("", include("broadcasting.urls"))] + static()'),
        (
            '[a, re_path(r"^.*$", spa)]',
            '[a, path("", include("broadcasting.urls")), re_path(r"^.*$", spa)]',
        ),
        (
            '[path("<path:page>", flat)]',
            '[path("", include("broadcasting.urls")), path("<path:page>", flat)]',
        ),
        (
            '[path("", include(wagtail_urls))]',
            '[path("", include("broadcasting.urls")), path("", include(wagtail_urls))]',
        ),
        (
            '[path("", include("shop.urls"))]',
            '[path("", include("shop.urls")), path("", include("broadcasting.urls"))]',
        ),
        (
            'i18n_patterns(a)\nurlpatterns += [re_path("", spa)]',
            "i18n_patterns(a)\n"
            'urlpatterns = [*urlpatterns, path("", include("broadcasting.urls"))]\n'
            'urlpatterns += [re_path("", spa)]',
        ),
        (
            '[a]\nurlpatterns = urlpatterns + [path("", include(wagtail_urls))]',
            '[a, path("", include("broadcasting.urls"))]\n'
            'urlpatterns = urlpatterns + [path("", include(wagtail_urls))]',
        ),
        (
            "[a]\nurlpatterns = b",
            "[a]\nurlpatterns = b\n\n"
            'urlpatterns = [*urlpatterns, path("", include("broadcasting.urls"))]',
        ),
    ],
)
def test_addresses_stand_behind_the_projects_own(patterns: str, expected: str, site: Site) -> None:
    """Yet before a pattern that takes every address."""
    head = "from django.urls import include, path\n"
    site.write({URLS_PY: f"{head}urlpatterns = {patterns}\n"})
    assert site.install().left == []
    assert site.read(URLS_PY) == f"{head}urlpatterns = {expected}\n"


@pytest.mark.parametrize(
    "urls",
    [
        "from django.urls import include, path\n"
        "urlpatterns = [path('rt/', include('broadcasting.urls'))]\n",
        "from broadcasting import urls as b\nurlpatterns = [*b.urlpatterns]\n",
        "from django.urls import include, path\nurlpatterns = [path('', include('mysite.rt'))]\n",
    ],
)
def test_addresses_that_are_there_are_seen(urls: str, site: Site) -> None:
    """Below a prefix, imported by name, or in a file that is included."""
    site.write({"mysite/rt": "x = 'broadcasting.urls'\n", URLS_PY: urls})
    site.install()
    assert site.read(URLS_PY) == urls


def test_application_that_is_wrapped_stays_wrapped(site: Site) -> None:
    """The routes go around what pages are served by."""
    site.write({ASGI_PY: ASGI + "application = Wrapper(application)\n"})
    assert site.install().left == []
    written = site.read(ASGI_PY)
    assert written.index("Wrapper(") < written.index('"http": application')


def test_missing_asgi_file_is_made(site: Site) -> None:
    """With the settings that wsgi.py names, beside it."""
    (site.root / "mysite" / "asgi.py").unlink()
    line = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings.production")'
    site.write({"mysite/wsgi": f"import os\n{line}\n"})
    assert site.install().left == []
    written = site.read(ASGI_PY)
    assert line in written
    assert "ProtocolTypeRouter(" in written
    compile(written, "asgi.py", "exec")
    assert site.is_installed()


# What is left to the user


@pytest.mark.parametrize(
    ("files", "why", "lines"),
    [
        (
            {SETTINGS_PY: "INSTALLED_APPS = list('ab')\n" + REST},
            "INSTALLED_APPS does not begin with a list that is written out.",
            'INSTALLED_APPS = ["daphne", …]',
        ),
        (
            {SETTINGS_PY: "INSTALLED_APPS = list('ab')\n" + REST},
            "INSTALLED_APPS is not a list that is written out.",
            'INSTALLED_APPS = […, "broadcasting"]',
        ),
        (
            {
                SETTINGS_PY: "if True:\n    INSTALLED_APPS = ['a']\nelse:\n"
                "    INSTALLED_APPS = ['b']\n" + REST
            },
            "INSTALLED_APPS depends on a condition (mysite/settings.py, line 1).",
            'INSTALLED_APPS = […, "broadcasting"]',
        ),
        (
            {
                SETTINGS_PY: SETTINGS_FILE
                + "try:\n    from .local import *\nexcept OSError: ...\n",
                "mysite/local": "INSTALLED_APPS = ['a']\n",
            },
            "INSTALLED_APPS depends on a condition (mysite/settings.py, line 6).",
            'INSTALLED_APPS = ["daphne", …]',
        ),
        (
            {SETTINGS_PY: "INSTALLED_APPS = x() + ['a']\n" + REST},
            "INSTALLED_APPS does not begin with a list that is written out.",
            'INSTALLED_APPS = ["daphne", …]',
        ),
        (
            {SETTINGS_PY: SETTINGS_FILE + "MIDDLEWARE = list(MIDDLEWARE)\nMIDDLEWARE = x()"},
            "MIDDLEWARE is not a list that is written out.",
            f'MIDDLEWARE = […, "{MIDDLEWARE}"]',
        ),
        (
            {SETTINGS_PY: SETTINGS_FILE + "ASGI_APPLICATION = 'elsewhere.asgi.app'\n"},
            "ASGI_APPLICATION names no file of the project.",
            "app = ProtocolTypeRouter(",
        ),
        (
            {ASGI_PY: ASGI + "application = ProtocolTypeRouter({'http': application})\n"},
            "It has a ProtocolTypeRouter of its own; add the routes to that.",
            "from broadcasting.routing import websocket_fallback, websocket_urlpatterns",
        ),
        (
            {ASGI_PY: "from .other import application\n"},
            "It does not make application with get_asgi_application().",
            "application = ProtocolTypeRouter(",
        ),
        (
            {URLS_PY: "from .other import *\n"},
            "The file does not set urlpatterns itself.",
            'path("", include("broadcasting.urls"))',
        ),
        (
            {URLS_PY: "def path(): ...\nurlpatterns = []\n"},
            "urls.py means something else by path.",
            'path("", include("broadcasting.urls"))',
        ),
        (
            {URLS_PY: "urlpatterns = [\n"},
            "urls.py is no Python",
            'path("", include("broadcasting.urls"))',
        ),
    ],
)
def test_what_is_not_understood_is_left(
    files: Mapping[str, str], why: str, lines: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason and the lines to paste; its file stays as it was, the rest is done."""
    site.write(files)
    values = {
        "INSTALLED_APPS": ["shop"],
        "MIDDLEWARE": [],
        "ROOT_URLCONF": "mysite.urls",
        "ASGI_APPLICATION": "elsewhere.asgi.app" if "elsewhere" in repr(files) else None,
        "WSGI_APPLICATION": "mysite.wsgi.application",
    }
    monkeypatch.setattr(site, "values", lambda: values)
    found = [(left.why, left.lines) for left in site.install().left]
    assert any(why in reason and lines in text for reason, text in found), found
    for name, text in files.items():
        if name != SETTINGS_PY:
            assert site.read(name) == text
    assert "BROADCASTING" in site.read(SETTINGS_PY)


def test_settings_that_exist_are_not_replaced(site: Site) -> None:
    """Another connection is for the user to choose between."""
    site.write({SETTINGS_PY: SETTINGS_FILE + "BROADCASTING = {'DEFAULT': 'null'}\n"})
    (left,) = site.install("redis").left
    assert left.file == "mysite/settings.py"
    assert '"DEFAULT": "redis"' in left.lines
    assert site.install("redis").project.changed == []
    assert site.install().left == []


def test_installed_packages_are_not_edited(site: Site) -> None:
    """Settings that come from one are left to the user."""
    project = Project("mysite.settings", site.values(), [site.root, *sys.path])
    assert project.find("django.conf.global_settings") is None
    assert project.find("mysite.urls") is not None


# The command


def test_it_shows_asks_and_writes(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The diff first, then the question, then the files; a second run does nothing."""
    monkeypatch.setattr("builtins.input", lambda prompt: "y")
    printed = run()
    for text in (
        "--- mysite/settings.py",
        '+INSTALLED_APPS = ["daphne", "django.contrib.staticfiles", "shop", "broadcasting"]',
        "--- mysite/urls.py",
        "--- mysite/asgi.py",
        "Wrote mysite/settings.py, mysite/urls.py, mysite/asgi.py.",
        "{% load broadcasting %}{% broadcasting_scripts %}",
        "set BROADCAST_SECRET",
    ):
        assert text in printed
    assert site.is_installed()
    assert run() == run("--no-input") == run("--dry-run") == "Nothing to do.\n"


def _nobody(prompt: str) -> NoReturn:
    raise EOFError


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda prompt: "", "Nothing was written."),
        (lambda prompt: "no", "Nothing was written."),
        (_nobody, "pass --no-input"),
    ],
)
def test_nothing_is_written_without_a_yes(
    answer: Callable[[str], str],
    message: str,
    site: Site,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor where nobody can be asked."""
    monkeypatch.setattr("builtins.input", answer)
    assert message in run()
    assert site.read(SETTINGS_PY) == SETTINGS_FILE


def test_dry_run_only_shows(site: Site, run: Run) -> None:
    """It asks nothing and writes nothing."""
    assert "+++ mysite/asgi.py" in run("--dry-run")
    assert site.read(SETTINGS_PY) == SETTINGS_FILE


def test_what_is_left_fails_the_command(site: Site, run: Run) -> None:
    """The rest is written; once the lines are pasted the next run is content."""
    router = "application = ProtocolTypeRouter({'http': application})\n"
    site.write({ASGI_PY: ASGI + router})
    printed = run("--no-input")
    assert "Left to you, in mysite/asgi.py. It has a ProtocolTypeRouter of its own" in printed
    assert "CommandError: One change is left to you" in printed
    assert "Wrote mysite/settings.py, mysite/urls.py." in printed
    site.write({ASGI_PY: ASGI + router + "import broadcasting.routing\n"})
    assert run() == "Nothing to do.\n"


def test_missing_package_comes_before_anything_is_written(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project with daphne in its apps and not in its environment does not start at all."""
    monkeypatch.setattr(installation_module, "find_spec", lambda name: None)
    assert run("--no-input", "--connection", "redis") == (
        'CommandError: A package is missing; run `pip install daphne "whik[redis]"`, then this '
        "command again."
    )
    assert site.read(SETTINGS_PY) == SETTINGS_FILE


def test_file_that_cannot_be_written_is_named(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are whole, and the next run goes on from there."""

    def refuse(source: str, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr(os, "replace", refuse)
    printed = run("--no-input")
    assert "Permission denied" in printed
    assert "settings.py" in printed
    assert not list((site.root / "mysite").glob(".*"))


# A real project


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """Return the folder of what Django's own ``startproject`` makes."""
    call_command("startproject", "mysite", str(tmp_path))
    return tmp_path


def python(*arguments: str, cwd: Path) -> str:
    """Run Python in a project, with this repository's library; return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=project_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return f"{done.stdout}exit status {done.returncode}"


def project_environment() -> dict[str, str]:
    """Return the environment of a process that knows nothing of this suite's settings."""
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    return environment | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def served(started: Path) -> Iterator[int]:
    """Install into a new project, check it, run it; return the port."""
    assert "Wrote mysite/settings.py" in python(
        "-m", "broadcasting", "install", "--no-input", cwd=started
    )
    checked = python("manage.py", "check", "--fail-level", "WARNING", cwd=started)
    assert checked.endswith("exit status 0"), checked
    assert python("manage.py", "broadcast_install", cwd=started) == "Nothing to do.\nexit status 0"
    port = free_port()
    with (started / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"],
            cwd=started,
            env=project_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    yield port
    end(process)


def test_new_project_serves_sockets(served: int, started: Path) -> None:
    """Django's own runserver accepts a client that has the key."""
    key = python(
        *("manage.py", "shell", "-c"),
        "from django.conf import settings; print(settings.BROADCASTING['APPS'][0]['KEY'])",
        cwd=started,
    ).split()[-4]
    greetings: list[dict[str, Any]] = []

    def is_greeted() -> bool:
        with (
            suppress(OSError, WebSocketException),
            connect(f"ws://127.0.0.1:{served}/app/{key}?protocol=7") as socket,
        ):
            greetings.append(json.loads(socket.recv(timeout=10)))
        return bool(greetings)

    try:
        wait_until(is_greeted, 30, "the server greets a socket")
    except AssertionError as exc:
        pytest.fail(f"{exc}\n{(started / 'server.log').read_text()}")
    assert greetings[0]["event"] == "pusher:connection_established"


def test_module_says_how_it_is_run(tmp_path: Path) -> None:
    """Without a command, and in a folder without a project."""
    assert "usage: python -m broadcasting install" in python("-m", "broadcasting", cwd=tmp_path)
    printed = python("-m", "broadcasting", "install", cwd=tmp_path)
    assert "Run the command in the folder of manage.py" in printed
    assert printed.endswith("exit status 1")
    assert "Traceback" not in printed


def test_a_folder_of_settings_is_told_from_a_file(tmp_path: Path) -> None:
    """Python imports it as a package without a word, and nothing can be written into it."""
    (tmp_path / "manage.py").write_text(
        'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")\n'
    )
    (tmp_path / "mysite" / "settings").mkdir(parents=True)
    printed = python("-m", "broadcasting", "install", cwd=tmp_path)
    assert "name one: --settings mysite.settings.dev" in printed
    assert "Traceback" not in printed
