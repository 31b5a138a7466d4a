"""Elements of a list or tuple in a `Source`, put in and taken out in the list's own layout."""

import ast

from .source import NotUnderstood, Source

Sequential = ast.List | ast.Tuple


def insert_element(source: Source, node: Sequential, index: int, code: str) -> None:
    """
    Put the expression `code` before element `index` of a list or tuple, or at its end.

    It gets a line of its own where the others have one.
    """
    if isinstance(node, ast.Tuple) and source.at(node)[:1] != "(":
        raise NotUnderstood("The tuple has no parentheses.")
    if not node.elts:
        comma = "," if isinstance(node, ast.Tuple) else ""
        changes = [(source.start(node) + 1, f"{code}{comma}")]
    elif index == len(node.elts):
        changes = _at_end(source, node, code)
    elif index == 0:
        changes = _at_front(source, node, code)
    else:
        changes = _before_element(source, node.elts[index], code)
    node.elts.insert(index, ast.parse(code, mode="eval").body)
    source.apply(changes)


def remove_element(source: Source, node: Sequential, index: int) -> None:
    """Take element `index` out of a list or tuple. A comment beside it is not understood."""
    element = node.elts[index]
    start, (end, comma) = source.start(element), _after(source, element, node)
    if not comma:
        raise NotUnderstood("It is the last element, without a comma.")
    line, line_end = source.line_start(start), source.line_end(end)
    if not source.text[line:start].strip() and not source.text[end:line_end].strip():
        start, end = line, line_end
    else:
        end += len(source.text[end:line_end]) - len(source.text[end:line_end].lstrip(" \t"))
    del node.elts[index]
    source.apply([(start, "")], remove=end - start)


def _at_front(source: Source, node: Sequential, code: str) -> list[tuple[int, str]]:
    opening, first = source.start(node), node.elts[0]
    if first.lineno > node.lineno:
        return [(source.line_end(opening), f"{_margin(source, first)}{code},{source.newline}")]
    rest = source.text[opening + 1 :]
    return [(opening + 1 + len(rest) - len(rest.lstrip(" \t")), f"{code}, ")]


def _before_element(source: Source, element: ast.expr, code: str) -> list[tuple[int, str]]:
    start = source.start(element)
    line = source.line_start(start)
    if source.text[line:start].strip():
        return [(start, f"{code}, ")]
    # What is said about the element stays with it.
    while line and source.text[source.line_start(line - 1) : line].lstrip().startswith("#"):
        line = source.line_start(line - 1)
    return [(line, f"{_margin(source, element)}{code},{source.newline}")]


def _at_end(source: Source, node: Sequential, code: str) -> list[tuple[int, str]]:
    last = node.elts[-1]
    end, comma = _after(source, last, node)
    line_end = source.line_end(end)
    if line_end >= source.end(node):
        return [(end, f" {code}," if comma else f", {code}")]
    added = f"{_margin(source, last)}{code}{',' if comma else ''}{source.newline}"
    return [(line_end, added)] if comma else [(end, ","), (line_end, added)]


def _after(source: Source, element: ast.expr, node: Sequential) -> tuple[int, bool]:
    """Return where `element` ends, with its parentheses and comma, and whether it has one."""
    end = position = source.end(element)
    closing = source.end(node) - 1
    while position < closing:
        if source.text[position] == "#":
            position = source.line_end(position)
            continue
        position += 1
        if source.text[position - 1] == ",":
            return position, True
        if source.text[position - 1] == ")":
            end = position
    return end, False


def _margin(source: Source, element: ast.expr) -> str:
    line = source.text[source.line_start(source.start(element)) :]
    return line[: len(line) - len(line.lstrip(" \t"))]
