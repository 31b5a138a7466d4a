"""Events in a queue: what waits there, who sends it, and what is tried again."""

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import pytest
from django.core.cache import BaseCache, caches
from django.db import transaction
from pytest_django import Settings

from broadcasting import (
    BroadcastError,
    Channel,
    EncryptedPrivateChannel,
    ShouldBroadcast,
    ShouldBroadcastNow,
    broadcast,
    broadcast_to,
    event,
    flush_debounced,
)
from broadcasting.channel import Channels
from broadcasting.exceptions import CircuitOpen, PayloadError
from broadcasting.queueing import queue as queues
from broadcasting.queueing.backends import CustomBackend
from broadcasting.queueing.queue import send_queued
from broadcasting.signals import broadcast_failed, broadcast_sent
from tests.events.recording import RecordingBroadcaster, Sent, heard, recording

KEY = "S" * 43 + "="  # 32 bytes in base64.


class Task(NamedTuple):
    """One call of the function that a project names."""

    envelope: dict[str, Any]
    queue: str
    delay: float


class Jobs:
    """A queue, and the worker that a test stands in for."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.error: Exception | None = None
        self.is_eager = False

    def enqueue(self, envelope: dict[str, Any], *, queue: str, delay: float) -> None:
        """Take a task; it must be plain JSON."""
        if self.error is not None:
            raise self.error
        self.tasks.append(Task(json.loads(json.dumps(envelope)), queue, delay))
        if self.is_eager:
            send_queued(envelope)

    def work(self) -> list[float]:
        """Do what is there, and what comes of it. Return the delays of all that was done."""
        delays = []
        while self.tasks:
            task = self.tasks.pop(0)
            delays.append(task.delay)
            send_queued(task.envelope)
        return delays


jobs = Jobs()
WAY = f"{__name__}.enqueue"


def enqueue(envelope: dict[str, Any], *, queue: str, delay: float) -> None:
    """Stand in for a project's function."""
    jobs.enqueue(envelope, queue=queue, delay=delay)


@pytest.fixture(autouse=True)
def queued(first: RecordingBroadcaster, settings: Settings) -> Iterator[dict[str, Any]]:
    """Queue everything; return the options, to change."""
    options: dict[str, Any] = {"BACKEND": WAY}
    settings.BROADCASTING = {
        **settings.BROADCASTING,
        "QUEUE": options,
        "APPS": [{"ENCRYPTION_MASTER_KEY_BASE64": KEY, "MAX_EVENT_SIZE": 500}],
    }
    jobs.__init__()  # type: ignore[misc]  # Forgets.
    yield options
    flush_debounced()


@dataclass
class Said(ShouldBroadcast):
    text: str = "hello"
    on: Any = "news"
    queue: Any = None
    via: Any = ()
    seconds: float = 0

    def broadcast_on(self) -> Channels:
        return cast(Channels, self.on)

    def broadcast_with(self) -> dict[str, object]:
        return {"text": self.text}

    def broadcast_queue(self) -> Any:
        return self.queue

    def broadcast_via(self) -> Any:
        return self.via

    def broadcast_debounce(self) -> float:
        return self.seconds


class SaidNow(Said, ShouldBroadcastNow):
    pass


class TestEnqueueing:
    def test_worker_sends(self) -> None:
        """Nothing is sent before; what it sends is what was fired."""
        event(Said(on=["news", "sport"]))
        assert recording().sent == []
        assert jobs.work() == [0]
        assert recording().sent == [Sent(("news", "sport"), "Said", {"text": "hello"}, None)]

    def test_event_without_a_class_is_queued(self) -> None:
        """As the settings say."""
        broadcast_to("news", "Plain", {})
        assert [task.envelope["event"] for task in jobs.tasks] == ["Plain"]

    @pytest.mark.parametrize(
        ("all_", "asked", "expected"),
        [
            (True, None, "default"),
            (True, True, "default"),
            (True, "slow", "slow"),
            (True, False, None),
            (False, None, None),
            (False, True, "default"),
            (False, "slow", "slow"),
            (False, False, None),
        ],
    )
    def test_event_says_where_it_waits(
        self, queued: dict[str, Any], all_: bool, asked: object, expected: str | None
    ) -> None:
        """And else the settings."""
        queued["ALL"] = all_
        event(Said(queue=asked))
        assert [task.queue for task in jobs.tasks] == ([] if expected is None else [expected])
        assert len(recording().sent) == (1 if expected is None else 0)

    def test_settings_name_the_queue(self, queued: dict[str, Any]) -> None:
        """For those that give no name."""
        queued["NAME"] = "broadcasts"
        event(Said(queue=True))
        assert jobs.tasks[0].queue == "broadcasts"

    @pytest.mark.parametrize("asked", ["", 1, object(), b"x"])
    def test_queue_is_a_name(self, asked: object) -> None:
        """The mistake is raised where the event is fired."""
        with pytest.raises(BroadcastError, match=r"Said.broadcast_queue\(\) returned"):
            event(Said(queue=asked))

    def test_now_is_now(self) -> None:
        """A `ShouldBroadcastNow` waits for no worker."""
        event(SaidNow(queue="slow"))
        assert recording().names == ["SaidNow"]
        assert jobs.tasks == []

    @pytest.mark.django_db(transaction=True)
    def test_it_is_queued_on_commit(self) -> None:
        """As it was when it was fired; never, if that is rolled back."""
        said = Said()
        with transaction.atomic():
            event(said)
            said.text = "changed"
            assert jobs.tasks == []
        with transaction.atomic():
            event(Said("never"))
            transaction.set_rollback(True)
        jobs.work()
        assert [sent.data for sent in recording().sent] == [{"text": "hello"}]

    def test_sender_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The socket is that of the request, of which the worker knows nothing."""
        with monkeypatch.context() as patch:
            patch.setattr("broadcasting.events.outgoing.current_socket_id", lambda: "1.2")
            broadcast(Said(), to_others=True)
        jobs.work()
        assert recording().sent[0].socket_id == "1.2"

    def test_no_secret_is_in_the_queue(self) -> None:
        """What goes to an encrypted channel is sealed, and no key is beside it."""
        event(Said("classified", on=[EncryptedPrivateChannel("a"), Channel("b")]))
        (task,) = jobs.tasks
        (sealed, _), (plain, _) = task.envelope["parts"]["first"]
        assert (sealed, plain) == (["private-encrypted-a"], ["b"])
        assert "classified" not in task.envelope["parts"]["first"][0][1]
        app = recording().app
        assert app.encryption_master_key is not None
        text = json.dumps(task.envelope)
        assert app.secret not in text
        assert KEY not in text

    def test_too_much_data_is_not_queued(self, caplog: pytest.LogCaptureFixture) -> None:
        """It is logged where the event was fired."""
        with heard(broadcast_failed) as told:
            event(Said("x" * 500))
        assert jobs.tasks == []
        assert "the limit is 500" in caplog.text
        assert isinstance(told[0]["exception"], PayloadError)

    def test_queue_that_is_away_fails_no_request(self, caplog: pytest.LogCaptureFixture) -> None:
        """It is logged, and receivers are told for each connection."""
        jobs.error = ConnectionRefusedError("no broker")
        with heard(broadcast_failed) as told:
            event(Said(via=["first", "second"]))
        assert [each["connection"] for each in told] == ["first", "second"]
        assert "was not sent through connection 'second': no broker" in caplog.text

    def test_queue_that_hangs_is_left_alone(self, settings: Settings) -> None:
        """As a connection is: no request waits for it in vain."""
        settings.BROADCASTING = {
            **settings.BROADCASTING,
            "CIRCUIT_BREAKER": {"FAILURES": 1, "SLOW": 0},
        }
        jobs.error = ConnectionRefusedError("no broker")
        with heard(broadcast_failed) as told:
            event(Said())
            event(Said())
        assert [type(each["exception"]) for each in told] == [ConnectionRefusedError, CircuitOpen]
        assert "The queue does not work" in str(told[1]["exception"])

    def test_later_version_may_add_to_an_envelope(self) -> None:
        """A worker of this one sends what it knows."""
        event(Said())
        send_queued({**jobs.tasks[0].envelope, "colour": "red"})
        assert recording().names == ["Said"]


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

    def test_rest_of_an_event_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of several messages those are sent that were not."""
        taken: list[Any] = []

        def broadcast(channels: Any, event: str, data: str, *, socket_id: str | None) -> None:
            if len(taken) == 1 and len(jobs.tasks) == 0 and not failed:
                failed.append(channels)
                raise BroadcastError("away for a moment")
            taken.append(channels)

        failed: list[Any] = []
        monkeypatch.setattr(recording(), "broadcast", broadcast)
        names = [EncryptedPrivateChannel("a"), EncryptedPrivateChannel("b"), Channel("c")]
        event(Said(on=names))
        jobs.work()
        assert taken == [("private-encrypted-a",), ("private-encrypted-b",), ("c",)]
        assert failed == [("private-encrypted-b",)]

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

    def test_too_much_data_is_not_tried_again(self, settings: Settings) -> None:
        """The worker's limit may be lower."""
        event(Said("x" * 400))
        settings.BROADCASTING = {**settings.BROADCASTING, "APPS": [{"MAX_EVENT_SIZE": 300}]}
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
        monkeypatch.setattr(queues, "get_backend", lambda: backend)
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


@pytest.fixture
def shared_cache(settings: Settings, tmp_path: Any) -> BaseCache:
    """Return a cache that other processes see."""
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": str(tmp_path),
        }
    }
    return caches["default"]


class TestDebounced:
    def test_processes_have_one_sent(self, shared_cache: BaseCache) -> None:
        """The newest, in the task of the first, when the time is over."""
        for number in range(100):
            event(Said(str(number), seconds=2.5))
        assert [task.delay for task in jobs.tasks] == [2.5]
        jobs.work()
        assert [sent.data for sent in recording().sent] == [{"text": "99"}]

    def test_sites_that_share_a_cache_have_their_own_sent(
        self, shared_cache: BaseCache, settings: Settings
    ) -> None:
        """What one has to say is never said by the other."""
        event(Said("ours", seconds=5))
        settings.SECRET_KEY = "of another site"
        event(Said("theirs", seconds=5))
        ours, theirs = jobs.tasks
        send_queued(ours.envelope)
        send_queued(theirs.envelope)
        assert [sent.data for sent in recording().sent] == [{"text": "ours"}, {"text": "theirs"}]

    def test_next_one_is_queued_anew(self, shared_cache: BaseCache) -> None:
        """After the worker has been there."""
        event(Said("1", seconds=2))
        jobs.work()
        event(Said("2", seconds=2))
        jobs.work()
        assert [sent.data for sent in recording().sent] == [{"text": "1"}, {"text": "2"}]

    def test_two_tasks_send_one(self, shared_cache: BaseCache) -> None:
        """As when a late queue has been given a second one."""
        event(Said("1", seconds=2))
        jobs.tasks.append(jobs.tasks[0])
        jobs.work()
        assert len(recording().sent) == 1

    def test_failed_one_is_tried_again(self, shared_cache: BaseCache) -> None:
        """As any other."""
        event(Said("1", seconds=2, via="away"))
        assert jobs.work() == [2, 1, 5, 15, 60]

    def test_cache_that_forgets_costs_the_newest_only(self, shared_cache: BaseCache) -> None:
        """The task carries the first, which is better than none."""
        event(Said("first", seconds=2))
        event(Said("newest", seconds=2))
        shared_cache.clear()
        jobs.work()
        assert [sent.data for sent in recording().sent] == [{"text": "first"}]

    def test_one_process_holds_what_others_could_not_see(self) -> None:
        """The cache in memory is no place; the event is queued when it is due."""
        event(Said("1", seconds=60))
        event(Said("2", seconds=60))
        assert jobs.tasks == []
        flush_debounced()
        assert jobs.work() == [0]
        assert [sent.data for sent in recording().sent] == [{"text": "2"}]

    def test_cache_that_is_away_is_done_without(
        self,
        shared_cache: BaseCache,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The process holds the event itself, and says so."""

        def fail(*args: object, **kwargs: object) -> None:
            raise ConnectionRefusedError("no cache")

        monkeypatch.setattr(type(shared_cache), "add", fail)
        event(Said(seconds=60))
        assert "debounced by this process alone: no cache" in caplog.text
        flush_debounced()
        jobs.work()
        assert recording().names == ["Said"]

    def test_worker_without_the_cache_sends_what_it_carries(
        self,
        shared_cache: BaseCache,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """And says that there may be newer."""

        def fail(*args: object, **kwargs: object) -> None:
            raise ConnectionRefusedError("no cache")

        event(Said(seconds=2))
        monkeypatch.setattr(type(shared_cache), "get", fail)
        jobs.work()
        assert recording().names == ["Said"]
        assert "The newest Said cannot be read" in caplog.text

    def test_queue_that_is_away_is_asked_again_when_it_is_due(
        self, shared_cache: BaseCache
    ) -> None:
        """The process holds the event; what comes meanwhile takes its place, not its turn."""
        jobs.error = ConnectionRefusedError("no broker")
        event(Said("1", seconds=60))
        jobs.error = None
        event(Said("2", seconds=60))
        assert jobs.tasks == []
        flush_debounced()
        event(Said("3", seconds=60))
        jobs.work()
        assert [sent.data for sent in recording().sent] == [{"text": "2"}, {"text": "3"}]
