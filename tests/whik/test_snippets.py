"""Code that pages show comes from the files."""

from pathlib import Path

import pytest

from whik import snippets
from whik.events import NewUserCreated
from whik.snippets import Snippet


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a file that `Snippet` finds as ``some.py``."""
    monkeypatch.setattr(snippets, "BASE", tmp_path)
    return tmp_path / "some.py"


def test_class_is_shown_with_its_file() -> None:
    snippet = Snippet.of(NewUserCreated)
    assert snippet.path == "whik/events.py"
    assert snippet.text.startswith("class NewUserCreated(ShouldBroadcast):")


@pytest.mark.parametrize("comment", ["#", "//"])
def test_marked_lines_are_shown(marked: Path, comment: str) -> None:
    marked.write_text(f"a\n  {comment} shown\n  b\n    c\n  {comment} end\nd\n")
    assert Snippet.marked("some.py").text == "b\n  c"
    marked.write_text("{# shown #}\na\n{# end #}\n b\n # shown\n c\n # end\n")
    assert Snippet.marked("some.py").text == "a\n c"
    assert Snippet.whole("some.py").text == marked.read_text().strip()


@pytest.mark.parametrize("text", ["a\n", "# shown\na\n", "a\n# end\n"])
def test_lost_mark_is_an_error(marked: Path, text: str) -> None:
    marked.write_text(text)
    with pytest.raises(ValueError, match=r"some\.py marks no lines"):
        Snippet.marked("some.py")
