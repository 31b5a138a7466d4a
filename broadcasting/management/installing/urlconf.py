"""The patterns of a root URLconf, as its file spells them."""

import ast
import re

from ..editing.elements import Sequential
from ..editing.source import Source
from .project import assigns

# Django CMS and Wagtail answer whatever nobody before them has answered.
_CATCH_ALL = {"wagtail_urls", "wagtail.urls", "cms.urls"}
_ADDRESS = "broadcasting/auth"


def first_assignment(source: Source) -> ast.Assign | ast.AnnAssign | None:
    """Return the statement that urlpatterns begins with; others may add to it below."""
    found = [
        node
        for node in source.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and assigns(node, "urlpatterns")
    ]
    return found[0] if len(found) == 1 else None


def patterns(value: ast.expr | None) -> Sequential | None:
    """Return the list that an expression begins with, `None` where it is not written out."""
    while isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        value = value.left
    return value if isinstance(value, ast.List | ast.Tuple) else None


def takes_all(element: ast.expr) -> bool:
    """Tell whether a pattern answers our addresses, so that ours must stand before it."""
    if not isinstance(element, ast.Call) or not element.args:
        return False
    kind, route = ast.unparse(element.func), element.args[0]
    if not isinstance(route, ast.Constant) or not isinstance(route.value, str):
        return False
    included = [
        argument.value if isinstance(argument, ast.Constant) else ast.unparse(argument)
        for call in element.args[1:2]
        if isinstance(call, ast.Call)
        for argument in call.args[:1]
    ]
    if kind.endswith("re_path"):
        try:
            matches = re.match(route.value, _ADDRESS) is not None
        except re.error:
            return False
        return matches and (not included or included[0] in _CATCH_ALL)
    if kind.endswith("path"):
        if included:
            return not route.value and included[0] in _CATCH_ALL
        return route.value.startswith("<path:")
    return False
