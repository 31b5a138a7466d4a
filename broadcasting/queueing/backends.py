"""How an event gets into a queue: by an alias in ``TASKS``, or a function of the project."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ..conf import get_settings

TASKS_BACKEND = "broadcasting.queueing.tasks.TasksBackend"


class Backend(Protocol):
    """What puts envelopes into a queue."""

    @property
    def can_delay(self) -> bool:
        """Whether an envelope may be enqueued for later."""

    @property
    def shortcoming(self) -> str | None:
        """Why it is no real queue, as the end of a sentence about events; `None` if it is one."""

    def check(self, queue: str) -> None:
        """Raise `ImproperlyConfigured` if nothing can be put into `queue`."""

    def enqueue(self, envelope: dict[str, Any], *, queue: str, delay: float) -> None:
        """Enqueue a call of `send_queued` with `envelope`, after `delay` seconds."""


@dataclass(frozen=True, slots=True)
class CustomBackend:
    """A function of the project that is called as `Backend.enqueue` is."""

    function: Callable[..., object]
    can_delay: bool = True
    shortcoming: str | None = None

    def check(self, queue: str) -> None:
        """Accept any name: the function knows its queues."""

    def enqueue(self, envelope: dict[str, Any], *, queue: str, delay: float) -> None:
        self.function(envelope, queue=queue, delay=delay)


def get_backend() -> Backend:
    """Return the backend that the settings name. Raise `ImproperlyConfigured` if it is missing."""
    name = get_settings().queue.backend
    if "." in name:
        return _custom(name)
    # By name and not before it is needed: a project may have no package for tasks.
    try:
        backend: Backend = import_string(TASKS_BACKEND)(name)
    except ImportError as exc:
        raise ImproperlyConfigured(
            f'BROADCASTING["QUEUE"]["BACKEND"] is {name!r}, an alias in TASKS, and this version '
            f"of Django has no tasks: pip install django-tasks, and add "
            f'"django_tasks" to INSTALLED_APPS. For another queue name a function by its dotted '
            f"path."
        ) from exc
    return backend


@cache
def _custom(path: str) -> CustomBackend:
    where = 'BROADCASTING["QUEUE"]["BACKEND"]'
    try:
        function = import_string(path)
    except ImportError as exc:
        raise ImproperlyConfigured(f"{where} is {path!r}, which cannot be imported: {exc}") from exc
    if not callable(function):
        raise ImproperlyConfigured(f"{where} is {path!r}, which is not callable.")
    return CustomBackend(function)
