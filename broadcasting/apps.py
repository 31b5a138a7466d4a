"""The Django application."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules

from .checks import register_checks
from .model_events.relations import connect_relations


class BroadcastingConfig(AppConfig):
    """Registers the checks, and imports each app's ``listeners.py`` and ``channel_auth.py``."""

    name = "broadcasting"
    verbose_name = "Broadcasting"

    def ready(self) -> None:
        """Set up what needs all apps to be loaded. Uses neither database nor network."""
        register_checks()
        connect_relations()
        autodiscover_modules("listeners", "channel_auth")
