"""The Django application."""

from django.apps import AppConfig
from django.core.checks import register
from django.utils.module_loading import autodiscover_modules

from . import checks


class BroadcastingConfig(AppConfig):
    """Register the checks and import every app's ``listeners.py`` and ``channel_auth.py``."""

    name = "broadcasting"
    verbose_name = "Broadcasting"

    def ready(self) -> None:
        """Do what must be done once all apps are loaded; no database, no network."""
        register(checks.check_settings, "broadcasting")
        register(checks.check_encryption, "broadcasting")
        register(checks.check_channel_patterns, "broadcasting")
        autodiscover_modules("listeners", "channel_auth")
