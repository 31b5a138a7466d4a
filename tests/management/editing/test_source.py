"""Files of a project that are edited where they stand."""

import ast
import os
import stat
from pathlib import Path

import pytest

from broadcasting.management.editing.elements import insert_element
from broadcasting.management.editing.source import NotUnderstood, Source


def source_of(text: str) -> Source:
    """Return a file with this text, which is never written."""
    return Source(Path("/nowhere/module.py"), text)


def test_edit_that_would_change_something_else_is_refused() -> None:
    """Text and tree must agree; the file is then as it was."""
    source = source_of("a = 1; b = 2\n")
    with pytest.raises(NotUnderstood):
        source.insert_before(1, "c = 3\n")
    assert source.text == "a = 1; b = 2\n"
    assert ast.unparse(source.tree) == "a = 1\nb = 2"


def test_code_is_spelt_as_the_file_is() -> None:
    """Its quotation marks and its indentation; docstrings have the ones of everybody."""
    code = 'A = [\n    "a",\n]\n"""Doc."""\n'
    assert source_of("B = {\n\t'b': 'c'\n}\n").spell(code) == 'A = [\n\t\'a\',\n]\n"""Doc."""\n'
    assert source_of('B = {\n    "b": "c"\n}\n').spell(code) == code


@pytest.mark.parametrize(
    "data",
    [
        "# é\r\nA = ['a']\r\n".encode(),
        "\ufeffA = ['휙']\n".encode(),
        "# -*- coding: latin-1 -*-\nA = ['é']\n".encode("latin-1"),
        b"A = ['a']",
        b"A = ['a', # \x0c \x1c\n]\n",
    ],
)
def test_bytes_are_kept(data: bytes, tmp_path: Path) -> None:
    """Encoding, marks and line ends survive; so does a file that ends without one."""
    path = tmp_path / "settings.py"
    path.write_bytes(data)
    source = Source(path)
    assignment = source.tree.body[0]
    assert isinstance(assignment, ast.Assign)
    assert isinstance(assignment.value, ast.List)
    insert_element(source, assignment.value, 0, "'new'")
    source.append("B = 2\n", gap=1)
    source.write()
    written = path.read_bytes()
    namespace: dict[str, object] = {}
    exec(compile(written, str(path), "exec"), namespace)
    assert namespace["A"][0] == "new"  # type: ignore[index]
    assert namespace["B"] == 2
    remaining = iter(written)
    assert all(byte in remaining for byte in data)
    assert b"\n" in written.replace(b"\r\n", b"") or b"\r\n" in data


def test_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    """A new file has the mode that the user's others get; nothing is left beside it."""
    path, link = tmp_path / "real.py", tmp_path / "link.py"
    path.write_text("A = 1\n")
    path.chmod(0o640)
    link.symlink_to(path)
    source = Source(link)
    source.append("B = 2\n", gap=0)
    source.write()
    assert link.is_symlink()
    assert path.read_text() == "A = 1\nB = 2\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640

    plain = tmp_path / "plain.py"
    plain.touch()
    Source(tmp_path / "new.py", "A = 1\n").write()
    assert (tmp_path / "new.py").stat().st_mode == plain.stat().st_mode
    assert sorted(os.listdir(tmp_path)) == ["link.py", "new.py", "plain.py", "real.py"]


def test_file_that_has_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """An editor may have saved it while the question stood."""
    path = tmp_path / "settings.py"
    path.write_text("A = 1\n")
    source = Source(path)
    source.append("B = 2\n", gap=0)
    path.write_text("A = 3\n")
    with pytest.raises(NotUnderstood, match="changed meanwhile"):
        source.write()
    assert path.read_text() == "A = 3\n"


@pytest.mark.parametrize("data", [b"def", b"\xff\xfe", b"# coding: nonsense\n", b"a\0b"])
def test_what_is_no_python_is_refused(data: bytes, tmp_path: Path) -> None:
    """With the name of the file."""
    path = tmp_path / "settings.py"
    path.write_bytes(data)
    with pytest.raises(NotUnderstood, match=r"settings\.py is no Python"):
        Source(path)


def test_diff_names_the_file(tmp_path: Path) -> None:
    """As `diff -u` does; a new file comes from nowhere."""
    path = tmp_path / "settings.py"
    path.write_bytes(b"A = 1\r\n")
    source = Source(path)
    source.append("B = 2\n", gap=0)
    assert source.diff("settings.py") == [
        "--- settings.py",
        "+++ settings.py",
        "@@ -1 +1,2 @@",
        " A = 1",
        "+B = 2",
    ]
    assert Source(tmp_path / "new.py", "A = 1\n").diff("new.py")[0] == "--- /dev/null"
