"""An event in a queue, as plain JSON that any worker understands."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..events.outgoing import OutgoingEvent, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """
    What waits in a queue.

    Attributes:
        outgoing: The event. Its data is in its parts, sealed for encrypted channels.
        queue: The queue's name.
        attempt: Which try it is waiting for, from 1 on.
        queued_at: When it was first put there; a POSIX timestamp.
        debounced: The key under which newer events may wait that replace this one.
    """

    outgoing: OutgoingEvent
    queue: str
    attempt: int = 1
    queued_at: float = field(default_factory=time.time)
    debounced: str | None = None

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Envelope":
        """Return what `to_json` gave. Keys that a newer version has added are ignored."""
        parts = {
            alias: tuple(Part(tuple(channels), data) for channels, data in its_parts)
            for alias, its_parts in fields["parts"].items()
        }
        channels = (name for its_parts in parts.values() for part in its_parts for name in part[0])
        return cls(
            outgoing=OutgoingEvent(
                event=fields["event"],
                channels=tuple(dict.fromkeys(channels)),
                parts=parts,
                data="",
                id=fields["id"],
                socket_id=fields["socket_id"],
            ),
            queue=fields["queue"],
            attempt=fields["attempt"],
            queued_at=fields["queued_at"],
            debounced=fields["debounced"],
        )

    def to_json(self) -> dict[str, Any]:
        """Return all of it as a dictionary of plain JSON."""
        return {
            "event": self.outgoing.event,
            "parts": {
                alias: [[list(part.channels), part.data] for part in its_parts]
                for alias, its_parts in self.outgoing.parts.items()
            },
            "socket_id": self.outgoing.socket_id,
            "id": self.outgoing.id,
            "queue": self.queue,
            "attempt": self.attempt,
            "queued_at": self.queued_at,
            "debounced": self.debounced,
        }
