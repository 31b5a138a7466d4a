"""The applications that a command is about."""

from django.core.management.base import CommandError

from ..applications import Application
from ..conf import get_settings


def find_applications(app_id: str | None) -> list[Application]:
    """Return the one with this id, all for `None`. Raise `CommandError` that lists the known."""
    apps = get_settings().apps
    chosen = [app for app in apps if app_id in (None, app.id)]
    if not chosen:
        known = ", ".join(app.id for app in apps)
        raise CommandError(f"There is no application {app_id!r}. Known applications: {known}.")
    return chosen
