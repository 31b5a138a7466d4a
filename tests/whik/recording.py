"""A driver that remembers what it was given."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from broadcasting.drivers.base import Broadcaster


@dataclass(frozen=True)
class Sent:
    """One call of a driver, with its data parsed."""

    channels: tuple[str, ...]
    event: str
    data: Any
    socket_id: str | None


class RecordingBroadcaster(Broadcaster):
    """The write end of a connection that leads into a list."""

    sent: ClassVar[list[Sent]] = []

    def broadcast(
        self,
        channels: Sequence[str],
        event: str,
        data: str,
        *,
        socket_id: str | None = None,
        message_id: str | None = None,
        is_transient: bool = False,
    ) -> None:
        """Remember the call."""
        self.sent.append(Sent(tuple(channels), event, json.loads(data), socket_id))
