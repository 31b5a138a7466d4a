"""What happens on the sockets, told to webhooks and to receivers of Django signals."""

from collections.abc import Iterable, Mapping, Sequence

from django.dispatch import Signal

from .. import signals
from ..applications import Application
from ..drivers.base import PresenceChange
from ..protocol.messages import Message
from ..protocol.names import is_reserved
from .signal_queue import SignalQueue
from .webhooks.webhooks import Delivery, Webhooks

CLOSE_TIMEOUT = 5.0  # Seconds that what waits may take when the server goes away.


class Reports:
    """
    The reports of one event loop. No method but `close` awaits, blocks or raises.

    Channels that are kept for the server are not reported on.

    Args:
        apps: The applications whose webhooks are told.
    """

    def __init__(self, apps: Iterable[Application]) -> None:
        self._webhooks = Webhooks(apps)
        self._signals = SignalQueue()

    @property
    def deliveries(self) -> Sequence[Delivery]:
        """The webhooks, with what became of their events."""
        return self._webhooks.deliveries

    def opened(self, app_id: str, socket_id: str) -> None:
        """Tell of a socket that was admitted."""
        self._signals.send(signals.connection_opened, app_id=app_id, socket_id=socket_id)

    def closed(self, app_id: str, socket_id: str, code: int | None) -> None:
        """Tell of its end; `code` is `None` where the client went."""
        self._signals.send(signals.connection_closed, app_id=app_id, socket_id=socket_id, code=code)

    def changed(self, change: PresenceChange) -> None:
        """Tell of a channel that was occupied or vacated, a member who came or went."""
        app_id, _, channel = change.topic.partition(":")
        if is_reserved(channel):
            return
        who = {} if change.user_id is None else {"user_id": change.user_id}
        self._signals.send(_SIGNALS[change.name], app_id=app_id, channel=channel, **who)
        self._post(app_id, change.name, channel, who)

    def whispered(self, message: Message) -> None:
        """Tell of a client event that was relayed."""
        event = {"event": message.event, "data": message.data}
        if message.socket_id is not None:
            event["socket_id"] = message.socket_id
        if message.user_id is not None:
            event["user_id"] = message.user_id
        self._post(message.app_id, "client_event", message.channel, event)

    def missed(self, topic: str) -> None:
        """Tell of a cache channel that keeps no event for a new subscriber."""
        app_id, _, channel = topic.partition(":")
        self._post(app_id, "cache_miss", channel, {})

    def counted(self, topic: str, count: int) -> None:
        """Tell how many subscribers a channel has."""
        app_id, _, channel = topic.partition(":")
        self._post(app_id, "subscription_count", channel, {"subscription_count": count})

    async def close(self) -> None:
        """Deliver what waits, for a moment, then drop it."""
        await self._signals.close(CLOSE_TIMEOUT)
        await self._webhooks.close(CLOSE_TIMEOUT)

    def _post(self, app_id: str, name: str, channel: str, fields: Mapping[str, object]) -> None:
        if self._webhooks.wants(app_id, name, channel):
            self._webhooks.add(app_id, {"name": name, "channel": channel, **fields})


_SIGNALS: dict[str, Signal] = {
    "channel_occupied": signals.channel_occupied,
    "channel_vacated": signals.channel_vacated,
    "member_added": signals.member_added,
    "member_removed": signals.member_removed,
}
