"""
Who may import whom: the floors of the architecture, read from the source files.

A rule that is broken is reported with file, line, import and the rule itself. Imports
inside functions and under ``TYPE_CHECKING`` count: a dependency is one wherever it is
written. Only ``broadcasting/__init__.py`` may name what it resolves lazily.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath

import pytest

import broadcasting

ROOT = Path(__file__).resolve().parent.parent

# Part of broadcasting/ -> floor. Imports go down, or stay in their part, or go to a
# neighbour; the neighbours of floor 3 are strangers to each other, but for UPON.
FLOORS = {
    part: floor
    for floor, parts in {
        0: "protocol",
        1: "applications channel conf encryption exceptions guests middleware retention signals",
        2: "drivers",
        3: "authorization events model_events queueing server",
        4: "adapters",
        5: "api views",
        6: "__main__ apps asgi checks diagnostics jinja urls routing management pytest_plugin "
        "testing templatetags",
    }.items()
    for part in parts.split()
}
STRANGERS = 3
# What builds upon events knows them; events know neither.
UPON = {("model_events", "events"), ("queueing", "events")}
# Settings are read in conf.py; classes below this floor get plain values.
READS_SETTINGS = 5


def _files_of(package: str) -> set[str]:
    return {file.relative_to(ROOT).as_posix() for file in (ROOT / package).glob("*.py")}


# Third-party package -> the only files that may import it.
PLACES = {
    "channels": {
        *_files_of("broadcasting/drivers/channel_layer"),
        "whik/asgi.py",
    },
    "jinja2": {"broadcasting/jinja.py"},
    "django_tasks": {"broadcasting/queueing/tasks.py"},
    "nacl": {"broadcasting/encryption.py"},
    "prometheus_client": {"broadcasting/server/metrics/prometheus.py"},
    "pytest": {"broadcasting/pytest_plugin.py"},
    "redis": _files_of("broadcasting/drivers/redis"),
    "urllib3": {"broadcasting/drivers/pusher.py", "broadcasting/server/webhooks/sender.py"},
    "uvicorn": {
        "broadcasting/adapters/uvicorn/http.py",
        "broadcasting/adapters/uvicorn/opening.py",
        "broadcasting/adapters/uvicorn/options.py",
        "broadcasting/adapters/uvicorn/protocol.py",
        "broadcasting/adapters/uvicorn/reload.py",
        "broadcasting/adapters/uvicorn/server.py",
        "broadcasting/adapters/uvicorn/state.py",
    },
    "websockets": {
        "broadcasting/adapters/uvicorn/inbound.py",
        "broadcasting/adapters/uvicorn/opening.py",
        "broadcasting/adapters/uvicorn/protocol.py",
        "broadcasting/management/client.py",
    },
}
EVERYWHERE = {"django", "asgiref"}  # Except in protocol/.

PURE_FORBIDS = {"asyncio", "time"}
UNWANTED_MODULES = {"utils", "common", "helpers", "constants", "types"}
# Django imports an app's `models`, and `channels` is a package of others.
UNWANTED_PARTS = {"channels", "models"}
INIT_WITH_CODE = {
    "broadcasting/__init__.py",
    "broadcasting/checks/__init__.py",
    "broadcasting/conf/__init__.py",
    "broadcasting/drivers/channel_layer/__init__.py",
    "broadcasting/drivers/redis/__init__.py",
    "broadcasting/protocol/__init__.py",
    "broadcasting/testing/__init__.py",
}


@dataclass(frozen=True)
class Import:
    """One name imported by one statement; `name` is None for ``import module``."""

    line: int
    module: str
    name: str | None = None

    def __str__(self) -> str:
        """Return the statement as it would be written absolutely."""
        return f"from {self.module} import {self.name}" if self.name else f"import {self.module}"

    @property
    def package(self) -> str:
        """The top-level package."""
        return self.module.partition(".")[0]


def imports_in(path: PurePosixPath, tree: ast.AST) -> Iterator[Import]:
    """Yield every import below `tree`, relative ones resolved from `path`."""
    package = path.parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(node.lineno, module, alias.name)


def violations(path: str, source: str) -> list[str]:
    """Return what is wrong with the file `path` of the repository."""
    file = PurePosixPath(path)
    found = [f"{path}:1: {rule}" for rule in _rules_broken_by_name(file, source)]
    for statement in imports_in(file, _without_lazy_names(file, ast.parse(source))):
        if rule := _rule_broken_by(file, statement):
            found.append(f"{path}:{statement.line}: {statement}: {rule}")
    return found


def _rules_broken_by_name(file: PurePosixPath, source: str) -> Iterator[str]:
    if file.stem in UNWANTED_MODULES or _part(file) in UNWANTED_PARTS:
        yield f"nothing is called {file.name}; a thing lives with the noun it serves"
    if file.name == "__init__.py" and str(file) not in INIT_WITH_CODE and source.strip():
        yield "this __init__.py stays empty"
    if file.parts[0] == "broadcasting" and _part(file) not in {*FLOORS, "__init__"}:
        yield "this module has no floor; give it one in the architecture and in FLOORS"


def _rule_broken_by(file: PurePosixPath, statement: Import) -> str | None:
    if statement.package == "broadcasting":
        check = _inside if file.parts[0] == "broadcasting" else _from_the_demo
        return check(file, statement)
    if (places := PLACES.get(statement.package)) is not None:
        if str(file) not in places:
            return f"{statement.package} is imported in {', '.join(sorted(places))} only"
        return None
    if file.parts[0] != "broadcasting":
        return None
    part = _part(file)
    is_standard = statement.package in sys.stdlib_module_names
    if part == "protocol" and (not is_standard or statement.package in PURE_FORBIDS):
        return "protocol/ is pure: the standard library without a loop or a clock"
    if part == "__init__" and not is_standard:
        return "broadcasting/__init__.py imports nothing until a name is used"
    if statement.package == "whik":
        return "the library does not know the demo"
    if not is_standard and statement.package not in EVERYWHERE:
        return "a third-party package lives in one place; name it in PLACES"
    if (
        (statement.module, statement.name) == ("django.conf", "settings")
        and part != "conf"
        and FLOORS.get(part, 0) < READS_SETTINGS
    ):
        return f"settings are read in conf.py; below floor {READS_SETTINGS}, take plain values"
    return None


def _inside(file: PurePosixPath, statement: Import) -> str | None:
    """Return the rule that an import of one part of the library by another breaks."""
    part = _part(file)
    if part == "__init__":
        return "broadcasting/__init__.py imports nothing until a name is used"
    if (statement.module, statement.name) == ("broadcasting", "__version__"):
        return None
    names = [*statement.module.split("."), statement.name][1:]
    target = names[0]
    if target not in FLOORS:
        return "inside the library, import a name from where it lives"
    if target == part or part not in FLOORS:
        return None
    ours, theirs = FLOORS[part], FLOORS[target]
    if theirs > ours:
        return f"floor {ours} ({part}) may not import floor {theirs} ({target})"
    if theirs == ours == STRANGERS and (part, target) not in UPON:
        return f"{part} and {target} of floor {ours} are strangers"
    return None


def _from_the_demo(file: PurePosixPath, statement: Import) -> str | None:
    if statement.module == "broadcasting" and statement.name in {None, *broadcasting.__all__}:
        return None
    if statement.module == "broadcasting.guests" and statement.name in {"Guest", "get_guest"}:
        return None
    is_routing = statement.module == "broadcasting.routing" or (
        (statement.module, statement.name) == ("broadcasting", "routing")
    )
    if is_routing and str(file) == "whik/asgi.py":
        return None
    return (
        "the demo uses public names: those of broadcasting, Guest and get_guest of "
        "broadcasting.guests, and broadcasting.routing in asgi.py"
    )


def _part(file: PurePosixPath) -> str:
    return PurePosixPath(file.parts[1]).stem if file.parts[0] == "broadcasting" else ""


def _without_lazy_names(file: PurePosixPath, tree: ast.Module) -> ast.Module:
    if str(file) == "broadcasting/__init__.py":
        tree.body = [
            node
            for node in tree.body
            if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        ]
    return tree


def test_every_import_keeps_to_the_floors() -> None:
    """No file of the library or the demo breaks a rule of the architecture."""
    files = [file for name in ("broadcasting", "whik") for file in (ROOT / name).rglob("*.py")]
    found = [
        violation
        for file in sorted(files)
        for violation in violations(file.relative_to(ROOT).as_posix(), file.read_text())
    ]
    assert not found, "\n" + "\n".join(found)


def test_no_import_leads_back() -> None:
    """Modules import each other in no circle, not even inside functions or for types alone."""
    files = {_module(file): file for file in (ROOT / "broadcasting").rglob("*.py")}
    del files["broadcasting"]  # It names everything, and imports it on first use.
    graph = {
        name: {
            full if full in files else statement.module
            for statement in imports_in(_relative(file), ast.parse(file.read_text()))
            for full in [f"{statement.module}.{statement.name}"]
        }
        for name, file in files.items()
    }
    TopologicalSorter(graph).prepare()  # Raises CycleError, which names the circle.


def _relative(file: Path) -> PurePosixPath:
    return PurePosixPath(file.relative_to(ROOT).as_posix())


def _module(file: Path) -> str:
    return ".".join(_relative(file).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("drivers/redis.py", "from ..events import event", "floor 2 (drivers) may not import"),
        ("drivers/redis.py", "from .. import server", "floor 2 (drivers) may not import"),
        ("drivers/redis.py", "import broadcasting.events.base", "may not import floor 3"),
        ("events/base.py", "from ..server.hub import Hub", "are strangers"),
        ("authorization.py", "from .events import event", "are strangers"),
        ("events/base.py", "def f():\n    from ..server import get_hub", "base.py:2: "),
        (
            "events/base.py",
            "if TYPE_CHECKING:\n    from ..server.hub import Hub",
            "are strangers",
        ),
        ("views/api.py", "from broadcasting import event", "from where it lives"),
        ("protocol/limits.py", "import time", "protocol/ is pure"),
        ("protocol/limits.py", "from asyncio import Queue", "protocol/ is pure"),
        ("protocol/limits.py", "from django.http import QueryDict", "protocol/ is pure"),
        ("protocol/limits.py", "from ..applications import Application", "floor 0 (protocol)"),
        (
            "server/hub.py",
            "import redis.asyncio",
            "redis is imported in broadcasting/drivers/redis/",
        ),
        ("server/hub.py", "import orjson", "name it in PLACES"),
        ("server/hub.py", "from django.conf import settings", "settings are read in conf.py"),
        ("apps.py", "import whik.models", "does not know the demo"),
        ("__init__.py", "from .events import event", "until a name is used"),
        ("views/__init__.py", "from .api import handle", "stays empty"),
        ("server/utils.py", "", "nothing is called utils.py"),
        ("channels.py", "", "nothing is called channels.py"),
        ("dispatching.py", "", "has no floor"),
    ],
)
def test_broken_rule_is_reported(path: str, source: str, expected: str) -> None:
    """The check sees each kind of import that it is there for."""
    assert expected in "\n".join(violations(f"broadcasting/{path}", source))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("views.py", "from broadcasting.events import event"),
        ("views.py", "from broadcasting import get_hub"),
        ("views.py", "from broadcasting import routing"),
        ("views.py", "from broadcasting.guests import remember_guest"),
        ("views.py", "from channels.layers import get_channel_layer"),
        ("helpers.py", ""),
    ],
)
def test_demo_is_kept_to_public_names(path: str, source: str) -> None:
    """The demo shows what a project can write, so it may write nothing else."""
    assert violations(f"whik/{path}", source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("broadcasting/__init__.py", "if TYPE_CHECKING:\n    from .events import event"),
        ("broadcasting/conf/schema.py", "from ..applications import Application"),
        ("broadcasting/drivers/redis/broadcaster.py", "import redis.asyncio"),
        ("broadcasting/management/commands/broadcast_serve.py", "from ...server import get_hub"),
        ("broadcasting/server/hub.py", "import asyncio\nfrom ..protocol.messages import Message"),
        ("broadcasting/api/routes.py", "from .. import __version__"),
        ("whik/asgi.py", "from broadcasting.routing import websocket_urlpatterns"),
        ("whik/views.py", "import factory\nfrom broadcasting import aevent, event"),
        ("whik/views.py", "from broadcasting.guests import Guest, get_guest"),
    ],
)
def test_allowed_import_is_not_reported(path: str, source: str) -> None:
    """The check lets pass what the architecture allows."""
    assert violations(path, source) == []


def test_protocol_pulls_in_neither_django_nor_asyncio() -> None:
    """A fresh interpreter that imports all of protocol/ has loaded nothing above it."""
    files = (ROOT / "broadcasting" / "protocol").glob("[a-z]*.py")
    modules = ", ".join(f"broadcasting.protocol.{file.stem}" for file in files)
    code = f"import sys, {modules}; print({{'django', 'asyncio'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
