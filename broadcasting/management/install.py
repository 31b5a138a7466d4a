"""
What `broadcast_install` adds to a project: a marked block at the end of each of its files.

Settings, root URLconf and ASGI application are imported to see what they lack. The blocks
build on the names that stand above them, so it does not matter how those are written.
"""

import ast
import json
import os
import re
import secrets
import string
import sys
from importlib import import_module
from importlib.util import find_spec, resolve_name
from pathlib import Path
from types import ModuleType

import django.urls
from django.apps import apps
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.management.base import CommandError

from ..checks.pages import MIDDLEWARE, includes_broadcasting
from .edits import Edit, append, is_installed

SETTINGS_VARIABLE = "DJANGO_SETTINGS_MODULE"

BEGIN = "# >>> broadcasting: added by broadcast_install"
END = "# <<< broadcasting"
IMPORT_OS = "import os  # noqa: E402\n\n"

CONNECTIONS = {
    None: "",
    "memory": '    "DEFAULT": "memory",\n',
    "redis": """\
    "DEFAULT": "redis",
    "CONNECTIONS": {
        "redis": {
            "DRIVER": "broadcasting.drivers.redis.RedisBroadcaster",
            "URL": os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"),
        },
    },
""",
}
BROADCASTING = """\
# Whoever knows the key may open a socket; whoever knows the secret may publish.
# This secret is for development. Set BROADCAST_SECRET in production.
BROADCASTING = {{
{connection}    "APPS": [
        {{
            "ID": os.environ.get("BROADCAST_APP_ID", "{id}"),
            "KEY": os.environ.get("BROADCAST_KEY", "{key}"),
            "SECRET": os.environ.get(
                "BROADCAST_SECRET", "{secret}"
            ),
        }},
    ],
}}
"""
INCLUDE = 'path("", include("broadcasting.urls"))'
ROUTING = """\
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402

# Not before get_asgi_application(), which sets Django up.
from broadcasting.routing import websocket_fallback, websocket_urlpatterns  # noqa: E402

{name} = ProtocolTypeRouter(
    {{
        "http": {name},
        "websocket": URLRouter([*websocket_urlpatterns, websocket_fallback]),
    }}
)
"""
NEW_ASGI = '''\
"""ASGI config: pages go to Django, WebSockets to broadcasting."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{settings}")

{name} = get_asgi_application()
'''


class Installation:
    """
    The edits that a project needs. Making one writes nothing.

    Django must be set up. What a module of the project raises when it is imported is not caught.

    Args:
        connection: The default connection to write, `None` to write none.

    Attributes:
        edits: What can be written.
        left: What the user must write: the file, the reason and the lines.

    Raises:
        CommandError: The settings are not names of a module, or have a connection.
    """

    def __init__(self, connection: str | None) -> None:
        self.edits: list[Edit] = []
        self.left: list[tuple[Path, str, str]] = []
        self._settings = import_module(os.environ[SETTINGS_VARIABLE])
        name = self._settings.__name__
        if not {"INSTALLED_APPS", "ROOT_URLCONF"} <= vars(self._settings).keys():
            raise CommandError(
                f"The module {name} does not set INSTALLED_APPS and ROOT_URLCONF. If it is a "
                f"folder of settings, name one of them: --settings {name}.dev. If it has "
                f"classes, add the lines of docs/commands.md to one by hand."
            )
        if connection and hasattr(settings, "BROADCASTING"):
            raise CommandError(
                f'{name} has BROADCASTING. Set "DEFAULT" in it, and leave out --connection.'
            )
        self._add_settings(connection)
        self._add_urls()
        self._add_routing()

    def _add(self, path: Path, code: str, *, why_not: str = "", new: str = "") -> None:
        """Add a block to a file, or leave it to the user."""
        edit = append(path, f"{BEGIN}\n{code}{END}\n", new=new)
        if BEGIN in edit.before:
            why_not = "The block of broadcast_install is there, and this is missing."
        elif is_installed(path):
            why_not = "The file belongs to an installed package."
        if why_not:
            self.left.append((path, why_not, code))
        else:
            self.edits.append(edit)

    def _add_settings(self, connection: str | None) -> None:
        lines = {"INSTALLED_APPS": self._apps()}
        if MIDDLEWARE not in settings.MIDDLEWARE:
            lines["MIDDLEWARE"] = self._extended("MIDDLEWARE", "*MIDDLEWARE", f'"{MIDDLEWARE}"')
        if not getattr(settings, "ASGI_APPLICATION", None):
            lines["ASGI_APPLICATION"] = f'ASGI_APPLICATION = "{_asgi_application()}"\n'
        if not hasattr(settings, "BROADCASTING"):
            code = BROADCASTING.format(connection=CONNECTIONS[connection], **_credentials())
            lines["BROADCASTING"] = code
        blocks: dict[ModuleType, str] = {}
        for name, code in lines.items():
            # A new name goes where other plain values are: lists may be imported one by one.
            known = name if hasattr(self._settings, name) else "ROOT_URLCONF"
            module = find_module(self._settings, known)
            blocks[module] = blocks.get(module, "") + code
        for module, code in blocks.items():
            has_os = "os.environ" not in code or getattr(module, "os", None) is os
            if code:
                self._add(_file_of(module), f"{'' if has_os else IMPORT_OS}{code}")

    def _apps(self) -> str:
        """Return the line that puts daphne first and broadcasting last, empty if both are there."""
        names = [config.name for config in apps.get_app_configs()]
        first, rest, last = [], "*INSTALLED_APPS", []
        if "daphne" not in names:
            first = ['"daphne"']
        elif "django.contrib.staticfiles" in names[: (place := names.index("daphne"))]:
            # Django takes the runserver of whichever stands first.
            entry = json.dumps(settings.INSTALLED_APPS[place])
            first, rest = ['"daphne"'], f"*(app for app in INSTALLED_APPS if app != {entry})"
        if "broadcasting" not in names:
            last = ['"broadcasting"']
        return self._extended("INSTALLED_APPS", *first, rest, *last) if first or last else ""

    def _extended(self, name: str, *items: str) -> str:
        """Return the line that gives a sequence of the settings these items, and its own type."""
        value = getattr(self._settings, name, None)
        text = ", ".join(i for i in items if value is not None or not i.startswith("*"))
        return f"{name} = ({text},)\n" if isinstance(value, tuple) else f"{name} = [{text}]\n"

    def _add_urls(self) -> None:
        if includes_broadcasting():
            return
        module = import_module(settings.ROOT_URLCONF)
        code, why = f"urlpatterns = [{INCLUDE}, *urlpatterns]\n", ""
        missing = [name for name in ("include", "path") if not hasattr(module, name)]
        if missing:
            code = f"from django.urls import {', '.join(missing)}  # noqa: E402\n\n{code}"
        for name in {"include", "path"}.difference(missing):
            if getattr(module, name) is not getattr(django.urls, name):
                why = f"{name} is not that of django.urls there."
        self._add(_file_of(module), code, why_not=why)

    def _add_routing(self) -> None:
        application = getattr(settings, "ASGI_APPLICATION", None) or _asgi_application()
        module_name, _, name = application.rpartition(".")
        code, why = ROUTING.format(name=name), ""
        if find_spec(module_name) is None:
            package, _, stem = module_name.rpartition(".")
            # A project may have no package.
            beside = _file_of(import_module(settings.ROOT_URLCONF)).parent
            folder = Path(import_module(package).__path__[0]) if package else beside
            named = settings_named_in(folder / "wsgi.py") or self._settings.__name__
            new = NEW_ASGI.format(settings=named, name=name)
            self._add(folder / f"{stem}.py", code, new=new)
            return
        module = import_module(module_name)
        if "broadcasting.routing" in sys.modules:  # Nothing else imports it.
            return
        if type(getattr(module, name)) is not ASGIHandler:
            why = f"{name} is more than Django's own application. Add the routes to its router."
        self._add(_file_of(module), code, why_not=why)


def settings_named_in(path: Path) -> str | None:
    """Return the settings that a manage.py or wsgi.py names, `None` if it names none."""
    text = path.read_text() if path.exists() else ""
    found = re.search(rf"""["']{SETTINGS_VARIABLE}["'],\s*["']([\w.]+)["']""", text)
    return found[1] if found else None


def find_module(module: ModuleType, name: str) -> ModuleType:
    """Return the module that gives a setting its value: `module` or one that it imports from."""
    seen: list[ModuleType] = []
    while module not in seen:
        seen.append(module)
        nodes = list(ast.walk(ast.parse(_file_of(module).read_bytes())))
        if any(_assigns(node, name) for node in nodes):
            break
        imports = (node for node in nodes if isinstance(node, ast.ImportFrom))
        origins = (
            sys.modules.get(resolve_name("." * n.level + (n.module or ""), module.__package__))
            for n in imports
        )
        own = (o for o in origins if o and hasattr(o, name) and not is_installed(_file_of(o)))
        module = next(own, module)
    return module


def _assigns(node: ast.AST, name: str) -> bool:
    """Whether a statement gives `name` a value that does not build on the one it has."""
    match node:
        case ast.Assign(targets=targets, value=value):
            names = {target.id for target in targets if isinstance(target, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value):
            names = {target}
        case _:
            return False
    return name in names and not any(
        isinstance(inner, ast.Name) and inner.id == name for inner in ast.walk(value)
    )


def _asgi_application() -> str:
    """Return the path that ASGI_APPLICATION should have: beside wsgi.py, else beside the URLs."""
    wsgi = getattr(settings, "WSGI_APPLICATION", None) or f"{settings.ROOT_URLCONF}."
    package = wsgi.rpartition(".")[0].rpartition(".")[0]
    return f"{package}.asgi.application".lstrip(".")


def _file_of(module: ModuleType) -> Path:
    return Path(str(module.__file__))


def _credentials() -> dict[str, str]:
    """Return an id of digits, as SDKs want it, a key, and a secret that says what it is for."""
    letters = string.ascii_lowercase + string.digits
    return {
        "id": str(100_000 + secrets.randbelow(900_000)),
        "key": "".join(secrets.choice(letters) for _ in range(20)),
        "secret": f"insecure-{secrets.token_hex(16)}",
    }
