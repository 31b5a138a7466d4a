"""Code that pages show, read from the files that run."""

import inspect
import textwrap
from dataclasses import dataclass
from pathlib import Path

BASE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Snippet:
    """
    A few lines of a file.

    Attributes:
        path: The file, relative to the project's folder.
        text: The lines, without common indentation.
    """

    path: str
    text: str

    @classmethod
    def of(cls, item: type) -> "Snippet":
        """Return the source of a class."""
        path = Path(inspect.getsourcefile(item) or "").relative_to(BASE)
        return cls(str(path), inspect.getsource(item).strip())

    @classmethod
    def whole(cls, path: str) -> "Snippet":
        """Return a whole file, which should be short."""
        return cls(path, (BASE / path).read_text(encoding="utf-8").strip())

    @classmethod
    def marked(cls, path: str) -> "Snippet":
        """
        Return the lines of `path` between each pair of comments ``shown`` and ``end``.

        Raises:
            ValueError: The file has no such lines.
        """
        shown: list[str] = []
        inside = False
        for line in (BASE / path).read_text(encoding="utf-8").splitlines():
            match line.strip().strip("{#/} "):
                case "shown":
                    inside = True
                case "end" if inside:
                    inside = False
                case _ if inside:
                    shown.append(line)
        if inside or not shown:
            raise ValueError(f"{path} marks no lines between 'shown' and 'end'")
        return cls(path, textwrap.dedent("\n".join(shown)).strip())
