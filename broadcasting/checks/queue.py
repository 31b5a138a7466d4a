"""The queue that events wait in."""

from collections.abc import Iterator

from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured

from ..conf import Queue, get_settings
from ..queueing.backends import get_backend
from .problem import problem


def check_queue() -> Iterator[CheckMessage]:
    """Report a queue that does not exist, or that sends at once or never."""
    queue = get_settings().queue
    if queue == Queue(all=False):  # Not asked for.
        return
    try:
        backend = get_backend()
        backend.check(queue.name)
        shortcoming = backend.shortcoming
    except ImproperlyConfigured as exc:
        yield problem("broadcasting.E001", str(exc), "docs/queues.md shows how to set it up.")
        return
    if shortcoming is not None:
        yield problem(
            "broadcasting.W005",
            f'BROADCASTING["QUEUE"] hands events to the task backend {queue.backend!r}, which '
            f"{shortcoming}.",
            "Choose a backend with workers in TASKS, or leave QUEUE out.",
        )
