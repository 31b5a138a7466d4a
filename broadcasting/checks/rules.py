"""What the ``channel_auth.py`` of the apps register."""

import sys
from collections.abc import Iterator, Sequence
from itertools import combinations
from types import ModuleType

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Warning

from ..authorization.calling import dotted_name
from ..authorization.rules import rules, sign_in_handler


def check_channel_patterns(
    app_configs: Sequence[AppConfig] | None, **kwargs: object
) -> list[CheckMessage]:
    """Report the rules of which only the order says which one decides."""
    return [
        Warning(
            f"The channel patterns {first.pattern!r} ({first.handler}) and {second.pattern!r} "
            f"({second.handler}) both match names such as {name!r}, for which the first decides.",
            hint="Give their channels names that differ. See docs/checks.md#broadcastingw001",
            id="broadcasting.W001",
        )
        for first, second in combinations(rules(), 2)
        if (name := first.overlap(second)) is not None
    ]


def check_channel_auth(
    app_configs: Sequence[AppConfig] | None, **kwargs: object
) -> list[CheckMessage]:
    """Report modules that look like rules and let nobody in."""
    registered = [rule.handler for rule in rules()]
    if (handler := sign_in_handler()) is not None:
        registered.append(handler)
    return [
        Warning(
            f"{module.__name__} registers nothing: it lets nobody into any channel.",
            hint='Write @channel_authorizer("…") above its functions, or delete the file. '
            "See docs/checks.md#broadcastingw009",
            id="broadcasting.W009",
        )
        for app in apps.get_app_configs()
        if (module := sys.modules.get(f"{app.name}.channel_auth")) is not None
        and not any(_is_of(name, module, app) for name in registered)
    ]


def _is_of(handler: str, module: ModuleType, app: AppConfig) -> bool:
    """Tell whether `module` of `app`, or a module that it names, may have registered `handler`."""
    return handler.startswith(f"{app.name}.") or handler in _named_in(module, handler)


def _named_in(module: ModuleType, handler: str) -> Iterator[str]:
    for value in vars(module).values():
        if isinstance(value, ModuleType) and handler.startswith(f"{value.__name__}."):
            yield handler
        elif callable(value):
            yield dotted_name(value)
