"""Whether the settings are right, and what the connections in them lead to."""

from django.core import checks

from ..conf import Settings
from ..drivers.diagnosis import Diagnosis
from ..drivers.registry import broadcasters


def diagnose_settings(settings: Settings, include_deployment_checks: bool) -> list[Diagnosis]:
    """Run the system checks of broadcasting."""
    messages = checks.run_checks(
        tags=["broadcasting"], include_deployment_checks=include_deployment_checks
    )
    found = [_of_check(message) for message in messages if not message.is_silenced()]
    if any(diagnosis.level == "error" for diagnosis in found):
        return found
    count = len(settings.apps)
    text = f"DEFAULT is {settings.default!r}; {count} application{'' if count == 1 else 's'}."
    return [Diagnosis("ok", "Settings", text), *found]


def diagnose_connections(settings: Settings) -> list[Diagnosis]:
    """Look at what the connections in use lead to."""
    used = dict.fromkeys([settings.default, settings.server.connection or settings.default])
    return [diagnosis for alias in used for diagnosis in broadcasters[alias].diagnose()]


def _of_check(message: checks.CheckMessage) -> Diagnosis:
    subject, hint = str(message.id), message.hint or ""
    if message.level < checks.WARNING:  # Nothing is wrong, and a fix would not be printed.
        return Diagnosis("ok", subject, f"{message.msg} {hint}".rstrip())
    return Diagnosis(
        "error" if message.level >= checks.ERROR else "warning", subject, message.msg, hint
    )
