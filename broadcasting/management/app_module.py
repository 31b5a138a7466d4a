"""``events.py`` or ``listeners.py`` of an app, to which a command adds code."""

from collections.abc import Collection, Mapping
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.core.management.base import BaseCommand, CommandError

from .edits import Edit, append, is_installed


class AppModule:
    """
    One module of one app, which need not exist yet.

    Args:
        app: The app that it is in.
        name: The module's name within it.
        docstring: What a new file begins with.

    Raises:
        CommandError: The app is not part of the project, or the module cannot be imported.
    """

    def __init__(self, app: AppConfig, name: str, docstring: str) -> None:
        folder = Path(app.path)
        if is_installed(folder):
            raise CommandError(
                f"The app {app.label!r} is an installed package, in {folder}; name an app of your "
                f"project."
            )
        self._docstring = docstring
        self._path = folder / f"{name}.py"
        self._names: Mapping[str, Any] = {}
        module_name = f"{app.name}.{name}"
        try:
            module = import_module(module_name)
        except Exception as exc:
            if not isinstance(exc, ModuleNotFoundError) or exc.name != module_name:
                raise CommandError(f"{module_name} cannot be imported: {exc}. Correct it.") from exc
        else:
            self._path, self._names = Path(module.__file__ or self._path), vars(module)

    def add(self, name: str, code: str, imports: Mapping[str, Collection[str]]) -> Edit:
        """
        Return the edit that adds a class or function at the end of the module.

        Args:
            name: What it is called.
            code: Its definition.
            imports: The names that it needs, by the module that they come from.

        Raises:
            CommandError: The name is taken.
        """
        if name in self._names or any(name in wanted for wanted in imports.values()):
            raise CommandError(
                f"{name} has a meaning in {self._path} already; choose another name."
            )
        statements = []
        for module, wanted in imports.items():
            if missing := [each for each in wanted if each not in self._names]:
                statements.append(f"from {module} import {', '.join(missing)}")
        new = "\n\n".join([f'"""{self._docstring}"""', *statements])
        return append(self._path, code, gap=2, new=new, imports=statements)


def write(command: BaseCommand, edit: Edit, name: str, *, dry_run: bool) -> bool:
    """Write an edit, or only show it. Return whether it was written."""
    if dry_run:
        command.stdout.write("\n".join(edit.diff()))
        return False
    try:
        edit.write()
    except OSError as exc:
        raise CommandError(f"Nothing was written: {exc}") from exc
    command.stdout.write(f"Wrote {name} into {edit.name}.")
    return True


def split_name(text: str, app: str | None) -> tuple[AppConfig | None, str]:
    """
    Return the app and the name that ``shop.OrderShipped`` stands for.

    The app is `None` if neither argument names one.

    Args:
        text: What the user has given, with or without an app.
        app: The label of the app, if it was given separately.

    Raises:
        CommandError: There is no such app, or the name is not valid in Python.
    """
    label, _, name = text.rpartition(".")
    if not name.isidentifier() or iskeyword(name):
        raise CommandError(
            f"{name!r} is not a name in Python; write one such as shop.OrderShipped."
        )
    if label and app and label != app:
        raise CommandError(f"{text!r} names another app than --app {app}; leave one of them out.")
    label = label or app or ""
    try:
        return apps.get_app_config(label) if label else None, name
    except LookupError as exc:
        raise CommandError(str(exc)) from exc
