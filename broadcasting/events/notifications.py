"""Notifications: messages for one user, on any page they have open."""

from collections.abc import Mapping, Sequence
from functools import partialmethod
from typing import Any, Final
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.db.models import Model

from ..channel import Channel, Channels, PrivateChannel
from ..exceptions import PayloadError
from ..protocol.names import USER_CHANNEL_PREFIX, is_guarded
from .base import ShouldBroadcast, public_fields
from .dispatch import broadcast, refuse_in_loop

# What Echo's notification() listens for, less the dot that stands for "as it is".
ECHO_EVENT: Final = "Illuminate\\Notifications\\Events\\BroadcastNotificationCreated"


class BroadcastNotification:
    """
    Base class of what `notify` sends to a user.

    Everything has a default. The class may be a plain one, a dataclass or an attrs class;
    its public fields are sent. `notify` calls each method once.
    """

    def broadcast_on(self, user: Model) -> Channels | None:
        """Return the channel or channels to send to; `None` for those of the user."""
        return None

    def broadcast_as(self) -> str | None:
        """Return the event's name for clients; `None` for that of Echo's ``notification()``."""
        return None

    def broadcast_type(self) -> str:
        """Return the type by which a page distinguishes notifications: the class's name."""
        return type(self).__name__

    def broadcast_with(self, user: Model) -> Mapping[str, object]:
        """Return the data to send, by default the public fields. Id and type are added."""
        return public_fields(self)

    def broadcast_id(self) -> str:
        """Return the id, a different one for each user: a random UUID."""
        return str(uuid4())

    def broadcast_when(self, user: Model) -> bool:
        """Return whether to send the notification at all."""
        return True

    def broadcast_via(self, user: Model) -> str | Sequence[str]:
        """Return the alias or aliases to send through. Empty means the default connection."""
        return ()

    def broadcast_queue(self, user: Model) -> str | bool | None:
        """Return the queue in which the notification waits, as `ShouldBroadcast` does."""
        return None


class BroadcastNotificationCreated(ShouldBroadcast):
    """
    The event that `notify` fires.

    Attributes:
        user: The user to notify.
        notification: What is sent.
        id: The id that the page receives.
    """

    def __init__(self, user: Model, notification: BroadcastNotification) -> None:
        self.user = user
        self.notification = notification
        self.id = str(notification.broadcast_id())

    def broadcast_on(self) -> Channels:
        """Return the notification's channels, or the user's, or the user's private channel."""
        channels = self.notification.broadcast_on(self.user)
        if channels is None:
            receives = getattr(self.user, "receives_broadcast_notifications_on", None)
            channels = (
                PrivateChannel(self.user) if receives is None else receives(self.notification)
            )
        if isinstance(channels, str):
            return _for_somebody(channels)
        if isinstance(channels, Sequence):
            return [_for_somebody(channel) for channel in channels]
        return channels

    def broadcast_as(self) -> str:
        """Return the notification's name, or Echo's."""
        return self.notification.broadcast_as() or ECHO_EVENT

    def broadcast_with(self) -> Mapping[str, object]:
        """Return the notification's data with its id and type."""
        data = self.notification.broadcast_with(self.user)
        own = {"id": self.id, "type": self.notification.broadcast_type()}
        if taken := own.keys() & data.keys():
            name = type(self.notification).__name__
            raise PayloadError(
                f"The data of {name} has {' and '.join(sorted(taken))}, which notify() adds "
                f"itself. Give the field another name, or define broadcast_id() or "
                f"broadcast_type() and leave it out."
            )
        return {**data, **own}

    def _ask(self, name: str) -> Any:
        return getattr(self.notification, name)(self.user)

    broadcast_when: Any = partialmethod(_ask, "broadcast_when")
    broadcast_via: Any = partialmethod(_ask, "broadcast_via")
    broadcast_queue: Any = partialmethod(_ask, "broadcast_queue")


def notify(
    user: Model,
    notification: BroadcastNotification,
    *,
    to_others: bool = False,
    via: str | None = None,
    using: str | None = None,
) -> str:
    """
    Send a notification to `user`, on their private channel. Return the id that the page receives.

    It is an event like any other: listeners of `BroadcastNotificationCreated` are called
    first, it is sent when the transaction commits, and a failure is logged.

    Args:
        user: A saved user, or a saved object of another model.
        notification: What to send.
        to_others: Leave out the socket of the page that sent the current request.
        via: The connection to send through, in place of the notification's own.
        using: The database whose commit is waited for.

    Raises:
        TypeError: `notification` is not a `BroadcastNotification`.
        BroadcastError: It cannot be sent as it is, or the caller is async and must await
            `anotify`.
    """
    refuse_in_loop("notify")
    return _notify(user, notification, to_others, via, using)


async def anotify(
    user: Model,
    notification: BroadcastNotification,
    *,
    to_others: bool = False,
    via: str | None = None,
    using: str | None = None,
) -> str:
    """Do what `notify` does, in async code."""
    return await sync_to_async(_notify)(user, notification, to_others, via, using)


def _notify(
    user: Model,
    notification: BroadcastNotification,
    to_others: bool,
    via: str | None,
    using: str | None,
) -> str:
    if not isinstance(notification, BroadcastNotification):
        raise TypeError(f"notify() takes a BroadcastNotification, not {notification!r}.")
    created = BroadcastNotificationCreated(user, notification)
    broadcast(created, to_others=to_others, via=via, using=using)
    return created.id


def _for_somebody(channel: Channel | str) -> Channel | str:
    # A bare name is a private channel here; Channel() is for a public one.
    if not isinstance(channel, str) or is_guarded(channel):
        return channel
    return channel if channel.startswith(USER_CHANNEL_PREFIX) else PrivateChannel(channel)
