"""An edit of a Python file of the project, which a command shows before it writes it."""

import ast
import difflib
import io
import sysconfig
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Edit:
    """
    New text for a file, which need not exist yet.

    Attributes:
        before: The text that the file has, line ends included; empty for a new file.
        after: The text that it gets.
    """

    path: Path
    before: str
    after: str
    encoding: str = "utf-8"

    @property
    def name(self) -> str:
        """The path as seen from here."""
        here = Path.cwd()
        path = self.path.relative_to(here) if self.path.is_relative_to(here) else self.path
        return path.as_posix()

    def diff(self) -> Iterator[str]:
        """Yield the lines of a unified diff."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            self.name if self.path.exists() else "/dev/null",
            self.name,
        )
        return (line.rstrip("\r\n") for line in lines)

    def write(self) -> None:
        """Write the file. Raise `OSError` if that fails."""
        self.path.write_text(self.after, self.encoding, newline="")


def append(
    path: Path, code: str, *, gap: int = 1, new: str = "", imports: Sequence[str] = ()
) -> Edit:
    """
    Return the edit that adds `code` at the end of a file.

    Encoding and line ends stay those of the file.

    Args:
        path: The file.
        code: Whole lines.
        gap: How many empty lines stand above them.
        new: What a file begins with that does not exist yet or is empty.
        imports: Statements to put below the imports of a file that is not.
    """
    encoding, before = "utf-8", ""
    if path.exists():
        data = path.read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        before = data.decode(encoding)
    newline = "\r\n" if "\r\n" in before else "\n"
    kept = before.rstrip("\r\n")
    if kept and imports:
        kept = _with_imports(kept + newline, imports, newline).rstrip("\r\n")
    kept = kept or new.rstrip("\n")
    space = newline * (gap + 1) if kept else ""
    return Edit(path, before, kept + space + code.replace("\n", newline), encoding)


def _with_imports(text: str, imports: Sequence[str], newline: str) -> str:
    body = ast.parse(text).body
    lines, added = text.split("\n"), newline.join(imports)
    ends = [node.end_lineno for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    if ends:
        lines.insert(ends[-1] or 0, added + newline[:-1])
    elif isinstance(body[0], ast.Expr):  # Below the docstring.
        lines.insert(body[0].end_lineno or 0, newline + added + newline[:-1])
    else:
        lines.insert(0, added + newline + newline[:-1])
    return "\n".join(lines)


def is_installed(path: Path) -> bool:
    """Whether a file or folder was put there by pip or Python itself, and not by the project."""
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = (Path(sysconfig.get_path(kind)).resolve() for kind in kinds)
    return any(map(path.resolve().is_relative_to, folders))
