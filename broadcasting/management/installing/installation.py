"""What must be written into a project so that it broadcasts, as edits of its files."""

import ast
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec

from ..editing.elements import Sequential, insert_element, remove_element
from ..editing.imports import import_module, import_names
from ..editing.source import NotUnderstood, Source
from .project import Part, Project, find_settings_module
from .snippets import (
    ASGI,
    BROADCASTING,
    CHANNEL_LAYERS,
    CONNECTIONS,
    INCLUDE,
    ROUTING,
    credentials,
)
from .urlconf import first_assignment, patterns, takes_all

# The settings that decide what is there already.
SETTINGS = (
    "INSTALLED_APPS",
    "MIDDLEWARE",
    "ROOT_URLCONF",
    "WSGI_APPLICATION",
    "ASGI_APPLICATION",
    "CHANNEL_LAYERS",
    "BROADCASTING",
)

APP = "broadcasting"
RUNSERVER_APPS = ("daphne", "daphne.apps.DaphneConfig")
MIDDLEWARE = "broadcasting.middleware.SocketIdMiddleware"


@dataclass(frozen=True, slots=True)
class Left:
    """
    An edit that is left to the user.

    Attributes:
        file: Where it belongs.
        why: What kept it from being made, a sentence.
        lines: What to write there.
    """

    file: str
    why: str
    lines: str


class Installation:
    """
    Plan the edits of one project. `plan` makes them in memory; nothing is written.

    Args:
        connection: The default connection, `None` to leave it to the settings there are.
    """

    def __init__(self, project: Project, connection: str | None = None) -> None:
        self.project = project
        self.left: list[Left] = []
        self.has_new_secret = False
        self._connection = connection

    def plan(self) -> None:
        """Edit what can be edited, and put the rest into `left`."""
        self._plan_apps()
        self._plan_middleware()
        asgi = self._plan_asgi_application()
        self._plan_channel_layers()
        self._plan_broadcasting()
        self._plan_urls()
        self._plan_asgi(asgi)

    def missing_packages(self) -> list[str]:
        """Return what pip must install before the project can run."""
        wanted = {"daphne": "daphne"}
        if self._connection == "redis":
            wanted["redis"] = '"whik[redis]"'
        if self._connection == "channels" and not self._value("CHANNEL_LAYERS", {}):
            wanted["channels_redis"] = '"whik[redis]"'
        return [name for module, name in wanted.items() if find_spec(module) is None]

    def _value(self, name: str, default: object = None) -> object:
        return self.project.values.get(name, default)

    def _texts(self, name: str) -> list[str]:
        value = self._value(name, ())
        return list(value) if isinstance(value, list | tuple) else []

    def _attempt(self, edit: Callable[[], None], file: str, lines: str) -> None:
        try:
            with self.project.all_or_nothing():
                edit()
        except NotUnderstood as exc:
            self.left.append(Left(file, str(exc), lines))

    # Settings

    def _plan_apps(self) -> None:
        apps = self._texts("INSTALLED_APPS")
        file = self._settings_name("INSTALLED_APPS")
        if (place := _runserver_index(apps)) is None:
            self._attempt(self._put_daphne_first, file, 'INSTALLED_APPS = ["daphne", …]  # first')
        elif "django.contrib.staticfiles" in apps[:place]:
            # Of two apps with a runserver the first one's is used.
            lines = 'INSTALLED_APPS = ["daphne", …]  # first; and not where it stands now'
            self._attempt(self._move_daphne_first, file, lines)
        if not any(app == APP or app.startswith(f"{APP}.apps.") for app in apps):
            self._attempt(
                lambda: self._add_text("INSTALLED_APPS", APP),
                file,
                f'INSTALLED_APPS = […, "{APP}"]',
            )

    def _put_daphne_first(self) -> None:
        parts = self.project.parts("INSTALLED_APPS")
        if not parts or parts[0] is None:
            raise NotUnderstood("INSTALLED_APPS does not begin with a list that is written out.")
        source, node = parts[0]
        insert_element(source, node, 0, _text("daphne", node, source))

    def _move_daphne_first(self) -> None:
        for source, node in filter(None, self.project.parts("INSTALLED_APPS")):
            for index, element in enumerate(node.elts):
                if isinstance(element, ast.Constant) and element.value in RUNSERVER_APPS:
                    remove_element(source, node, index)
                    self._put_daphne_first()
                    return
        raise NotUnderstood("daphne stands below django.contrib.staticfiles, in a computed list.")

    def _plan_middleware(self) -> None:
        if MIDDLEWARE not in self._texts("MIDDLEWARE"):
            file = self._settings_name("MIDDLEWARE")
            lines = f'MIDDLEWARE = […, "{MIDDLEWARE}"]'
            self._attempt(lambda: self._add_text("MIDDLEWARE", MIDDLEWARE), file, lines)

    def _add_text(self, name: str, value: str) -> None:
        """Add to the last list that is written out, or to the one for packages."""
        parts = [part for part in self.project.parts(name) if part is not None]
        if not parts:
            raise NotUnderstood(f"{name} is not a list that is written out.")
        source, node = next(filter(self._is_for_packages, parts), parts[-1])
        insert_element(source, node, len(node.elts), _text(value, node, source))

    def _is_for_packages(self, part: Part) -> bool:
        """Tell whether a list is one that is called THIRD_PARTY_APPS or so."""
        if part is None:
            return False
        source, node = part
        return any(
            isinstance(statement, ast.Assign)
            and statement.value is node
            and "THIRD" in ast.unparse(statement.targets[0]).upper()
            for statement in source.tree.body
        )

    def _plan_asgi_application(self) -> str:
        """Return the dotted path of the ASGI application, whether it is there or not."""
        if path := self._value("ASGI_APPLICATION"):
            return str(path)
        path = ".".join(filter(None, [self._asgi_package(), "asgi.application"]))
        line = f'ASGI_APPLICATION = "{path}"\n'

        def edit() -> None:
            try:
                source, node = self.project.assignment("WSGI_APPLICATION")
            except NotUnderstood:
                self._append_setting(line)
            else:
                source.insert_after(source.tree.body.index(node), source.spell(line))

        self._attempt(edit, self._main_settings_name(), line)
        return path

    def _asgi_package(self) -> str:
        """Return the package that asgi.py is in, or belongs into."""
        named = [self._value(name) for name in ("WSGI_APPLICATION", "ROOT_URLCONF")]
        packages = [
            ".".join(str(path).split(".")[:-steps])
            for path, steps in zip(named, (2, 1), strict=True)
            if path
        ]
        parts = self.project.settings_module.split(".")[:-1]
        packages += [".".join(parts[:length]) for length in range(len(parts), -1, -1)]
        for package in packages:
            if self.project.find(f"{package}.asgi".lstrip(".")):
                return package
        return next((package for package in packages if self.project.folder(package)), "")

    def _plan_channel_layers(self) -> None:
        if self._connection == "channels" and not self._value("CHANNEL_LAYERS"):
            file = self._main_settings_name()
            self._attempt(lambda: self._append_setting(CHANNEL_LAYERS), file, CHANNEL_LAYERS)

    def _plan_broadcasting(self) -> None:
        existing = self._value("BROADCASTING")
        wanted = CONNECTIONS[self._connection] if self._connection else ""
        if existing is None:
            code = BROADCASTING.format(connection=wanted, **credentials())
            file = self._main_settings_name()
            left = len(self.left)
            self._attempt(lambda: self._append_setting(code), file, f"import os\n\n{code}")
            self.has_new_secret = len(self.left) == left
        elif wanted and (
            not isinstance(existing, dict) or existing.get("DEFAULT") != self._connection
        ):
            why = "BROADCASTING is there already, with another connection."
            lines = f"BROADCASTING = {{\n{wanted}    …\n}}"
            self.left.append(Left(self._settings_name("BROADCASTING"), why, lines))

    def _append_setting(self, code: str) -> None:
        source = self._main_settings_file()
        if source is None:
            raise NotUnderstood("The settings are no file of the project.")
        if "os.environ" in code:
            import_module(source, "os")
        code = source.spell(code)
        body = source.tree.body
        if body and _is_local_override(body[-1]):
            # What a machine says for itself goes on having the last word.
            source.insert_before(len(body) - 1, code, gap=1)
        else:
            source.append(code, gap=1)

    def _main_settings_file(self) -> Source | None:
        """Return the file for a new setting. Lists may be imported by name from others."""
        for name in ("WSGI_APPLICATION", "ROOT_URLCONF"):
            with suppress(NotUnderstood):
                return self.project.assignment(name)[0]
        return self.project.module(self.project.settings_module)

    def _main_settings_name(self) -> str:
        source = self._main_settings_file()
        return self.project.name_of(source.path) if source else self.project.settings_module

    def _settings_file(self, name: str) -> Source | None:
        try:
            return self.project.assignment(name)[0]
        except NotUnderstood:
            return self.project.module(self.project.settings_module)

    def _settings_name(self, name: str) -> str:
        source = self._settings_file(name)
        return self.project.name_of(source.path) if source else self.project.settings_module

    # URLs

    def _plan_urls(self) -> None:
        module = str(self._value("ROOT_URLCONF", "the root URLconf"))
        path = self.project.find(module)
        file = self.project.name_of(path) if path else module
        lines = (
            f"from django.urls import include, path\n\nurlpatterns = [\n    …,\n    {INCLUDE},\n]"
        )
        self._attempt(lambda: self._add_include(module), file, lines)

    def _add_include(self, module: str) -> None:
        source = self.project.module(module)
        if source is None:
            raise NotUnderstood("ROOT_URLCONF names no file of the project.")
        if self.project.reaches(source, "broadcasting.urls"):
            return
        if "urlpatterns" not in source.names:
            raise NotUnderstood("The file does not set urlpatterns itself.")
        import_names(source, "django.urls", ["include", "path"])
        first = first_assignment(source)
        node = patterns(first.value) if first else None
        if node is not None:
            index = next((i for i, e in enumerate(node.elts) if takes_all(e)), len(node.elts))
            insert_element(source, node, index, source.spell(INCLUDE))
            return
        code = source.spell(f"urlpatterns = [*urlpatterns, {INCLUDE}]\n")
        if first is not None:
            # What is added below it may take every address.
            source.insert_after(source.tree.body.index(first), code)
        else:
            source.append(code, gap=1)

    # ASGI

    def _plan_asgi(self, application: str) -> None:
        module, _, name = application.rpartition(".")
        path = self.project.find(module)
        file = self.project.name_of(path) if path else f"{module.replace('.', '/')}.py"
        lines = "\n".join(
            [
                "from channels.routing import ProtocolTypeRouter, URLRouter",
                ROUTING.format(name=name).replace("  # noqa: E402", ""),
            ]
        )
        self._attempt(lambda: self._add_routing(module, name), file, lines)

    def _add_routing(self, module: str, name: str) -> None:
        source = self.project.module(module)
        if source is None:
            source = self._new_asgi(module, name)
        if self.project.reaches(source, "broadcasting.routing"):
            return
        calls = _called(source.tree)
        if "ProtocolTypeRouter" in calls:
            raise NotUnderstood("It has a ProtocolTypeRouter of its own; add the routes to that.")
        if name not in source.names or "get_asgi_application" not in calls:
            raise NotUnderstood(f"It does not make {name} with get_asgi_application().")
        import_names(source, "channels.routing", ["ProtocolTypeRouter", "URLRouter"])
        source.append(source.spell(ROUTING.format(name=name)), gap=1)

    def _new_asgi(self, module: str, name: str) -> Source:
        package, _, stem = module.rpartition(".")
        folder = self.project.folder(package)
        if folder is None or name != "application":
            raise NotUnderstood("ASGI_APPLICATION names no file of the project.")
        settings = None
        if wsgi := self.project.module(f"{package}.wsgi".lstrip(".")):
            settings = find_settings_module(wsgi)
        text = ASGI.format(settings=settings or self.project.settings_module)
        return self.project.open(folder / f"{stem}.py", text)


def _runserver_index(apps: Sequence[str]) -> int | None:
    return next((index for index, app in enumerate(apps) if app in RUNSERVER_APPS), None)


def _text(value: str, node: Sequential, source: Source) -> str:
    """Return a text in the quotation marks of its neighbours."""
    mark = next((m for e in node.elts if (m := source.quote_of(e))), source.quote)
    return f"{mark}{value}{mark}"


def _is_local_override(node: ast.stmt) -> bool:
    return any(
        isinstance(inner, ast.ImportFrom) and inner.names[0].name == "*" for inner in ast.walk(node)
    )


def _called(tree: ast.AST) -> set[str]:
    """Return the names of what a file calls, without the modules that they are in."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {ast.unparse(node.func).rpartition(".")[2] for node in nodes}
