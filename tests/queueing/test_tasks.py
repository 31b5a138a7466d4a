"""Django's tasks as the queue, with the back ends that come with them."""

import sys
from importlib import import_module
from typing import Any

import django
import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from broadcasting import ShouldBroadcast, event
from broadcasting.channel import Channels
from broadcasting.queueing.backends import get_backend
from tests.events.recording import RecordingBroadcaster, recording

PACKAGE = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
DUMMY = f"{PACKAGE}.backends.dummy.DummyBackend"
IMMEDIATE = f"{PACKAGE}.backends.immediate.ImmediateBackend"


class Said(ShouldBroadcast):
    def __init__(self, queue: str | None = None, via: str | tuple[str, ...] = ()) -> None:
        self.text = "hello"
        self._queue = queue
        self._via = via

    def broadcast_on(self) -> Channels:
        return "news"

    def broadcast_queue(self) -> str | None:
        return self._queue

    def broadcast_via(self) -> str | tuple[str, ...]:
        return self._via


@pytest.fixture(autouse=True)
def _queue(first: RecordingBroadcaster, settings: Settings) -> None:
    settings.TASKS = {
        "default": {"BACKEND": DUMMY, "QUEUES": ["default", "slow"]},
        "inline": {"BACKEND": IMMEDIATE},
    }
    use(settings, BACKEND="default")


def use(settings: Settings, **queue: Any) -> None:
    """Set ``QUEUE``."""
    settings.BROADCASTING = {**settings.BROADCASTING, "QUEUE": queue}


def results() -> list[Any]:
    """Return what the dummy back end was given."""
    task_backends = import_module(PACKAGE).task_backends
    return list(task_backends["default"].results)


def test_event_becomes_a_task() -> None:
    """A worker finds its function by name, and calls it with plain JSON."""
    event(Said())
    (result,) = results()
    assert result.task.module_path == "broadcasting.queueing.tasks.send_broadcast"
    assert result.task.queue_name == "default"
    assert result.task.run_after is None
    assert recording("first").sent == []
    result.task.call(*result.args, **result.kwargs)
    assert recording("first").names == ["Said"]


def test_event_names_its_queue() -> None:
    """One of those that the back end has."""
    event(Said("slow"))
    assert results()[0].task.queue_name == "slow"


def test_next_try_is_a_task_for_later() -> None:
    """The back end waits, not the worker."""
    event(Said(via="away"))
    (result,) = results()
    result.task.call(*result.args, **result.kwargs)
    _, again = results()
    assert again.task.run_after is not None
    assert again.args[0]["attempt"] == 2


def test_unknown_queue_is_refused(settings: Settings) -> None:
    """Where the event is fired."""
    with pytest.raises(ImproperlyConfigured, match=r"'fast' .* 'default'.* \"QUEUES\" in TASKS"):
        event(Said("fast"))


def test_unknown_back_end_is_refused(settings: Settings) -> None:
    """Where the event is fired."""
    use(settings, BACKEND="nowhere")
    with pytest.raises(ImproperlyConfigured, match=r"task backend 'nowhere'"):
        event(Said())


def test_back_end_that_runs_tasks_at_once_cannot_delay(settings: Settings) -> None:
    """There an event is sent as if there were no queue."""
    use(settings, BACKEND="inline")
    assert not get_backend().can_delay
    event(Said(via="away"))
    event(Said())
    assert recording("away").calls == 1
    assert recording("first").names == ["Said"]


@pytest.mark.parametrize(
    ("alias", "expected"), [("default", "runs none"), ("inline", "while the request waits")]
)
def test_stand_ins_are_known(settings: Settings, alias: str, expected: str) -> None:
    """A check warns of them."""
    use(settings, BACKEND=alias)
    assert expected in (get_backend().shortcoming or "")


def test_package_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither Django nor another package has tasks, the error says what to install."""
    monkeypatch.setitem(sys.modules, "broadcasting.queueing.tasks", None)
    with pytest.raises(ImproperlyConfigured, match="pip install django-tasks"):
        event(Said())
