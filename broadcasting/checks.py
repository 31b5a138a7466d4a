"""
System checks.

* ``broadcasting.E001``: ``BROADCASTING`` makes no sense, or a driver cannot be made.
* ``broadcasting.E002``: A connection's channel layer is not configured.
* ``broadcasting.W001``: Two rules for channels may match the same name.
"""

from collections.abc import Sequence
from itertools import combinations

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

from .authorization import rules
from .conf import get_authenticators, get_settings
from .drivers import broadcasters, server_broadcaster


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """Make the connections that the project uses, and ask each what it finds wrong."""
    try:
        settings = get_settings()
        get_authenticators()
        # One and the same, unless SERVER says otherwise or the default one only writes.
        used = dict.fromkeys([broadcasters[settings.default], server_broadcaster()])
        return [message for broadcaster in used for message in broadcaster.check()]
    except ImproperlyConfigured as exc:
        return [Error(str(exc), hint="See docs/settings.md.", id="broadcasting.E001")]


def check_channel_patterns(
    app_configs: Sequence[AppConfig] | None, **kwargs: object
) -> list[CheckMessage]:
    """Report the rules of which only the order says which one decides."""
    return [
        Warning(
            f"The channel patterns {first.pattern!r} ({first.handler}) and {second.pattern!r} "
            f"({second.handler}) both match names such as {name!r}, for which the first decides.",
            hint="Give their channels names that differ. See docs/authorization.md.",
            id="broadcasting.W001",
        )
        for first, second in combinations(rules(), 2)
        if (name := first.overlap(second)) is not None
    ]
