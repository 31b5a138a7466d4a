"""What a worker sends, and what it tries again."""

import logging
import time
from typing import Any

import pytest
from pytest_django import Settings

from broadcasting import EncryptedPrivateChannel, event
from broadcasting.exceptions import PayloadError
from broadcasting.queueing import worker
from broadcasting.queueing.backends import CustomBackend
from broadcasting.queueing.worker import send_queued
from broadcasting.signals import broadcast_failed, broadcast_sent
from tests.events.recording import heard, recording
from tests.queueing.jobs import Said, enqueue, jobs

pytestmark = pytest.mark.usefixtures("queued")


class TestRetries:
    def test_failure_is_tried_again_later(self, queued: dict[str, Any]) -> None:
        """Each time after a longer pause, of which the last one repeats."""
        queued.update(TRIES=5, BACKOFF=[1, 7])
        event(Said(via="away"))
        assert jobs.work() == [0, 1, 7, 7, 7]
        assert recording("away").calls == 5

    def test_last_failure_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        """Once, as if it had been the only one."""
        caplog.set_level(logging.WARNING)
        with heard(broadcast_failed) as told:
            event(Said(via="buggy"))
            jobs.work()
        assert [(each["connection"], each["channels"]) for each in told] == [("buggy", ("news",))]
        (line,) = caplog.messages
        assert line == "Event Said on news was not sent through connection 'buggy': a bug"

    def test_success_is_told_where_it_happens(self) -> None:
        """Receivers hear of what was sent, not of what was queued."""
        with heard(broadcast_sent) as told:
            event(Said())
            assert told == []
            jobs.work()
        assert [each["event"] for each in told] == ["Said"]

    def test_only_what_failed_is_tried_again(self) -> None:
        """What a connection took, it does not get twice."""
        event(Said(via=["first", "away", "second"]))
        jobs.work()
        assert (recording().calls, recording("second").calls) == (1, 1)
        assert recording("away").calls == 5

    def test_only_refused_channels_are_tried_again(self) -> None:
        """The others have the event already; it keeps its id."""
        recording().refuses = {"b"}
        event(Said(on=["a", "b", EncryptedPrivateChannel("c")]))
        send_queued(jobs.tasks.pop().envelope)
        recording().refuses = set()
        jobs.work()
        channels = [sent.channels for sent in recording().sent]
        assert channels == [("a",), ("private-encrypted-c",), ("b",)]
        assert len(set(recording().ids)) == 1

    def test_bus_that_comes_back_gets_the_event(self) -> None:
        """A restart between two tries is not noticed."""
        event(Said(via="away"))
        send_queued(jobs.tasks.pop().envelope)
        recording("away").error = None
        jobs.work()
        assert recording("away").names == ["Said"]

    def test_pause_is_as_long_as_the_circuit_is_open(self, settings: Settings) -> None:
        """An earlier try would fail for certain."""
        settings.BROADCASTING = {
            **settings.BROADCASTING,
            "CIRCUIT_BREAKER": {"FAILURES": 1, "SECONDS": 40, "SLOW": 0},
        }
        event(Said(via="away"))
        send_queued(jobs.tasks.pop().envelope)
        send_queued(jobs.tasks.pop().envelope)
        assert jobs.tasks[0].delay == pytest.approx(40, abs=5)

    def test_data_that_no_driver_takes_is_not_tried_again(self) -> None:
        """Another try would fail as well."""
        recording("away").error = PayloadError("413")
        event(Said(via="away"))
        assert jobs.work() == [0]

    def test_queue_that_is_away_ends_it(self, caplog: pytest.LogCaptureFixture) -> None:
        """Nobody would come for the next try."""
        event(Said(via="away"))
        task = jobs.tasks.pop()
        jobs.error = ConnectionRefusedError("no broker")
        with heard(broadcast_failed) as told:
            send_queued(task.envelope)
        assert len(told) == 1
        assert "no broker" in caplog.text

    def test_queue_that_runs_tasks_at_once_tries_once(self) -> None:
        """A request waits for it."""
        jobs.is_eager = True
        with heard(broadcast_failed) as told:
            event(Said(via="away"))
        assert recording("away").calls == 1
        assert len(told) == 1

    def test_worker_waits_itself_where_the_queue_cannot_delay(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A few seconds at most; events behind this one keep their place."""
        waited: list[float] = []
        monkeypatch.setattr(time, "sleep", waited.append)
        backend = CustomBackend(enqueue, can_delay=False)
        monkeypatch.setattr(worker, "get_backend", lambda: backend)
        event(Said(via="away"))
        jobs.work()
        assert waited == [1, 5, 5, 5]
        assert recording("away").calls == 5

    def test_old_event_is_dropped(
        self, queued: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Where the settings say how old it may become."""
        queued["EXPIRES"] = 60
        event(Said("old"))
        event(Said("young"))
        jobs.tasks[0].envelope["queued_at"] -= 61
        with heard(broadcast_failed) as told:
            jobs.work()
        assert [sent.data for sent in recording().sent] == [{"text": "young"}]
        assert "It waited for 61 s and expires after 60" in caplog.text
        assert len(told) == 1
