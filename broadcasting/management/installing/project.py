"""
Which file of a project says what: settings that are split, URLs, asgi.py.

Nothing is imported here; files are found as imports would find them and read as text.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..editing.elements import Sequential
from ..editing.source import NotUnderstood, Source, is_installed

# A list in a settings file: where it stands. None for a part that is computed.
Part = tuple[Source, Sequential] | None

SETTINGS_VARIABLE = "DJANGO_SETTINGS_MODULE"


class Project:
    """
    The files of one project.

    Args:
        settings_module: Dotted name of the settings in use.
        values: The settings as they are when the project runs.
        path: Folders in which modules are looked for, as of `sys.path`.

    Raises:
        NotUnderstood: The settings are no file of the project.
    """

    def __init__(
        self, settings_module: str, values: Mapping[str, Any], path: Sequence[str | Path]
    ) -> None:
        self.settings_module = settings_module
        self.values = values
        self._sources: dict[Path, Source] = {}
        folders = [Path(folder).absolute() for folder in path]
        self.root = next((f for f in folders if _find([f], settings_module)), Path())
        self._path = [f for f in folders if f.is_relative_to(self.root) and not is_installed(f)]
        if not self._path:
            raise NotUnderstood(f"The settings {settings_module} are not in a file of a project.")

    @property
    def changed(self) -> list[Source]:
        """The files that have been edited, in the order in which they were first read."""
        return [source for source in self._sources.values() if source.is_changed]

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Take back every edit that was made within the block if it ends in an error."""
        texts = {path: source.text for path, source in self._sources.items()}
        try:
            yield
        except NotUnderstood:
            for path in self._sources.keys() - texts.keys():
                del self._sources[path]
            for path, text in texts.items():
                self._sources[path].revert(text)
            raise

    def name_of(self, path: Path) -> str:
        """Return how a message calls a file."""
        return path.relative_to(self.root).as_posix()

    def find(self, module: str) -> Path | None:
        """Return the file of a module, `None` for one that is not of the project."""
        return _find(self._path, module)

    def folder(self, package: str) -> Path | None:
        """Return the folder of a package; the empty name is that of the root."""
        found = (f.joinpath(*filter(None, package.split("."))) for f in self._path)
        return next((folder for folder in found if folder.is_dir()), None)

    def open(self, path: Path, text: str = "") -> Source:
        """Return a file with the edits made so far. A new one begins with `text`."""
        if path not in self._sources:
            self._sources[path] = Source(path, text)
        return self._sources[path]

    def module(self, name: str) -> Source | None:
        """Return the file of a module, `None` for one that is not of the project."""
        path = self.find(name)
        return None if path is None else self.open(path)

    def assignment(self, name: str) -> tuple[Source, ast.Assign | ast.AnnAssign]:
        """
        Return the statement that gives a setting its value, in whichever file that is.

        Values that add to a former one, ``INSTALLED_APPS += […]``, lead to that.

        Raises:
            NotUnderstood: No file of the project says so, or one of several may.
        """
        found = self._assignment(self.settings_module, name, set())
        if found is None:
            raise NotUnderstood(f"No file of the project sets {name} in a way that can be read.")
        return found

    def parts(self, name: str) -> list[Part]:
        """Return the literal lists and tuples that a setting is put together from, in order."""
        source, node = self.assignment(name)
        return list(self._parts(source, node.value, depth=0)) if node.value else []

    def reaches(self, start: Source, module: str, depth: int = 2) -> bool:
        """Tell whether a file, or one of the project that it names, names `module`."""
        names = set(_named_in(start.tree, self._package_of(start)))
        if module in names:
            return True
        near = {path for name in names if (path := self.find(name))} if depth else set()
        for path in near - {start.path}:
            with suppress(NotUnderstood):
                if self.reaches(self.open(path), module, depth - 1):
                    return True
        return False

    def _assignment(
        self, module: str, name: str, seen: set[str]
    ) -> tuple[Source, ast.Assign | ast.AnnAssign] | None:
        source = None if module in seen else self.module(module)
        if source is None:
            return None
        seen.add(module)
        for node in reversed(source.tree.body):
            if isinstance(node, ast.ImportFrom):
                if {alias.asname or alias.name for alias in node.names} & {"*", name}:
                    origin = _origin(node, self._package_of(source))
                    if found := self._assignment(origin, name, seen):
                        return found
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                if assigns(node, name):
                    return source, node
            elif any(self._may_assign(source, inner, name, seen) for inner in _nested(node)):
                where = f"{self.name_of(source.path)}, line {node.lineno}"
                raise NotUnderstood(f"{name} depends on a condition ({where}).")
        return None

    def _may_assign(self, source: Source, node: ast.AST, name: str, seen: set[str]) -> bool:
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            return self._assignment(_origin(node, self._package_of(source)), name, seen) is not None
        return assigns(node, name)

    def _parts(self, source: Source, value: ast.expr, depth: int) -> Iterator[Part]:
        if isinstance(value, ast.List | ast.Tuple):
            yield source, value
        elif isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
            yield from self._parts(source, value.left, depth)
            yield from self._parts(source, value.right, depth)
        elif isinstance(value, ast.Name) and depth < 5:
            module = self._module_of(source)
            found = self._assignment(module, value.id, set()) if module else None
            if found is None or found[1].value is None:
                yield None
            else:
                yield from self._parts(found[0], found[1].value, depth + 1)
        else:
            yield None

    def _module_of(self, source: Source) -> str | None:
        for folder in sorted(self._path, key=lambda f: len(f.parts), reverse=True):
            if source.path.is_relative_to(folder):
                parts = source.path.relative_to(folder).with_suffix("").parts
                return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        return None

    def _package_of(self, source: Source) -> str:
        module = self._module_of(source) or ""
        return module if source.path.name == "__init__.py" else module.rpartition(".")[0]


def find_settings_module(source: Source) -> str | None:
    """Return the settings that a manage.py or wsgi.py names, `None` if it names none."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "os.environ.setdefault":
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            if len(texts) == 2 and texts[0] == SETTINGS_VARIABLE and isinstance(texts[1], str):
                return texts[1]
    return None


def assigns(node: ast.AST, name: str) -> bool:
    """Tell whether a statement gives `name` a value that does not add to a former one."""
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets = [node.target]
    else:
        return False
    if not any(isinstance(target, ast.Name) and target.id == name for target in targets):
        return False
    return not any(
        isinstance(inner, ast.Name) and inner.id == name and isinstance(inner.ctx, ast.Load)
        for inner in ast.walk(node)
    )


def _find(folders: Sequence[Path], module: str) -> Path | None:
    if not all(part.isidentifier() for part in module.split(".")):
        return None
    for folder in folders:
        path = folder.joinpath(*module.split("."))
        for candidate in (path / "__init__.py", path.with_suffix(".py")):
            if candidate.is_file():
                return candidate
    return None


def _nested(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements in the blocks of a statement; what a function does is its own."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        for child in ast.iter_child_nodes(node):
            yield child
            yield from _nested(child)


def _origin(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    return ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])


def _named_in(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, package)
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
