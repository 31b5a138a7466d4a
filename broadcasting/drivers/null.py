"""A connection that leads nowhere: events are made, and forgotten."""

from collections.abc import Sequence
from typing import Unpack

from .base import Broadcaster, Options


class NullBroadcaster(Broadcaster):
    """Take every message and do nothing with it."""

    def broadcast(
        self, channels: Sequence[str], event: str, data: str, **options: Unpack[Options]
    ) -> None:
        """Do nothing."""
