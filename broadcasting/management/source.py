"""
A Python file that is edited where it stands.

Every edit is made twice: in the text, at a position that `ast` gives, and in the tree.
The edited text must parse to the edited tree, or the edit is refused and the text stays
as it was. So comments, quotes, tabs and line ends are kept, and nothing else changes.
"""

import ast
import difflib
import io
import os
import re
import stat
import sys
import tempfile
import tokenize
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

# What `ast` takes for the end of a line; str.splitlines knows more.
_LINE_ENDS = ("\r\n", "\n", "\r")
_LINE_END = re.compile("|".join(_LINE_ENDS))

Import = ast.Import | ast.ImportFrom
Sequential = ast.List | ast.Tuple


class NotUnderstood(Exception):
    """The file is written in a way that this module knows no safe edit for."""


class Source:
    """
    The text of one file, its tree, and the edits that are not yet written.

    Nodes of `tree` are stale after an edit: look for them again.

    Args:
        path: The file. It need not exist.
        text: What a file that does not exist begins with.

    Raises:
        NotUnderstood: The file is no Python.
    """

    def __init__(self, path: Path, text: str = "") -> None:
        self.path = path
        self._before = path.read_bytes() if path.exists() else None
        self._encoding = "utf-8"
        try:
            if self._before is not None:
                # "utf-8-sig" where the file begins with a mark, which is then kept.
                self._encoding, _ = tokenize.detect_encoding(io.BytesIO(self._before).readline)
                text = self._before.decode(self._encoding)
            self.text = text
            self.tree = ast.parse(text)
        except (SyntaxError, ValueError) as exc:
            raise NotUnderstood(f"{path} is no Python: {exc}.") from exc
        self._lines_of: str | None = None
        self._line_starts: list[int] = []
        self.newline = next((end for end in _LINE_ENDS if end in text), "\n")

    @property
    def is_new(self) -> bool:
        """Whether the file does not exist yet."""
        return self._before is None

    @property
    def is_changed(self) -> bool:
        """Whether there is something to write."""
        return self.text.encode(self._encoding) != (self._before or b"")

    @property
    def quote(self) -> str:
        """The quotation mark that most texts of the file have."""
        marks = [self.quote_of(node) for node in ast.walk(self.tree)]
        return "'" if marks.count("'") > marks.count('"') else '"'

    def quote_of(self, node: ast.AST) -> str | None:
        """Return the quotation mark of a plain text, `None` for anything else."""
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            return None
        spelt = self._at(node).lstrip("rRuU")
        # Docstrings have three in every style; within an f-string there are none.
        is_plain = spelt[:1] in {'"', "'"} and spelt[:3] not in {'"""', "'''"}
        return spelt[:1] if is_plain else None

    def revert(self, text: str) -> None:
        """Take back edits: `text` is what the file was before them."""
        self.text, self.tree = text, ast.parse(text)

    @property
    def indent(self) -> str:
        """One step of indentation."""
        lines = self.text.splitlines()
        tabs = sum(line.startswith("\t") for line in lines)
        return "\t" if tabs > sum(line.startswith(" ") for line in lines) else "    "

    def spell(self, code: str) -> str:
        """Return `code`, written with double quotes and four spaces, as the file would have it."""
        # Docstrings stay as they are.
        code = '"""'.join(part.replace('"', self.quote) for part in code.split('"""'))
        for steps in (4, 3, 2, 1):
            code = code.replace("\n" + "    " * steps, "\n" + self.indent * steps)
        return code

    def diff(self, name: str) -> list[str]:
        """Return a unified diff, line by line, in which the file is called `name`."""
        before = (self._before or b"").decode(self._encoding)
        return [
            line.rstrip("\r\n")
            for line in difflib.unified_diff(
                before.splitlines(keepends=True),
                self.text.splitlines(keepends=True),
                "/dev/null" if self.is_new else name,
                name,
            )
        ]

    def write(self) -> None:
        """
        Put the edited text in place of the file, in one step, and keep its mode.

        Raises:
            NotUnderstood: The file has changed since it was read.
            OSError: It cannot be written.
        """
        path = self.path.resolve()  # A link stays a link.
        if (path.read_bytes() if path.exists() else None) != self._before:
            raise NotUnderstood(f"{self.path} was changed meanwhile; run the command again.")
        data = self.text.encode(self._encoding)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            self._copy_mode(path, temporary)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        self._before = data

    def _copy_mode(self, path: Path, temporary: str) -> None:
        if self.is_new:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
            return
        status = path.stat()
        os.chmod(temporary, stat.S_IMODE(status.st_mode))
        if hasattr(os, "chown"):
            with suppress(PermissionError):  # Root edits a file of somebody else's, say.
                os.chown(temporary, status.st_uid, status.st_gid)

    # Elements of a list

    def insert_element(self, node: Sequential, index: int, code: str) -> None:
        """
        Put the expression `code` before element `index` of a list or tuple, or at its end.

        It gets a line of its own where the others have one.
        """
        if isinstance(node, ast.Tuple) and self._at(node)[:1] != "(":
            raise NotUnderstood("The tuple has no parentheses.")
        if not node.elts:
            comma = "," if isinstance(node, ast.Tuple) else ""
            changes = [(self._start(node) + 1, f"{code}{comma}")]
        elif index == len(node.elts):
            changes = self._at_end(node, code)
        elif index == 0:
            changes = self._at_front(node, code)
        else:
            changes = self._before_element(node.elts[index], code)
        node.elts.insert(index, ast.parse(code, mode="eval").body)
        self._apply(changes)

    def remove_element(self, node: Sequential, index: int) -> None:
        """Take element `index` out of a list or tuple. A comment beside it is not understood."""
        element = node.elts[index]
        start, (end, comma) = self._start(element), self._after(element)
        if not comma:
            raise NotUnderstood("It is the last element, without a comma.")
        line, line_end = self._line_start(start), self._line_end(end)
        if not self.text[line:start].strip() and not self.text[end:line_end].strip():
            start, end = line, line_end
        else:
            end += len(self.text[end:line_end]) - len(self.text[end:line_end].lstrip(" \t"))
        del node.elts[index]
        self._apply([(start, "")], remove=end - start)

    def _at_front(self, node: Sequential, code: str) -> list[tuple[int, str]]:
        opening, first = self._start(node), node.elts[0]
        if first.lineno > node.lineno:
            return [(self._line_end(opening), f"{self._margin(first)}{code},{self.newline}")]
        rest = self.text[opening + 1 :]
        return [(opening + 1 + len(rest) - len(rest.lstrip(" \t")), f"{code}, ")]

    def _before_element(self, element: ast.expr, code: str) -> list[tuple[int, str]]:
        start = self._start(element)
        line = self._line_start(start)
        if self.text[line:start].strip():
            return [(start, f"{code}, ")]
        # What is said about the element stays with it.
        while line and self.text[self._line_start(line - 1) : line].lstrip().startswith("#"):
            line = self._line_start(line - 1)
        return [(line, f"{self._margin(element)}{code},{self.newline}")]

    def _at_end(self, node: Sequential, code: str) -> list[tuple[int, str]]:
        last = node.elts[-1]
        end, comma = self._after(last)
        line_end = self._line_end(end)
        if line_end >= self._end(node):
            return [(end, f" {code}," if comma else f", {code}")]
        added = f"{self._margin(last)}{code}{',' if comma else ''}{self.newline}"
        return [(line_end, added)] if comma else [(end, ","), (line_end, added)]

    def _after(self, element: ast.expr) -> tuple[int, bool]:
        """Return where `element` ends, with its parentheses and comma, and whether it has one."""
        end = position = self._end(element)
        while position < len(self.text):
            mark = self.text[position]
            if mark == "#":
                position = self._line_end(position)
                continue
            position += 1
            if mark == ",":
                return position, True
            if mark == ")":
                # The tuple's own, if no comma comes; then the tree will not agree.
                end = position
            elif not mark.isspace() and mark != "\\":
                break
        return (self._end(element), False) if mark == "]" else (end, False)

    # Statements

    def insert_before(self, index: int, code: str, *, gap: int = 0) -> None:
        """Put statements before statement `index`, and `gap` empty lines after them."""
        node = self.tree.body[index]
        line = min([node, *getattr(node, "decorator_list", [])], key=lambda n: n.lineno).lineno
        text = code.replace("\n", self.newline) + self.newline * gap
        self.tree.body[index:index] = ast.parse(code).body
        self._apply([(self._offset(line, 0), text)])

    def insert_after(self, index: int, code: str, *, gap: int = 0) -> None:
        """Put statements after statement `index`, and `gap` empty lines before them."""
        end = self._line_end(self._end(self.tree.body[index]))
        missing = "" if self.text[:end].endswith(_LINE_ENDS) else self.newline
        text = missing + self.newline * gap + code.replace("\n", self.newline)
        self.tree.body[index + 1 : index + 1] = ast.parse(code).body
        self._apply([(end, text)])

    def append(self, code: str, *, gap: int) -> None:
        """Put statements at the end of the file, `gap` empty lines below what is there."""
        kept = self.text.rstrip("\r\n")
        ends = len((self.text[len(kept) :]).replace("\r\n", "\n")) if kept else gap + 1
        text = self.newline * max(0, gap + 1 - ends) + code.replace("\n", self.newline)
        self.tree.body += ast.parse(code).body
        self._apply([(len(self.text), text)])

    # Names

    @property
    def names(self) -> set[str]:
        """The names that the statements of the module itself bind."""
        return {name for name, _ in self._bindings()}

    def import_module(self, module: str) -> None:
        """See to ``import module``."""
        if (module, (0, module)) not in self._bindings():
            self._add_import(ast.Import([ast.alias(module)]))

    def import_names(self, module: str, names: Sequence[str], *, level: int = 0) -> None:
        """
        See to ``from module import names``, within an import that is there if possible.

        Args:
            module: Where they come from, without dots before it.
            names: What is needed.
            level: How many dots stand before `module`.

        Raises:
            NotUnderstood: A name means something else in this file.
        """
        found = dict(self._bindings())
        missing = [name for name in names if name not in found]
        for name in set(names) - set(missing):
            origin_level, origin = found[name] or (0, "")
            if (origin_level, origin.partition(".")[0]) != (level, module.partition(".")[0]):
                raise NotUnderstood(f"{self.path.name} means something else by {name}.")
        if not missing or self._has_star(module, level):
            return
        for name in sorted(missing, key=_name_key):
            existing = self._import_of(module, level)
            if existing is None:
                statement = ast.ImportFrom(module, [ast.alias(name)], level)
                self._add_import(statement)
            else:
                self._add_name(existing, name)

    def _bindings(self) -> list[tuple[str, tuple[int, str] | None]]:
        """Return the module's own names, and where those that are imported come from."""
        found: list[tuple[str, tuple[int, str] | None]] = []
        for node in self.tree.body:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.asname or alias.name.partition(".")[0]
                    found.append((name, (0, alias.name if alias.asname else name)))
            elif isinstance(node, ast.ImportFrom):
                origin = (node.level, node.module or "")
                found += [(alias.asname or alias.name, origin) for alias in node.names]
            elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.append((node.name, None))
            else:
                found += [
                    (target.id, None)
                    for target in ast.walk(node)
                    if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store)
                ]
        return found

    def _imports_from(self, module: str, level: int) -> Iterator[ast.ImportFrom]:
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and (node.module, node.level) == (module, level):
                yield node

    def _has_star(self, module: str, level: int) -> bool:
        return any(node.names[0].name == "*" for node in self._imports_from(module, level))

    def _import_of(self, module: str, level: int) -> ast.ImportFrom | None:
        return next(self._imports_from(module, level), None)

    def _add_name(self, node: ast.ImportFrom, name: str) -> None:
        index = next(
            (i for i, a in enumerate(node.names) if _name_key(a.name) > _name_key(name)),
            len(node.names),
        )
        beside = node.names[min(index, len(node.names) - 1)]
        start = self._start(beside)
        margin = self.text[self._line_start(start) : start]
        space = " " if margin.strip() else self.newline + margin
        if index == len(node.names):
            change = (self._end(beside), f",{space}{name}")
        else:
            change = (start, f"{name},{space}")
        node.names.insert(index, ast.alias(name))
        self._apply([change])

    def _add_import(self, statement: Import) -> None:
        """Put an import among those at the top of the file, where a sorted file has it."""
        code, key = f"{ast.unparse(statement)}\n", _import_key(statement)
        top = list(self._leading_imports())
        # Nearest first: its own group before others, a lower group before a higher one.
        lower = [i for i, node in top if _import_key(node) <= key]
        same = [i for i, node in top if _import_key(node)[0] == key[0]]
        beneath = [i for i in lower if i in same] or ([] if same else lower)
        if beneath:
            self.insert_after(beneath[-1], code, gap=0 if same else 1)
        elif top:
            self.insert_before(same[0] if same else top[0][0], code, gap=0 if same else 1)
        elif ast.get_docstring(self.tree) is not None:
            self.insert_after(0, code, gap=1)
        elif self.tree.body:
            self.insert_before(0, code, gap=1)
        else:
            self.append(code, gap=0)

    def _leading_imports(self) -> Iterator[tuple[int, Import]]:
        has_docstring = ast.get_docstring(self.tree) is not None
        for index, node in enumerate(self.tree.body):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield index, node
            elif index or not has_docstring:
                return

    # Positions

    def _apply(self, changes: Sequence[tuple[int, str]], *, remove: int = 0) -> None:
        """Make the text what the tree has become. `remove` characters go, at the one change."""
        text = self.text
        for position, new in sorted(changes, reverse=True):
            text = text[:position] + new + text[position + remove :]
        wanted = ast.dump(self.tree)
        try:
            tree = ast.parse(text)
        except SyntaxError:
            tree = None
        if tree is None or ast.dump(tree) != wanted:
            self.tree = ast.parse(self.text)
            raise NotUnderstood("The code is laid out in an unusual way.")
        self.text, self.tree = text, tree

    @property
    def _lines(self) -> list[int]:
        """Where each line begins."""
        if self._lines_of != self.text:
            self._lines_of = self.text
            self._line_starts = [0, *(m.end() for m in _LINE_END.finditer(self.text))]
        return self._line_starts

    def _offset(self, line: int, column: int) -> int:
        """Return the position in the text. `column` counts bytes of UTF-8, as `ast` does."""
        start = self._lines[line - 1]
        return start + len(self.text[start : start + column].encode()[:column].decode())

    def _start(self, node: ast.expr | ast.stmt | ast.alias) -> int:
        return self._offset(node.lineno, node.col_offset)

    def _end(self, node: ast.expr | ast.stmt | ast.alias) -> int:
        return self._offset(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def _at(self, node: ast.expr) -> str:
        start = self._start(node)
        return self.text[start : start + 8]

    def _margin(self, element: ast.expr) -> str:
        line = self.text[self._line_start(self._start(element)) :]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def _line_start(self, position: int) -> int:
        return self._lines[bisect_right(self._lines, position) - 1]

    def _line_end(self, position: int) -> int:
        """Return where the line after `position` begins, or the end of the text."""
        index = bisect_right(self._lines, position)
        return self._lines[index] if index < len(self._lines) else len(self.text)


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
