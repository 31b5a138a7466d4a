"""A connection that keeps failing slowly is left alone, and tried again."""

import logging
import threading

import pytest
from pytest_django import Settings

from broadcasting import BroadcastError, Channel, ShouldBroadcastNow, broadcast_to, event
from broadcasting.conf import CircuitBreaker
from broadcasting.drivers.circuit_breaker import Breaker, breakers
from broadcasting.exceptions import CircuitOpen, PayloadError
from broadcasting.signals import broadcast_failed
from tests.events.conftest import DRIVER
from tests.events.recording import RecordingBroadcaster, heard, recording
from tests.utils import FakeClock


class Bus:
    """A bus that answers, or fails after so many seconds."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.error: BaseException | None = None
        self.takes = 2.0
        self.asked = 0
        self.breaker = Breaker(
            "Connection 'redis'", CircuitBreaker(failures=3, seconds=10), self.clock
        )

    def ask(self) -> None:
        """Let the breaker ask the bus."""
        self.breaker.call(self._answer)

    def fail(self, times: int = 3) -> None:
        """Have it asked while it hangs."""
        self.error = BroadcastError("no answer in 2 s")
        for _ in range(times):
            with pytest.raises(BroadcastError):
                self.ask()

    def _answer(self) -> None:
        self.asked += 1
        if self.error is not None:
            self.clock.advance(self.takes)
            raise self.error


@pytest.fixture
def bus() -> Bus:
    return Bus()


class TestBreaker:
    def test_it_opens_after_failures_in_a_row(self, bus: Bus) -> None:
        """From then on nothing is asked, and the error says until when and why."""
        bus.fail(3)
        with pytest.raises(CircuitOpen, match=r"'redis' .* until \d\d:\d\d:\d\d UTC: no answer"):
            bus.ask()
        assert bus.asked == 3

    def test_a_success_between_them_starts_anew(self, bus: Bus) -> None:
        """A bus that fails now and then is used."""
        for _ in range(3):
            bus.fail(2)
            bus.error = None
            bus.ask()
        assert bus.asked == 9

    def test_any_exception_of_a_driver_counts(self, bus: Bus) -> None:
        """Not only those that it foresaw."""
        bus.error = ZeroDivisionError()
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                bus.ask()
        with pytest.raises(CircuitOpen, match="ZeroDivisionError"):
            bus.ask()

    def test_what_the_caller_did_wrong_does_not_count(self, bus: Bus) -> None:
        """A bus that refuses an event works."""
        bus.error = PayloadError("too much")
        for _ in range(9):
            with pytest.raises(PayloadError):
                bus.ask()

    def test_failures_that_cost_no_time_do_not_count(self, bus: Bus) -> None:
        """A bus that restarts refuses at once, and is used as soon as it is back."""
        bus.takes = 0.05
        bus.fail(9)
        bus.error = None
        bus.ask()
        assert bus.asked == 10

    def test_one_attempt_is_made_when_the_time_is_over(self, bus: Bus) -> None:
        """It fails, and the bus is left alone for as long again."""
        bus.fail()
        bus.clock.advance(9.9)
        with pytest.raises(CircuitOpen) as caught:
            bus.ask()
        assert caught.value.retry_after == pytest.approx(0.1)
        bus.clock.advance(0.1)
        bus.fail(1)
        assert bus.asked == 4
        bus.clock.advance(9.9)
        with pytest.raises(CircuitOpen):
            bus.ask()

    def test_it_closes_when_the_attempt_succeeds(self, bus: Bus) -> None:
        """Then everything goes through, and as many failures as before are needed."""
        bus.fail()
        bus.clock.advance(10)
        bus.error = None
        bus.ask()
        bus.ask()
        bus.fail(2)
        bus.error = None
        bus.ask()

    def test_an_attempt_that_is_refused_at_once_is_followed_by_the_next(self, bus: Bus) -> None:
        """The bus does not hang any more, it is only not there yet."""
        bus.fail()
        bus.clock.advance(10)
        bus.takes = 0
        bus.fail(2)
        assert bus.asked == 5

    def test_others_are_refused_while_one_attempt_is_made(self, bus: Bus) -> None:
        """A bus that still hangs costs one caller its time, not all."""
        bus.fail()
        bus.clock.advance(10)
        began, go_on = threading.Event(), threading.Event()

        def answer() -> None:
            began.set()
            go_on.wait(60)

        thread = threading.Thread(target=bus.breaker.call, args=[answer])
        thread.start()
        assert began.wait(60)
        with pytest.raises(CircuitOpen):
            bus.ask()
        go_on.set()
        thread.join()
        bus.error = None
        bus.ask()

    def test_an_attempt_that_is_broken_off_says_nothing(self, bus: Bus) -> None:
        """A worker that is told to stop: the next call makes the attempt."""
        bus.fail()
        bus.clock.advance(10)
        bus.error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            bus.ask()
        bus.clock.advance(10)
        bus.error = None
        bus.ask()
        assert bus.asked == 5

    def test_the_log_has_a_line_for_each_change(
        self, bus: Bus, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What was refused is counted, not told one by one."""
        bus.fail()
        for _ in range(7):
            with pytest.raises(CircuitOpen):
                bus.ask()
        bus.clock.advance(10)
        bus.error = None
        bus.ask()
        opened, closed = caplog.records
        assert opened.levelno == logging.ERROR
        assert "'redis' failed 3 times in a row" in opened.message
        assert "every 10 s: no answer in 2 s" in opened.message
        assert "works again after 10.0 s, in which 7 broadcasts were not tried" in closed.message


class Told(ShouldBroadcastNow):
    def broadcast_on(self) -> Channel:
        return Channel("news")


@pytest.fixture
def hanging(settings: Settings) -> RecordingBroadcaster:
    """Return a connection that fails, and one failure of which is enough."""
    settings.BROADCASTING = {
        "DEFAULT": "hanging",
        "CIRCUIT_BREAKER": {"FAILURES": 1, "SLOW": 0},
        "CONNECTIONS": {
            "hanging": {"DRIVER": DRIVER, "ERROR": BroadcastError("no answer")},
            "patient": {
                "DRIVER": DRIVER,
                "ERROR": BroadcastError("no answer"),
                "CIRCUIT_BREAKER": None,
            },
            "fine": {"DRIVER": DRIVER},
        },
    }
    return recording("hanging")


class TestConnections:
    def test_each_has_a_breaker_of_its_own(self, hanging: RecordingBroadcaster) -> None:
        """One that is away keeps no event from the others."""
        for _ in range(3):
            broadcast_to("a", "Said", {}, via="hanging")
            broadcast_to("a", "Said", {}, via="fine")
        assert (hanging.calls, recording("fine").calls) == (1, 3)

    def test_one_may_be_without(self, hanging: RecordingBroadcaster) -> None:
        """Its own setting goes before that of all."""
        for _ in range(9):
            broadcast_to("a", "Said", {}, via="patient")
        assert recording("patient").calls == 9

    def test_refused_broadcasts_are_told_of_and_not_logged(
        self, hanging: RecordingBroadcaster, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Receivers hear of each event that was lost; the log of the first."""
        with heard(broadcast_failed) as told:
            for _ in range(4):
                broadcast_to("a", "Said", {})
        assert [type(each["exception"]) for each in told] == [BroadcastError, *[CircuitOpen] * 3]
        assert len([line for line in caplog.messages if "was not sent" in line]) == 1

    def test_who_sends_now_is_told(self, hanging: RecordingBroadcaster) -> None:
        """The error says that nothing was tried, and until when."""
        with pytest.raises(BroadcastError, match="no answer"):
            event(Told())
        with pytest.raises(CircuitOpen, match="left alone until"):
            event(Told())

    def test_what_was_can_be_set_aside(self, hanging: RecordingBroadcaster) -> None:
        """For a while nothing has failed; afterwards all is as it was."""
        broadcast_to("a", "Said", {})
        with breakers.set_aside():
            broadcast_to("a", "Said", {})
        broadcast_to("a", "Said", {})
        assert hanging.calls == 2

    def test_new_settings_forget_what_was(
        self, hanging: RecordingBroadcaster, settings: Settings
    ) -> None:
        """A connection of the same name may be another one."""
        broadcast_to("a", "Said", {})
        assert "hanging" in breakers
        settings.BROADCASTING = {
            "DEFAULT": "hanging",
            "CONNECTIONS": {"hanging": {"DRIVER": DRIVER}},
        }
        broadcast_to("a", "Said", {})
        assert recording("hanging").calls == 1
