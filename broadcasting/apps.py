"""The Django application."""

from django.apps import AppConfig
from django.core.checks import register
from django.utils.module_loading import autodiscover_modules

from .checks import CHECKS, DEPLOYMENT_CHECKS
from .model_events.relations import connect_relations


class BroadcastingConfig(AppConfig):
    """Registers the checks, and imports each app's ``listeners.py`` and ``channel_auth.py``."""

    name = "broadcasting"
    verbose_name = "Broadcasting"

    def ready(self) -> None:
        """Set up what needs all apps to be loaded. Uses neither database nor network."""
        for check in CHECKS:
            register(check, "broadcasting")
        for check in DEPLOYMENT_CHECKS:
            register(check, "broadcasting", deploy=True)
        connect_relations()
        autodiscover_modules("listeners", "channel_auth")
