"""The write end of a bus that ends at the process that serves sockets."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Unpack

from ..exceptions import BroadcastError
from ..protocol.messages import Message
from .base import DEFAULT_URL, Broadcaster, Common, Options, raise_refused
from .pusher import PusherBroadcaster
from .serving import is_serving_here


class InProcessBroadcaster(Broadcaster):
    """
    Publishes in this process if it serves sockets, else posts to the process that does.

    Args:
        url: Where that process listens.
    """

    def __init__(self, *, url: str = DEFAULT_URL, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        # The time limit is short: a request may be waiting.
        self._server = PusherBroadcaster(url=url, timeout=2.0, **common)

    def broadcast(
        self, channels: Sequence[str], event: str, data: str, **options: Unpack[Options]
    ) -> None:
        if self._must_post():
            self._server.broadcast(channels, event, data, **options)
        elif channels:
            messages = self.make_messages(channels, event, data, options)
            raise_refused(self._publish(messages), len(channels))

    def terminate_user_connections(self, user_id: str) -> None:
        if self._must_post():
            self._server.terminate_user_connections(user_id)
        else:
            super().terminate_user_connections(user_id)

    @property
    def posts_to(self) -> str | None:
        return self._server.url if self._ends_here() else None

    def close(self) -> None:
        self._server.close()

    def _ends_here(self) -> bool:
        """Whether the bus does not leave the process."""
        return True

    @abstractmethod
    def _publish(self, messages: Sequence[Message]) -> Mapping[str, BroadcastError]:
        """Publish the messages. Return why, by channel, for those that were refused."""

    def _must_post(self) -> bool:
        return self._ends_here() and not is_serving_here()
