"""A module of an app, ``events.py`` or ``listeners.py``, to which a command adds code."""

import re
from keyword import iskeyword
from pathlib import Path

from django.apps import AppConfig, apps
from django.core.management.base import CommandError

from .editing.imports import import_names
from .editing.source import NotUnderstood, Source, is_installed

_BETWEEN_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class AppModule:
    """
    One module of one app, whether it exists or not.

    Args:
        app: The app that it is in.
        name: The module's name within it.
        docstring: What a new file begins with.

    Raises:
        CommandError: The app is not part of the project, or the file is no Python.
    """

    def __init__(self, app: AppConfig, name: str, docstring: str) -> None:
        folder = Path(app.path)
        if is_installed(folder.resolve()):
            raise CommandError(
                f"The app {app.label!r} is an installed package, in {folder}; name an app of your "
                f"project."
            )
        self.app = app
        self.name = f"{app.name}.{name}"
        package = folder / name / "__init__.py"
        path = package if package.exists() else folder / f"{name}.py"
        # A package is one step further from its neighbours.
        self._level = 2 if path == package else 1
        try:
            self.source = Source(path, f'"""{docstring}"""\n')
        except NotUnderstood as exc:
            raise CommandError(f"{exc} Correct it first.") from exc

    @property
    def path(self) -> str:
        """Where the file is, as seen from here."""
        path = self.source.path
        here = Path.cwd()
        return str(path.relative_to(here) if path.is_relative_to(here) else path)

    def refuse_known(self, name: str) -> None:
        """Raise `CommandError` if the module means something by `name`."""
        if name in self.source.names:
            raise CommandError(f"{self.path} has a name {name} already; choose another.")

    def add(self, code: str, imports: list[tuple[str, str]]) -> None:
        """
        Add statements at the end, and the imports that they need.

        Args:
            code: The statements, with double quotes and four spaces.
            imports: Module and name, each. A module of the same app is imported relatively.

        Raises:
            CommandError: A name that is needed means something else in the file.
        """
        inside = f"{self.app.name}."
        try:
            for module, name in imports:
                if module == self.name:
                    continue
                if module.startswith(inside):
                    import_names(
                        self.source, module.removeprefix(inside), [name], level=self._level
                    )
                else:
                    import_names(self.source, module, [name])
            self.source.append(self.source.spell(code), gap=2)
        except NotUnderstood as exc:
            raise CommandError(f"{exc} Write the code by hand, or into another app.") from exc

    def write(self) -> None:
        """Write the file. Raise `CommandError` where that fails."""
        try:
            self.source.write()
        except (NotUnderstood, OSError) as exc:
            raise CommandError(f"Nothing was written: {exc}") from exc


def split_name(text: str, app: str | None) -> tuple[AppConfig | None, str]:
    """
    Return the app and the name that ``shop.OrderShipped`` stands for.

    The app is `None` if it is not said.

    Args:
        text: What the user has given, with or without an app.
        app: The app's label, if it was given apart.

    Raises:
        CommandError: There is no such app, or the name is none of Python's.
    """
    label, _, name = text.rpartition(".")
    if not name.isidentifier() or iskeyword(name):
        raise CommandError(f"{name!r} is no name in Python; write one such as shop.OrderShipped.")
    if label and app and label != app:
        raise CommandError(f"{text!r} names another app than --app {app}; leave one of them out.")
    return (find_app(label or app or "") if label or app else None), name


def find_app(label: str) -> AppConfig:
    """Return an app by its label or module. Raise `CommandError` that lists those there are."""
    for config in apps.get_app_configs():
        if label in {config.label, config.name}:
            return config
    raise CommandError(f"There is no app {label!r}; {known_apps()}")


def known_apps() -> str:
    """Return a clause that names the apps of the project."""
    own = [config for config in apps.get_app_configs() if not is_installed(Path(config.path))]
    labels = ", ".join(sorted(config.label for config in own if config.name != "broadcasting"))
    if not labels:
        return "make one with `python manage.py startapp shop` and add it to INSTALLED_APPS."
    return f"those of this project: {labels}."


def words(name: str, between: str) -> str:
    """Return a name of CamelCase in small letters, with `between` its words."""
    return between.join(_BETWEEN_WORDS.split(name)).lower()
