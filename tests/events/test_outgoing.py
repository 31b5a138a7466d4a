"""The signals of publishing, and what may intercept events before the drivers."""

from contextlib import suppress

import pytest

from broadcasting import BroadcastError, Channel, ShouldBroadcastNow, broadcast_to, event
from broadcasting.events.outgoing import OutgoingEvent, intercept
from broadcasting.signals import broadcast_failed, broadcast_sent
from tests.events.recording import RecordingBroadcaster, heard


class Announced(ShouldBroadcastNow):
    def broadcast_on(self) -> Channel:
        return Channel("news")


class TestSignals:
    def test_what_a_driver_took_is_told_of(self, first: RecordingBroadcaster) -> None:
        """Once for each connection, with all its channels."""
        with heard(broadcast_sent) as told:
            broadcast_to(["a", "b"], "Said", {}, via="second")
        assert told == [
            {"sender": None, "event": "Said", "channels": ("a", "b"), "connection": "second"}
        ]

    def test_what_no_driver_took_is_told_of(self) -> None:
        """With the reason; nothing is said to have been sent."""
        with heard(broadcast_failed) as failed, heard(broadcast_sent) as sent:
            broadcast_to(["a", "b"], "Said", {}, via="away")
        (told,) = failed
        assert isinstance(told.pop("exception"), BroadcastError)
        assert told == {
            "sender": None,
            "event": "Said",
            "channels": ("a", "b"),
            "connection": "away",
        }
        assert sent == []

    def test_receiver_that_raises_disturbs_nobody(
        self, first: RecordingBroadcaster, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is logged, and the event is sent all the same."""

        def receiver(**kwargs: object) -> None:
            raise ZeroDivisionError("a bug of the receiver")

        broadcast_sent.connect(receiver)
        try:
            event(Announced())
        finally:
            broadcast_sent.disconnect(receiver)
        assert first.names == ["Announced"]
        assert "a bug of the receiver" in caplog.text


class TestIntercept:
    def test_no_driver_hears_of_it(self, first: RecordingBroadcaster) -> None:
        """The taker is told whether it would have waited for a commit, and of which database."""
        taken: list[tuple[OutgoingEvent, str | None, bool]] = []
        with intercept(lambda *told: taken.append(told)):
            broadcast_to(["a"], "Said", {"x": 1}, using="other", to_others=True)
            event(announced := Announced())
        assert first.sent == []
        (said, using, now), (fired, _, at_once) = taken
        assert (said.event, said.channels, said.data, using, now) == (
            "Said",
            ("a",),
            '{"x":1}',
            "other",
            False,
        )
        assert said.to_others
        assert (fired.instance, at_once) == (announced, True)

    def test_drivers_are_back_afterwards(self, first: RecordingBroadcaster) -> None:
        """Also where the block raises; an inner taker hides the outer one."""
        outer: list[OutgoingEvent] = []
        inner: list[OutgoingEvent] = []
        with intercept(lambda outgoing, *_: outer.append(outgoing)):
            with suppress(KeyError), intercept(lambda outgoing, *_: inner.append(outgoing)):
                broadcast_to(["a"], "Inner", {})
                raise KeyError
            broadcast_to(["a"], "Outer", {})
        broadcast_to(["a"], "Sent", {})
        assert [outgoing.event for outgoing in inner] == ["Inner"]
        assert [outgoing.event for outgoing in outer] == ["Outer"]
        assert first.names == ["Sent"]
