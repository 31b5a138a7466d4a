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
from .drivers import broadcasters, server_broadcaster


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """Make the connections that the project uses, and ask each what it finds wrong."""
    try:
        settings = get_settings()
        # One and the same, unless SERVER says otherwise or the default one only writes.
        used = dict.fromkeys([broadcasters[settings.default], server_broadcaster()])
        return [message for broadcaster in used for message in broadcaster.check()]
    except ImproperlyConfigured as exc:
        return [Error(str(exc), hint="See docs/settings.md.", id="broadcasting.E001")]
