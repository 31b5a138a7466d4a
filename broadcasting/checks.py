"""
System checks.

* ``broadcasting.E001``: ``BROADCASTING`` makes no sense, or a driver cannot be made.
* ``broadcasting.E002``: A connection's channel layer is not configured.
* ``broadcasting.I001``: A connection keeps no event of cache channels.
* ``broadcasting.W001``: Two rules for channels may match the same name.
* ``broadcasting.W002``: A connection does not share presence between server processes.
* ``broadcasting.W003``: Encrypted channels need a package that is missing.
* ``broadcasting.W004``: hiredis is not installed.
"""

from collections.abc import Sequence
from itertools import combinations

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

from .authorization import rules
from .conf import get_authenticators, get_settings
from .drivers import broadcasters, server_broadcaster
from .encryption import can_seal


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


def check_encryption(
    app_configs: Sequence[AppConfig] | None, **kwargs: object
) -> list[CheckMessage]:
    """Report applications whose events could not be sealed."""
    try:
        apps = get_settings().apps
    except ImproperlyConfigured:
        return []  # `check_settings` says so.
    return [
        Warning(
            f"Application {app.id!r} has a master key for encrypted channels, and PyNaCl, which "
            f"seals their events, is not installed.",
            hint='pip install "whik[encrypted]"',
            id="broadcasting.W003",
        )
        for app in apps
        if app.encryption_master_key is not None and not can_seal()
    ]


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
