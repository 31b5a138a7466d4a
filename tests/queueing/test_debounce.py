"""Of events that are the same, the newest is sent, so long after the first."""

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from broadcasting import (
    BroadcastError,
    Channel,
    ShouldBroadcast,
    ShouldBroadcastNow,
    broadcast,
    event,
    flush_debounced,
)
from broadcasting.events import outgoing
from broadcasting.queueing.debounce import Debouncer
from tests.events.recording import RecordingBroadcaster
from tests.utils import FakeClock, wait_until

ROOT = Path(__file__).resolve().parents[2]


class Held:
    """A debouncer of texts whose thread a test stands in for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Debouncer, "_start", lambda self: None)
        self.clock = FakeClock(0)
        self.released: list[str] = []
        self.debouncer = Debouncer(self.released.append, lambda old, new: new, self.clock)

    def hold(self, key: str, value: str, seconds: float = 2) -> None:
        """Hold a value."""
        self.debouncer.hold(key, seconds, value)

    def after(self, seconds: float) -> list[str]:
        """Return what is released when `seconds` have passed."""
        self.released.clear()
        self.clock.advance(seconds)
        self.debouncer.release_due()
        return list(self.released)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


class TestDebouncer:
    def test_newest_is_released_when_the_first_is_due(self, held: Held) -> None:
        """However many come, and however late the last: nothing is held for longer."""
        held.hold("a", "1")
        assert held.after(1.9) == []
        held.hold("a", "2")
        held.hold("a", "3")
        assert held.after(0.1) == ["3"]
        assert held.after(9) == []

    def test_next_one_is_held_anew(self, held: Held) -> None:
        """As long as the one before."""
        held.hold("a", "1")
        held.after(2)
        held.hold("a", "2")
        assert held.after(1.9) == []
        assert held.after(0.1) == ["2"]

    def test_keys_are_apart(self, held: Held) -> None:
        """Each is due on its own; the earliest goes first, whichever came first."""
        held.hold("a", "slow", seconds=5)
        held.hold("b", "quick", seconds=1)
        assert held.debouncer.release_due() == 1
        assert held.after(9) == ["quick", "slow"]

    def test_what_is_wanted_leaves_early(self, held: Held) -> None:
        """What is held under its key afterwards is due in its own time."""
        held.hold("a", "1")
        held.hold("b", "2")
        held.after(1)
        held.debouncer.release(lambda value: value == "1")
        assert held.released == ["1"]
        held.hold("a", "3")
        assert held.after(1) == ["2"]
        assert held.after(1) == ["3"]
        assert not held.debouncer

    def test_release_that_raises_is_logged(
        self, held: Held, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The thread lives on, and the others are released."""

        def release(value: str) -> None:
            if value == "bad":
                raise ZeroDivisionError
            held.released.append(value)

        debouncer = Debouncer(release, lambda old, new: new, held.clock)
        debouncer.hold("a", 0, "bad")
        debouncer.hold("b", 0, "good")
        debouncer.release_due()
        assert held.released == ["good"]
        assert "A debounced event was lost" in caplog.text

    def test_thread_wakes_for_an_earlier_one(self) -> None:
        """It sleeps until the first is due, and one may come that is due before."""
        released: list[str] = []
        debouncer = Debouncer(released.append, lambda old, new: new)
        debouncer.hold("a", 60, "late")
        debouncer.hold("b", 0.01, "early")
        wait_until(lambda: released == ["early"])
        debouncer.flush()
        assert released == ["early", "late"]

    def test_flush_waits_for_what_is_under_way(self) -> None:
        """On return everything has left, whoever released it."""
        began, go_on = threading.Event(), threading.Event()
        released: list[str] = []

        def release(value: str) -> None:
            began.set()
            go_on.wait(60)
            released.append(value)

        debouncer = Debouncer(release, lambda old, new: new)
        debouncer.hold("a", 0, "value")
        assert began.wait(60)
        flushing = threading.Thread(target=debouncer.flush)
        flushing.start()
        assert released == []
        go_on.set()
        flushing.join(60)
        assert released == ["value"]


@dataclass
class Moved(ShouldBroadcast):
    x: int
    id: Any = 1
    seconds: Any = 60

    def broadcast_on(self) -> Channel:
        return Channel("map")

    def broadcast_debounce(self) -> Any:
        return self.seconds

    def broadcast_debounce_id(self) -> object:
        return self.id

    def broadcast_with(self) -> dict[str, object]:
        return {"x": self.x}


class Removed(Moved):
    def broadcast_debounce(self) -> float:
        return 0


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    flush_debounced()


def data(broadcaster: RecordingBroadcaster) -> list[object]:
    """Return the data of what was sent."""
    return [sent.data for sent in broadcaster.sent]


class TestEvents:
    def test_thousand_become_one(self, first: RecordingBroadcaster) -> None:
        """It carries the last state."""
        for x in range(1000):
            event(Moved(x))
        assert first.sent == []
        flush_debounced()
        assert data(first) == [{"x": 999}]

    def test_it_is_sent_when_it_is_due(self, first: RecordingBroadcaster) -> None:
        """Nobody has to ask for it."""
        event(Moved(1, seconds=0.05))
        wait_until(lambda: first.sent)
        assert data(first) == [{"x": 1}]

    def test_different_things_are_told_apart(self, first: RecordingBroadcaster) -> None:
        """By their ids, their names, their channels and their connections."""
        event(Moved(1, id=1))
        event(Moved(2, id=2))
        event(type("Turned", (Moved,), {})(3, id=1))
        event(type("Moved", (Moved,), {"broadcast_on": lambda self: "elsewhere"})(4, id=1))
        broadcast(Moved(5, id=1), via="second")
        event(Moved(6, id=1))
        flush_debounced()
        assert data(first) == [{"x": 6}, {"x": 2}, {"x": 3}, {"x": 4}]

    @pytest.mark.django_db(transaction=True)
    def test_only_what_was_committed_counts(self, first: RecordingBroadcaster) -> None:
        """A rolled back change does not take the place of one that was made."""
        with transaction.atomic():
            event(Moved(1))
            flush_debounced()
            assert first.sent == []
        with transaction.atomic():
            event(Moved(2))
            transaction.set_rollback(True)
        flush_debounced()
        assert data(first) == [{"x": 1}]

    def test_page_is_left_out_if_all_changes_are_its_own(
        self, first: RecordingBroadcaster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where two pages made them, each must hear what the other did."""
        cases: list[list[str | None]] = [["1.1", "1.1"], ["1.1", "2.2", "1.1"], ["1.1", None]]
        for id_, sockets in enumerate(cases):
            for x, socket_id in enumerate(sockets):
                monkeypatch.setattr(outgoing, "current_socket_id", lambda its=socket_id: its)
                broadcast(Moved(x, id=id_), to_others=True)
        flush_debounced()
        assert [sent.socket_id for sent in first.sent] == ["1.1", None, None]

    def test_what_follows_does_not_overtake(self, first: RecordingBroadcaster) -> None:
        """An event of the same id, on the same channel, sends what is held before it."""
        event(Moved(1, id=1))
        event(Moved(2, id=2))
        event(Removed(3, id=1))
        assert first.names == ["Moved", "Removed"]
        flush_debounced()
        assert data(first) == [{"x": 1}, {"x": 3}, {"x": 2}]

    def test_now_is_now(self, first: RecordingBroadcaster) -> None:
        """A `ShouldBroadcastNow` is not asked."""
        event(type("Now", (Moved, ShouldBroadcastNow), {})(1))
        assert first.names == ["Now"]

    @pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), True, "1", None])
    def test_seconds_are_a_number(self, seconds: object) -> None:
        """The mistake is raised where the event is fired."""
        with pytest.raises(BroadcastError, match=r"Moved.broadcast_debounce\(\) returned"):
            event(Moved(1, seconds=seconds))

    def test_threads_share_what_is_held(self, first: RecordingBroadcaster) -> None:
        """Eight that fire at the same time lose nothing and send one."""

        def move() -> None:
            for x in range(100):
                event(Moved(x))

        threads = [threading.Thread(target=move) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        flush_debounced()
        assert data(first) == [{"x": 99}]


SCRIPT = """
    import os, sys
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django
    django.setup()
    from django.conf import settings
    settings.BROADCASTING = {"DEFAULT": "printing", "CONNECTIONS": {
        "printing": {"DRIVER": "tests.events.recording.PrintingBroadcaster"}}}
    from broadcasting.conf import get_settings
    get_settings.cache_clear()
    from broadcasting import event
    from tests.queueing.test_debounce import Moved
"""


def run(code: str) -> list[str]:
    """Return the lines that `code` prints in a process of its own, with what it sends."""
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            textwrap.dedent(SCRIPT) + textwrap.dedent(code),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


class TestProcesses:
    def test_end_of_the_process_sends_what_is_held(self) -> None:
        """Also what is fired while it ends."""
        assert run(
            """
            import atexit
            atexit.register(lambda: event(Moved(3, id=2)))
            event(Moved(1))
            event(Moved(2))
            print("end", flush=True)
            """
        ) == ["end", 'Moved {"x":2}', 'Moved {"x":3}']

    def test_first_event_may_come_at_the_end(self) -> None:
        """Where no thread can be started any more, it is sent at once."""
        assert run("import atexit; atexit.register(lambda: event(Moved(1)))") == ['Moved {"x":1}']

    def test_fork_leaves_what_is_held_to_its_parent(self) -> None:
        """It is sent once; what the child fires itself is sent by the child."""
        lines = run(
            """
            event(Moved(1, id=1))
            if os.fork() == 0:
                event(Moved(2, id=2, seconds=0.01))
                from broadcasting.queueing.enqueue import _debouncer
                from tests.utils import wait_until
                wait_until(lambda: not _debouncer)
                _debouncer.flush()
                os._exit(0)
            os.wait()
            print("parent", flush=True)
            """
        )
        assert lines == ['Moved {"x":2}', "parent", 'Moved {"x":1}']
