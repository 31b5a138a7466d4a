"""Elements that are put into lists of a file, and taken out."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcasting.management.editing.elements import Sequential, insert_element, remove_element
from broadcasting.management.editing.source import NotUnderstood, Source


def source_of(text: str) -> Source:
    """Return a file with this text, which is never written."""
    return Source(Path("/nowhere/module.py"), text)


def first_list(source: Source) -> Sequential:
    """Return the list or tuple of the first assignment."""
    node = next(node for node in source.tree.body if isinstance(node, ast.Assign)).value
    assert isinstance(node, ast.List | ast.Tuple)
    return node


def insert(text: str, index: int, code: str = '"new"') -> str:
    """Return `text` with an element put into its first list; -1 stands for the end."""
    source = source_of(text)
    node = first_list(source)
    insert_element(source, node, len(node.elts) if index < 0 else index, code)
    return source.text


@pytest.mark.parametrize(
    ("before", "first", "last"),
    [
        ('A = ["a", "b"]\n', 'A = ["new", "a", "b"]\n', 'A = ["a", "b", "new"]\n'),
        ('A = ["a", "b",]\n', 'A = ["new", "a", "b",]\n', 'A = ["a", "b", "new",]\n'),
        ('A = [ "a" ]\n', 'A = [ "new", "a" ]\n', 'A = [ "a", "new" ]\n'),
        ("A = []\n", 'A = ["new"]\n', 'A = ["new"]\n'),
        ("A = ()\n", 'A = ("new",)\n', 'A = ("new",)\n'),
        ('A = ("a",)\n', 'A = ("new", "a",)\n', 'A = ("a", "new",)\n'),
        ('A = [\n  "a",\n]\n', 'A = [\n  "new",\n  "a",\n]\n', 'A = [\n  "a",\n  "new",\n]\n'),
        ('A = [\n\t"a"\n]\n', 'A = [\n\t"new",\n\t"a"\n]\n', 'A = [\n\t"a",\n\t"new"\n]\n'),
        (
            'A = [  # apps\n    # Django\n    "a",  # a, b\n    # "x",\n]\n',
            'A = [  # apps\n    "new",\n    # Django\n    "a",  # a, b\n    # "x",\n]\n',
            'A = [  # apps\n    # Django\n    "a",  # a, b\n    "new",\n    # "x",\n]\n',
        ),
        (
            'A = [\n    "a"  # a\n]\n',
            'A = [\n    "new",\n    "a"  # a\n]\n',
            'A = [\n    "a",  # a\n    "new"\n]\n',
        ),
        (
            'A = ["a",\n     "b"]\n',
            'A = ["new", "a",\n     "b"]\n',
            'A = ["a",\n     "b", "new"]\n',
        ),
        ('A = [("a")]\n', 'A = ["new", ("a")]\n', 'A = [("a"), "new"]\n'),
        ('A = ["a"\n     ,"b"\n]\n', 'A = ["new", "a"\n     ,"b"\n]\n', None),
        ('A = [*B, "é" "ü"]\n', 'A = ["new", *B, "é" "ü"]\n', 'A = [*B, "é" "ü", "new"]\n'),
        ('A = [\r\n  "a",\r\n]\r\n', 'A = [\r\n  "new",\r\n  "a",\r\n]\r\n', None),
        ('A = [\r  "a",\r]\r', 'A = [\r  "new",\r  "a",\r]\r', None),
    ],
)
def test_element_goes_where_a_person_would_put_it(
    before: str, first: str, last: str | None
) -> None:
    """One-line lists stay on their line, others get a line; commas and comments stay."""
    assert insert(before, 0) == first
    if last is not None:
        assert insert(before, -1) == last


def test_element_goes_above_the_comments_of_the_one_after_it() -> None:
    """What is said about an element stays with it."""
    before = 'A = [\n    "a",\n    # Last,\n    # always.\n    "b",\n]\n'
    assert (
        insert(before, 1)
        == 'A = [\n    "a",\n    "new",\n    # Last,\n    # always.\n    "b",\n]\n'
    )
    assert insert('A = ["a", "b"]\n', 1) == 'A = ["a", "new", "b"]\n'


_elements = st.lists(
    st.tuples(
        st.sampled_from(
            ['"a"', "'b'", '"d" "e"', "*F", "('g')", "r'h'", "'휙'", '"""i"""', "j(1)"]
        ),
        # What stands before an element, and between it and its comma.
        st.sampled_from(["", " ", "\n", "\n    ", "\n\t", "\n    # c, d]\n    ", "\\\n "]),
        st.sampled_from(["", " ", "\n", "  # x, y)\n    "]),
    ),
    max_size=5,
)


@given(
    elements=_elements,
    brackets=st.sampled_from(["[]", "()"]),
    comma=st.booleans(),
    tail=st.sampled_from(["", " ", "\n", "  # t]\n", "\n    # u,\n"]),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    where=st.integers(0, 5),
)
def test_any_list_is_edited_rightly_or_not_at_all(
    elements: list[tuple[str, str, str]],
    brackets: str,
    comma: bool,
    tail: str,
    newline: str,
    where: int,
) -> None:
    """Whatever its layout, the edited list has one more element and lost no character."""
    inner = ",".join(f"{before}{code}{after}" for code, before, after in elements)
    if elements and (comma or (brackets == "()" and len(elements) == 1)):
        inner += ","
    text = f"# 휙\nA = {brackets[0]}{inner}{tail}{brackets[1]}  # end\nB = 1\n"
    source = source_of(text.replace("\n", newline))
    before = source.text
    node = first_list(source)
    names = [ast.dump(element) for element in node.elts]
    index = min(where, len(names))
    try:
        insert_element(source, node, index, '"new"')
    except NotUnderstood:
        assert source.text == before
        assert [ast.dump(element) for element in first_list(source).elts] == names
        return
    names.insert(index, ast.dump(ast.Constant("new")))
    assert [ast.dump(element) for element in first_list(source).elts] == names
    remaining = iter(source.text)
    assert all(character in remaining for character in before)
    assert source.text.count("\n") + source.text.count("\r") <= (
        before.count("\n") + before.count("\r") + len(newline)
    )


def test_every_ordinary_list_is_understood() -> None:
    """What formatters write is edited, so the property above is not met by refusals."""
    for before in ('["a", "b"]', '[\n    "a",\n    "b",\n]', '(\n    "a",\n)', '("a", "b")'):
        for index in (0, 1, -1):
            assert '"new"' in insert(f"A = {before}\n", index)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('A = ["a", "b", "c"]\n', 'A = ["a", "c"]\n'),
        ('A = [\n    "a",\n    "b",\n    "c",\n]\n', 'A = [\n    "a",\n    "c",\n]\n'),
    ],
)
def test_element_is_removed(before: str, after: str) -> None:
    """With its comma, and with its line where it has one."""
    source = source_of(before)
    remove_element(source, first_list(source), 1)
    assert source.text == after


def test_last_element_without_a_comma_is_not_removed() -> None:
    """The comma before it would be another edit."""
    source = source_of('A = ["a", "b"]\n')
    with pytest.raises(NotUnderstood):
        remove_element(source, first_list(source), 1)
    assert source.text == 'A = ["a", "b"]\n'


def test_tuple_without_parentheses_is_refused() -> None:
    """A second line would end the statement."""
    with pytest.raises(NotUnderstood, match="parentheses"):
        insert('A = "a", "b"\n', 0)
