"""
The wheel, installed into a project that has never seen this repository.

The project's virtual environment borrows the libraries of the tests' own, so that
nothing is downloaded; `broadcasting` itself comes from the wheel alone.
"""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

import broadcasting

ROOT = Path(__file__).resolve().parent.parent

# What README.md tells a project to add.
SETTINGS = """
INSTALLED_APPS = ["daphne", *INSTALLED_APPS, "broadcasting"]
MIDDLEWARE += ["broadcasting.middleware.SocketIdMiddleware"]
ASGI_APPLICATION = "mysite.asgi.application"
"""
URLS = """
from django.urls import include

urlpatterns += [path("", include("broadcasting.urls"))]
"""
ASGI = """
from channels.routing import ProtocolTypeRouter, URLRouter

from broadcasting.routing import websocket_fallback, websocket_urlpatterns

sockets = URLRouter([*websocket_urlpatterns, websocket_fallback])
application = ProtocolTypeRouter({"http": application, "websocket": sockets})
"""


@dataclass(frozen=True)
class Project:
    """A project beside the wheel: its interpreter and its directory."""

    python: Path
    directory: Path

    def run(self, *arguments: str) -> str:
        """Run the project's interpreter and return what it printed. Fail if it fails."""
        return _run(self.python, *arguments, cwd=self.directory)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    directory = tmp_path_factory.mktemp("dist")
    options = ["--wheel", "--no-isolation", "--outdir", str(directory)]
    _run(sys.executable, "-m", "build", *options, str(ROOT), cwd=directory)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def project(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Start a project, install the wheel beside it and add what README.md says."""
    directory = tmp_path_factory.mktemp("project")
    _run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=directory)
    project = Project(directory / "venv" / "bin" / "python", directory)
    pip = ["-m", "pip", "--python", str(project.python)]
    options = ["--quiet", "--no-deps", "--no-index"]
    _run(sys.executable, *pip, "install", *options, str(wheel), cwd=directory)

    printed = project.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    borrowed = Path(printed.strip()) / "borrowed.pth"
    borrowed.write_text(sysconfig.get_path("purelib"))

    project.run("-m", "django", "startproject", "mysite", ".")
    for name, addition in {"settings": SETTINGS, "urls": URLS, "asgi": ASGI}.items():
        with (directory / "mysite" / f"{name}.py").open("a") as file:
            file.write(addition)
    return project


def test_wheel_holds_the_library_and_not_the_demo(wheel: Path) -> None:
    """Static files, typing marker and licence are in; demo and tests are not."""
    names = ZipFile(wheel).namelist()
    packages = {name.partition("/")[0] for name in names}
    metadata = f"whik-{broadcasting.__version__}.dist-info"
    assert packages == {"broadcasting", metadata}
    assert "broadcasting/py.typed" in names
    assert f"{metadata}/licenses/LICENSE" in names
    here = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "broadcasting").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert here <= set(names)


def test_name_is_imported_from_the_wheel(project: Project) -> None:
    """`from broadcasting import event` works, and not because of this checkout."""
    code = "import broadcasting; from broadcasting import event; print(broadcasting.__file__)"
    printed = project.run("-c", code)
    assert Path(printed.strip()).is_relative_to(project.directory)


def test_project_passes_its_checks(project: Project) -> None:
    """A new project with the lines of the README has nothing to complain of."""
    project.run("manage.py", "check", "--fail-level", "WARNING")


def test_asgi_application_carries_websockets(project: Project) -> None:
    """The routing of the README imports."""
    printed = project.run(
        "-c", "from mysite.asgi import application as a; print(*a.application_mapping)"
    )
    assert "websocket" in printed


def test_static_files_are_found(project: Project) -> None:
    """`collectstatic` will find the client scripts."""
    printed = project.run("manage.py", "findstatic", "broadcasting/echo.js")
    assert str(project.directory) in printed


def test_template_tag_is_found(project: Project) -> None:
    """A template can load the tag library and name the scripts."""
    code = """
from django.template import Context, Template
print(Template("{% load broadcasting %}{% broadcasting_scripts %}").render(Context()))
"""
    assert "broadcasting/echo.js" in project.run("manage.py", "shell", "-c", code)


def test_no_migration_is_missing(project: Project) -> None:
    """The library has no models, so a project's database never changes because of it."""
    printed = project.run("manage.py", "makemigrations", "--check", "--dry-run")
    assert "No changes" in printed


def test_dev_extra_names_what_is_pinned() -> None:
    """Who installs the extra gets the programs that `make test` installs, and no others."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (ROOT / "requirements-dev.txt").read_text()
    assert extras["optional-dependencies"]["dev"] == sorted(re.findall(r"^([\w-]+)==", pins, re.M))


def _run(*command: str | Path, cwd: Path) -> str:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"DJANGO_SETTINGS_MODULE", "PYTHONPATH"}
    }
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
