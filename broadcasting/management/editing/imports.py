"""Imports of a `Source`, put where a sorted file has them."""

import ast
import sys
from collections.abc import Iterator, Sequence

from .source import NotUnderstood, Source

Import = ast.Import | ast.ImportFrom


def import_module(source: Source, module: str) -> None:
    """See to ``import module``."""
    if (module, (0, module)) not in source.bindings():
        _add_import(source, ast.Import([ast.alias(module)]))


def import_names(source: Source, module: str, names: Sequence[str], *, level: int = 0) -> None:
    """
    See to ``from module import names``, within an import that is there if possible.

    Args:
        source: The file to edit.
        module: Where they come from, without dots before it.
        names: What is needed.
        level: How many dots stand before `module`.

    Raises:
        NotUnderstood: A name means something else in this file.
    """
    found = dict(source.bindings())
    missing = [name for name in names if name not in found]
    for name in set(names) - set(missing):
        origin_level, origin = found[name] or (0, "")
        if (origin_level, origin.partition(".")[0]) != (level, module.partition(".")[0]):
            raise NotUnderstood(f"{source.path.name} means something else by {name}.")
    if not missing or _has_star(source, module, level):
        return
    for name in sorted(missing, key=_name_key):
        existing = _import_of(source, module, level)
        if existing is None:
            statement = ast.ImportFrom(module, [ast.alias(name)], level)
            _add_import(source, statement)
        else:
            _add_name(source, existing, name)


def _imports_from(source: Source, module: str, level: int) -> Iterator[ast.ImportFrom]:
    for node in source.tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module, node.level) == (module, level):
            yield node


def _has_star(source: Source, module: str, level: int) -> bool:
    return any(node.names[0].name == "*" for node in _imports_from(source, module, level))


def _import_of(source: Source, module: str, level: int) -> ast.ImportFrom | None:
    return next(_imports_from(source, module, level), None)


def _add_name(source: Source, node: ast.ImportFrom, name: str) -> None:
    index = next(
        (i for i, a in enumerate(node.names) if _name_key(a.name) >= _name_key(name)),
        len(node.names),
    )
    beside = node.names[min(index, len(node.names) - 1)]
    start = source.start(beside)
    margin = source.text[source.line_start(start) : start]
    space = " " if margin.strip() else source.newline + margin
    if index == len(node.names):
        change = (source.end(beside), f",{space}{name}")
    else:
        change = (start, f"{name},{space}")
    node.names.insert(index, ast.alias(name))
    source.apply([change])


def _add_import(source: Source, statement: Import) -> None:
    """Put an import among those at the top of the file, where a sorted file has it."""
    code, key = f"{ast.unparse(statement)}\n", _import_key(statement)
    top = list(_leading_imports(source))
    # Nearest first: its own group before others, a lower group before a higher one.
    lower = [i for i, node in top if _import_key(node) <= key]
    same = [i for i, node in top if _import_key(node)[0] == key[0]]
    beneath = [i for i in lower if i in same] or ([] if same else lower)
    if beneath:
        source.insert_after(beneath[-1], code, gap=0 if same else 1)
    elif top:
        source.insert_before(same[0] if same else top[0][0], code, gap=0 if same else 1)
    elif ast.get_docstring(source.tree) is not None:
        source.insert_after(0, code, gap=1)
    elif source.tree.body:
        source.insert_before(0, code, gap=1)
    else:
        source.append(code, gap=0)


def _leading_imports(source: Source) -> Iterator[tuple[int, Import]]:
    has_docstring = ast.get_docstring(source.tree) is not None
    for index, node in enumerate(source.tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield index, node
        elif index or not has_docstring:
            return


def _name_key(name: str) -> tuple[int, str]:
    """Sort constants, then classes, then the rest."""
    if name.isupper() and len(name) > 1:
        return 0, name
    return (1 if name[:1].isupper() else 2), name


def _import_key(node: Import) -> tuple[int, bool, str]:
    """Sort ``__future__``, the standard library, packages, and what is near."""
    if isinstance(node, ast.Import):
        name, level = node.names[0].name, 0
    else:
        name, level = node.module or "", node.level
    package = name.partition(".")[0]
    if level:
        group = 3
    elif package == "__future__":
        group = 0
    else:
        group = 1 if package in sys.stdlib_module_names else 2
    return group, isinstance(node, ast.ImportFrom), name
