"""The queue that events are to wait in."""

from collections.abc import Sequence

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

from ..conf import Queue, get_settings
from ..queueing.backends import get_backend


def check_queue(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """Report a queue that does not exist, or that is none."""
    try:
        queue = get_settings().queue
    except ImproperlyConfigured:
        return []  # `check_settings` says so.
    if queue == Queue(all=False):  # Not asked for.
        return []
    try:
        backend = get_backend()
        backend.check(queue.name)
        shortcoming = backend.shortcoming
    except ImproperlyConfigured as exc:
        hint = "docs/queues.md shows how to set it up. See docs/checks.md#broadcastinge001"
        return [Error(str(exc), hint=hint, id="broadcasting.E001")]
    if shortcoming is None:
        return []
    return [
        Warning(
            f'BROADCASTING["QUEUE"] hands events to the task backend {queue.backend!r}, which '
            f"{shortcoming}.",
            hint="Choose a backend with workers in TASKS, or leave QUEUE out. "
            "See docs/checks.md#broadcastingw005",
            id="broadcasting.W005",
        )
    ]
