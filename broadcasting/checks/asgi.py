"""What serves sockets beside ``broadcast_serve``: daphne, and the project's ``asgi.py``."""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning
from django.core.management import get_commands, load_command_class

from .connections import serves_sockets

# The first release without CVE-2026-44545 (frames of any size) and CVE-2026-44546 (headers
# that pass for others).
SAFE_DAPHNE = (4, 2, 2)


def check_asgi_application(
    app_configs: Sequence[AppConfig] | None, **kwargs: object
) -> list[CheckMessage]:
    """
    Report an ``ASGI_APPLICATION`` that cannot be served, or that has no sockets.

    It is not imported: that would make this process one that serves.
    """
    path = getattr(settings, "ASGI_APPLICATION", None)
    has_daphne = apps.is_installed("daphne")
    if path is None and not has_daphne:
        return []  # `broadcast_serve` needs none.
    module, _, name = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    if not module or not _exists(module):
        wrong = f"there is no module {module!r}" if module else "it must be a dotted path"
        return [
            Error(
                f"ASGI_APPLICATION is {path!r}; {wrong}.",
                hint='Set it to the dotted path of the application: "mysite.asgi.application". '
                "See docs/checks.md#broadcastinge003",
                id="broadcasting.E003",
            )
        ]
    if has_daphne and serves_sockets() and _is_django_alone(module, name):
        return [
            Warning(
                f"ASGI_APPLICATION is {path!r}, which is Django's own application: runserver "
                f"answers no socket.",
                hint="Route websocket to broadcasting.routing in that module. "
                "See docs/checks.md#broadcastingw012",
                id="broadcasting.W012",
            )
        ]
    return []


def check_runserver(
    app_configs: Sequence[AppConfig] | None, **kwargs: object
) -> list[CheckMessage]:
    """Report a ``runserver`` that speaks no WebSocket."""
    app = get_commands()["runserver"]
    bases = {base.__module__ for base in type(load_command_class(app, "runserver")).__mro__}
    if "daphne.management.commands.runserver" in bases:
        return []
    if apps.is_installed("daphne"):
        return [
            Warning(
                f"INSTALLED_APPS has {app!r} before 'daphne', so that runserver is the one of "
                f"{app!r}, and no page gets a WebSocket.",
                hint='Put "daphne" first. See docs/checks.md#broadcastingw006',
                id="broadcasting.W006",
            )
        ]
    # One that is neither Django's nor WhiteNoise's may be of a server that speaks it.
    is_known = app.startswith(("django.", "whitenoise."))
    if settings.DEBUG and is_known and serves_sockets():
        return [
            Info(
                "runserver serves pages and no sockets: 'daphne' is not in INSTALLED_APPS.",
                hint='pip install daphne and put "daphne" first, or run manage.py '
                "broadcast_serve --reload. See docs/checks.md#broadcastingi002",
                id="broadcasting.I002",
            )
        ]
    return []


def check_daphne_version(
    app_configs: Sequence[AppConfig] | None, **kwargs: object
) -> list[CheckMessage]:
    """Report a daphne that is known to be open to attacks, whoever starts it."""
    installed = _version_of("daphne")
    if installed is None or installed[1] >= SAFE_DAPHNE:
        return []
    return [
        Warning(
            f"daphne {installed[0]} has published vulnerabilities (CVE-2026-44545, "
            f"CVE-2026-44546).",
            hint='pip install "daphne>=4.2.3". See docs/checks.md#broadcastingw007',
            id="broadcasting.W007",
        )
    ]


def _version_of(package: str) -> tuple[str, tuple[int, ...]] | None:
    """Return the version of an installed package as text and as numbers."""
    try:
        text = version(package)
    except PackageNotFoundError:
        return None
    return text, tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def _exists(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return find_spec(module) is not None
    except ImportError:  # A package above it does not exist.
        return False


def _is_django_alone(module: str, name: str) -> bool:
    """Tell whether `module` gives `name` nothing but what ``get_asgi_application()`` returns."""
    try:
        spec = find_spec(module)
        tree = ast.parse(Path((spec and spec.origin) or "").read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False  # Not written in Python, or whoever imports it hears of that.
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
