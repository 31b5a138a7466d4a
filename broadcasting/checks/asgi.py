"""What serves sockets beside ``broadcast_serve``: daphne, and the project's ``asgi.py``."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage
from django.core.management import get_commands, load_command_class

from .connections import serves_sockets
from .problem import problem

# The first release without CVE-2026-44545 (frames of any size) and CVE-2026-44546 (headers
# that pass for others).
SAFE_DAPHNE = (4, 2, 2)


def check_asgi_application() -> Iterator[CheckMessage]:
    """
    Report an ``ASGI_APPLICATION`` that cannot be served, or that has no sockets.

    It is not imported: no check should start what a server does.
    """
    path = getattr(settings, "ASGI_APPLICATION", None)
    has_daphne = apps.is_installed("daphne")
    if path is None and not has_daphne:
        return  # `broadcast_serve` needs none.
    module, _, name = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    if not module or not _exists(module):
        wrong = f"there is no module {module!r}" if module else "it must be a dotted path"
        yield problem(
            "broadcasting.E003",
            f"ASGI_APPLICATION is {path!r}; {wrong}.",
            'Set it to the dotted path of the application: "mysite.asgi.application".',
        )
    elif has_daphne and serves_sockets() and _is_django_alone(module, name):
        yield problem(
            "broadcasting.W012",
            f"ASGI_APPLICATION is {path!r}, which is Django's own application: runserver answers "
            f"no socket.",
            "Route websocket to broadcasting.routing in that module.",
        )


def check_runserver() -> Iterator[CheckMessage]:
    """Report a ``runserver`` that speaks no WebSocket."""
    app = get_commands()["runserver"]
    bases = {base.__module__ for base in type(load_command_class(app, "runserver")).__mro__}
    if "daphne.management.commands.runserver" in bases:
        return
    # One that is neither Django's nor WhiteNoise's may be of a server that speaks it.
    is_known = app.startswith(("django.", "whitenoise."))
    if apps.is_installed("daphne"):
        yield problem(
            "broadcasting.W006",
            f"INSTALLED_APPS has {app!r} before 'daphne', so that runserver is the one of "
            f"{app!r}, and no page gets a WebSocket.",
            'Put "daphne" first.',
        )
    elif settings.DEBUG and is_known and serves_sockets():
        yield problem(
            "broadcasting.I002",
            "runserver serves pages and no sockets: 'daphne' is not in INSTALLED_APPS.",
            'pip install daphne and put "daphne" first, or run manage.py broadcast_serve --reload.',
        )


def check_daphne_version() -> Iterator[CheckMessage]:
    """Report a daphne with known vulnerabilities, whoever starts it."""
    try:
        installed = version("daphne")
    except PackageNotFoundError:
        return
    if tuple(int(number) for number in re.findall(r"\d+", installed)[:3]) < SAFE_DAPHNE:
        yield problem(
            "broadcasting.W007",
            f"daphne {installed} has published vulnerabilities (CVE-2026-44545, CVE-2026-44546).",
            'pip install "daphne>=4.2.3".',
        )


def _exists(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return find_spec(module) is not None
    except ImportError:  # A package above it does not exist.
        return False


def _is_django_alone(module: str, name: str) -> bool:
    """Whether a module gives a name nothing but what ``get_asgi_application()`` returns."""
    try:
        spec = find_spec(module)
        tree = ast.parse(Path((spec and spec.origin) or "").read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False  # Not Python, or an error that whoever imports it sees.
    values = list(_values_of(name, tree))
    return bool(values) and all(
        isinstance(value, ast.Call)
        and ast.unparse(value.func).rpartition(".")[2] == "get_asgi_application"
        for value in values
    )


def _values_of(name: str, tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            yield value
