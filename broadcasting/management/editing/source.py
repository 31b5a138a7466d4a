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
import sysconfig
import tempfile
import tokenize
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

# What `ast` takes for the end of a line; str.splitlines knows more.
_LINE_ENDS = ("\r\n", "\n", "\r")
_LINE_END = re.compile("|".join(_LINE_ENDS))


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
        spelt = self.at(node).lstrip("rRuU")
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

    # Statements

    def insert_before(self, index: int, code: str, *, gap: int = 0) -> None:
        """Put statements before statement `index`, and `gap` empty lines after them."""
        node = self.tree.body[index]
        line = min([node, *getattr(node, "decorator_list", [])], key=lambda n: n.lineno).lineno
        text = code.replace("\n", self.newline) + self.newline * gap
        self.tree.body[index:index] = ast.parse(code).body
        self.apply([(self._offset(line, 0), text)])

    def insert_after(self, index: int, code: str, *, gap: int = 0) -> None:
        """Put statements after statement `index`, and `gap` empty lines before them."""
        end = self.line_end(self.end(self.tree.body[index]))
        missing = "" if self.text[:end].endswith(_LINE_ENDS) else self.newline
        text = missing + self.newline * gap + code.replace("\n", self.newline)
        self.tree.body[index + 1 : index + 1] = ast.parse(code).body
        self.apply([(end, text)])

    def append(self, code: str, *, gap: int) -> None:
        """Put statements at the end of the file, `gap` empty lines below what is there."""
        kept = self.text.rstrip("\r\n")
        ends = len((self.text[len(kept) :]).replace("\r\n", "\n")) if kept else gap + 1
        text = self.newline * max(0, gap + 1 - ends) + code.replace("\n", self.newline)
        self.tree.body += ast.parse(code).body
        self.apply([(len(self.text), text)])

    # Names

    @property
    def names(self) -> set[str]:
        """The names that the statements of the module itself bind."""
        return {name for name, _ in self.bindings()}

    def bindings(self) -> list[tuple[str, tuple[int, str] | None]]:
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

    # Positions

    def apply(self, changes: Sequence[tuple[int, str]], *, remove: int = 0) -> None:
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

    def start(self, node: ast.expr | ast.stmt | ast.alias) -> int:
        return self._offset(node.lineno, node.col_offset)

    def end(self, node: ast.expr | ast.stmt | ast.alias) -> int:
        return self._offset(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def at(self, node: ast.expr) -> str:
        start = self.start(node)
        return self.text[start : start + 8]

    def line_start(self, position: int) -> int:
        return self._lines[bisect_right(self._lines, position) - 1]

    def line_end(self, position: int) -> int:
        """Return where the line after `position` begins, or the end of the text."""
        index = bisect_right(self._lines, position)
        return self._lines[index] if index < len(self._lines) else len(self.text)


def is_installed(folder: Path) -> bool:
    """Tell whether a folder holds what pip or Python itself has put there."""
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    return any(folder.is_relative_to(sysconfig.get_path(kind)) for kind in kinds)
