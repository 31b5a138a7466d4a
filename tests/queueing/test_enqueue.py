"""Events that wait in a queue, and debounced ones that wait for a newer one."""

import json
from typing import Any

import pytest
from django.core.cache import BaseCache, caches
from django.db import transaction
from pytest_django import Settings

from broadcasting import (
    BroadcastError,
    Channel,
    EncryptedPrivateChannel,
    broadcast,
    broadcast_to,
    event,
    flush_debounced,
)
from broadcasting.exceptions import CircuitOpen, PayloadError
from broadcasting.queueing.worker import send_queued
from broadcasting.signals import broadcast_failed
from tests.events.recording import Sent, heard, recording
from tests.queueing.jobs import KEY, Said, SaidNow, jobs

pytestmark = pytest.mark.usefixtures("queued")


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

    def test_too_much_data_is_refused(self) -> None:
        """Where the event is fired."""
        with pytest.raises(PayloadError, match="the limit is 500"):
            event(Said("x" * 500))
        assert jobs.tasks == []

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
