"""
System checks.

* ``broadcasting.E001``: ``BROADCASTING`` makes no sense, or a driver cannot be made.
* ``broadcasting.E002``: A connection's channel layer is not configured.
"""

from collections.abc import Sequence

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

from .conf import get_settings
from .drivers import broadcasters


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """Make the connections that the project uses, and ask each what it finds wrong."""
    try:
        settings = get_settings()
        aliases = {settings.default, settings.server_connection or settings.default}
        return [message for alias in sorted(aliases) for message in broadcasters[alias].check()]
    except ImproperlyConfigured as exc:
        return [Error(str(exc), hint="See docs/settings.md.", id="broadcasting.E001")]
