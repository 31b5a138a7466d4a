"""What the ``channel_auth.py`` of the apps register."""

import sys
from collections.abc import Iterator
from itertools import combinations
from types import ModuleType

from django.apps import apps
from django.core.checks import CheckMessage

from ..authorization.calling import dotted_name
from ..authorization.rules import rules, sign_in_handler
from .problem import problem


def check_channel_patterns() -> Iterator[CheckMessage]:
    """Report pairs of rules that match the same channel."""
    for first, second in combinations(rules(), 2):
        if (name := first.pattern.overlap(second.pattern)) is not None:
            yield problem(
                "broadcasting.W001",
                f"The channel patterns {first.pattern.text!r} ({first.handler.name}) and "
                f"{second.pattern.text!r} ({second.handler.name}) both match names such as "
                f"{name!r}. The first decides.",
                "Give their channels names that differ.",
            )


def check_channel_auth() -> Iterator[CheckMessage]:
    """Report modules that look like rules and register none."""
    registered = [rule.handler.name for rule in rules()]
    if (handler := sign_in_handler()) is not None:
        registered.append(handler)
    for app in apps.get_app_configs():
        module = sys.modules.get(f"{app.name}.channel_auth")
        if module is not None and not any(
            handler.startswith(f"{app.name}.") or _names(module, handler) for handler in registered
        ):
            yield problem(
                "broadcasting.W009",
                f"{module.__name__} registers nothing: it lets nobody into any channel.",
                'Write @channel_authorizer("…") above its functions, or delete the file.',
            )


def _names(module: ModuleType, handler: str) -> bool:
    """Whether a module names a function, or the module that the function is in."""
    return any(
        handler.startswith(f"{value.__name__}.")
        if isinstance(value, ModuleType)
        else callable(value) and dotted_name(value) == handler
        for value in vars(module).values()
    )
