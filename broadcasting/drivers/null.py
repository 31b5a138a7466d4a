"""A connection that leads nowhere: events are made, and forgotten."""

from collections.abc import Sequence

from .base import Broadcaster


class NullBroadcaster(Broadcaster):
    """Take every message and do nothing with it."""

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
        """Do nothing."""
