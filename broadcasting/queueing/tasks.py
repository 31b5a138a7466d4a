"""
The queue of Django's tasks: ``django.tasks``, or the package django-tasks before Django 6.

This module is imported only by projects that queue events this way.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import django
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from ..conf import get_settings
from .worker import send_queued

if TYPE_CHECKING or django.VERSION >= (6, 0):
    from django.tasks import task, task_backends
    from django.tasks.backends.dummy import DummyBackend
    from django.tasks.backends.immediate import ImmediateBackend
else:
    from django_tasks import task, task_backends
    from django_tasks.backends.dummy import DummyBackend
    from django_tasks.backends.immediate import ImmediateBackend

try:
    # A project need neither have an alias "default" nor a queue of that name.
    @task(backend=get_settings().queue.backend, queue_name=get_settings().queue.name)
    def send_broadcast(envelope: dict[str, Any]) -> None:
        """Send an event from the queue."""
        send_queued(envelope)
except Exception as exc:  # The two packages name their errors differently.
    raise ImproperlyConfigured(
        f'BROADCASTING["QUEUE"] does not fit TASKS: {exc} Correct "BACKEND", an alias in TASKS, '
        f'or "NAME", one of its QUEUES.'
    ) from exc


@dataclass(frozen=True, slots=True)
class TasksBackend:
    """A queue of ``TASKS``, by its alias."""

    alias: str

    @property
    def can_delay(self) -> bool:
        """Whether the backend knows ``run_after``."""
        return bool(task_backends[self.alias].supports_defer)

    @property
    def shortcoming(self) -> str | None:
        """Why the backend is no real queue, `None` if it is one."""
        backend = task_backends[self.alias]
        if isinstance(backend, ImmediateBackend):
            return "runs them at once, while the request waits"
        if isinstance(backend, DummyBackend):
            return "runs none"
        return None

    def check(self, queue: str) -> None:
        """Raise `ImproperlyConfigured` if the alias or the queue does not exist."""
        try:
            send_broadcast.using(backend=self.alias, queue_name=queue)
        except Exception as exc:
            raise ImproperlyConfigured(
                f"No event can wait in the queue {queue!r} of the task backend {self.alias!r}: "
                f'{exc} Add it to "QUEUES" in TASKS, or correct broadcast_queue() or '
                f'BROADCASTING["QUEUE"].'
            ) from exc

    def enqueue(self, envelope: dict[str, Any], *, queue: str, delay: float) -> None:
        """Enqueue a task that sends the event of `envelope`."""
        run_after = timezone.now() + timedelta(seconds=delay) if delay else None
        configured = send_broadcast.using(backend=self.alias, queue_name=queue, run_after=run_after)
        configured.enqueue(envelope)
