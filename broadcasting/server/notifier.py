"""Calls signals and webhooks for what happens on the sockets."""

from collections.abc import Iterable, Mapping, Sequence

from django.dispatch import Signal

from .. import signals
from ..applications import Application
from ..drivers.base import PresenceChange
from ..protocol.messages import Message, split_topic
from ..protocol.names import is_reserved
from .signal_queue import SignalQueue
from .webhooks.endpoint import Endpoint
from .webhooks.routes import Webhooks

CLOSE_TIMEOUT = 5.0  # Seconds that what waits may take when the server stops.


class Notifier:
    """
    The signals and webhooks of one event loop. Only `close` awaits; nothing raises.

    Nothing is notified of channels that are reserved for the server.

    Args:
        apps: The applications whose webhooks are called.
    """

    def __init__(self, apps: Iterable[Application]) -> None:
        self._webhooks = Webhooks(apps)
        self._signals = SignalQueue()

    @property
    def webhooks(self) -> Sequence[Endpoint]:
        """The webhooks, with what became of their events."""
        return self._webhooks.endpoints

    def opened(self, app_id: str, socket_id: str) -> None:
        """Notify of a connection that was accepted."""
        self._signals.send(signals.connection_opened, app_id=app_id, socket_id=socket_id)

    def closed(self, app_id: str, socket_id: str, code: int | None) -> None:
        """Notify of a connection that has ended; `code` is `None` if the client left."""
        self._signals.send(signals.connection_closed, app_id=app_id, socket_id=socket_id, code=code)

    def changed(self, change: PresenceChange) -> None:
        """Notify of a channel that was occupied or vacated, or of a member who came or went."""
        app_id, channel = split_topic(change.topic)
        if is_reserved(channel):
            return
        who = {} if change.user_id is None else {"user_id": change.user_id}
        self._signals.send(_SIGNALS[change.name], app_id=app_id, channel=channel, **who)
        self._post(change.topic, change.name, who)

    def sent_by_client(self, message: Message) -> None:
        """Notify of a client event that was published."""
        event = {"event": message.event, "data": message.data}
        if message.socket_id is not None:
            event["socket_id"] = message.socket_id
        if message.user_id is not None:
            event["user_id"] = message.user_id
        self._post(message.topic, "client_event", event)

    def missed(self, topic: str) -> None:
        """Notify of a cache channel that has no event for a new subscriber."""
        self._post(topic, "cache_miss", {})

    def counted(self, topic: str, count: int) -> None:
        """Notify of the number of subscribers of a channel."""
        self._post(topic, "subscription_count", {"subscription_count": count})

    async def close(self) -> None:
        """Send what waits for a moment, then drop the rest."""
        await self._signals.close(CLOSE_TIMEOUT)
        await self._webhooks.close(CLOSE_TIMEOUT)

    def _post(self, topic: str, name: str, fields: Mapping[str, object]) -> None:
        app_id, channel = split_topic(topic)
        if self._webhooks.wants(app_id, name, channel):
            self._webhooks.add(app_id, {"name": name, "channel": channel, **fields})


_SIGNALS: dict[str, Signal] = {
    "channel_occupied": signals.channel_occupied,
    "channel_vacated": signals.channel_vacated,
    "member_added": signals.member_added,
    "member_removed": signals.member_removed,
}
