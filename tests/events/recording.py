"""A driver that remembers, or fails as its connection's settings say."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Unpack, cast

from django.dispatch import Signal

from broadcasting.drivers.base import Broadcaster, Options
from broadcasting.drivers.registry import broadcasters
from broadcasting.exceptions import BroadcastError, ChannelsRefused
from broadcasting.protocol.messages import decode


class Sent(NamedTuple):
    """One call of a broadcaster."""

    channels: tuple[str, ...]
    event: str
    data: object
    socket_id: str | None


class RecordingBroadcaster(Broadcaster):
    """
    Keep what is sent.

    Args:
        error: Raised by every broadcast.

    Attributes:
        refuses: Channels that are refused, while others get the event.
        ids: The ids of the messages, one for each call.
    """

    def __init__(self, *, error: Exception | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.error = error
        self.refuses: set[str] = set()
        self.ids: list[str | None] = []
        self.calls = 0
        self.sent: list[Sent] = []

    def broadcast(
        self, channels: Sequence[str], event: str, data: str, **options: Unpack[Options]
    ) -> None:
        self.calls += 1
        self.ids.append(options.get("message_id"))
        if self.error is not None:
            raise self.error
        taken = tuple(channel for channel in channels if channel not in self.refuses)
        if taken:
            self.sent.append(Sent(taken, event, decode(data), options.get("socket_id")))
        if refused := self.refuses & set(channels):
            raise ChannelsRefused(dict.fromkeys(sorted(refused), BroadcastError("no permission")))

    @property
    def names(self) -> list[str]:
        """The names of the events that were sent."""
        return [sent.event for sent in self.sent]


def recording(alias: str = "first") -> RecordingBroadcaster:
    """Return a connection, as the settings of the moment make it."""
    return cast(RecordingBroadcaster, broadcasters[alias])


class PrintingBroadcaster(Broadcaster):
    """Write what is sent to the standard output, for a test in another process."""

    def broadcast(
        self, channels: Sequence[str], event: str, data: str, **options: Unpack[Options]
    ) -> None:
        print(event, data, flush=True)


@contextmanager
def heard(signal: Signal) -> Iterator[list[dict[str, Any]]]:
    """Yield what a receiver of `signal` is told, meanwhile."""
    told: list[dict[str, Any]] = []

    def receiver(**kwargs: Any) -> None:
        told.append({name: value for name, value in kwargs.items() if name != "signal"})

    signal.connect(receiver)
    try:
        yield told
    finally:
        signal.disconnect(receiver)
