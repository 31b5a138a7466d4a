"""Notifications: what one user is told, on whichever page they are."""

from collections.abc import Mapping, Sequence
from typing import Final
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
    Derive from this to tell a user something with `notify`.

    Nothing must be written. The class may be a plain one, a dataclass or an attrs class;
    its public fields are sent. Each method is asked once, in `notify`.
    """

    def broadcast_on(self, user: Model) -> Channels | None:
        """Return the channel or channels to send to; `None` for what the user receives on."""
        return None

    def broadcast_as(self) -> str | None:
        """Return the event's name for clients; `None` for that of Echo's ``notification()``."""
        return None

    def broadcast_type(self) -> str:
        """Return the type by which a page tells notifications apart: the name of the class."""
        return type(self).__name__

    def broadcast_with(self, user: Model) -> Mapping[str, object]:
        """Return the data to send, to which id and type are added: the public fields."""
        return public_fields(self)

    def broadcast_id(self) -> str:
        """Return the id, another one for each user: a random UUID."""
        return str(uuid4())

    def broadcast_when(self, user: Model) -> bool:
        """Tell whether to send at all."""
        return True

    def broadcast_via(self, user: Model) -> str | Sequence[str]:
        """Return the alias or aliases to send through; none for the default connection."""
        return ()

    def broadcast_queue(self, user: Model) -> str | bool | None:
        """Return the queue in which to wait for a worker, as `ShouldBroadcast` does."""
        return None


class BroadcastNotificationCreated(ShouldBroadcast):
    """
    A user is told something: the event that `notify` fires.

    Attributes:
        user: Who is told.
        notification: What.
        id: The id that the page gets.
    """

    def __init__(self, user: Model, notification: BroadcastNotification) -> None:
        self.user = user
        self.notification = notification
        self.id = str(notification.broadcast_id())

    def broadcast_on(self) -> Channels:
        """Return what the notification says, else the user, else the user's private channel."""
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
        """Return the name that the notification says, or Echo's."""
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

    def broadcast_when(self) -> bool:
        """Tell whether the notification wants to be sent."""
        return self.notification.broadcast_when(self.user)

    def broadcast_via(self) -> str | Sequence[str]:
        """Return the connections that the notification says."""
        return self.notification.broadcast_via(self.user)

    def broadcast_queue(self) -> str | bool | None:
        """Return the queue that the notification says."""
        return self.notification.broadcast_queue(self.user)


def notify(
    user: Model,
    notification: BroadcastNotification,
    *,
    to_others: bool = False,
    via: str | None = None,
    using: str | None = None,
) -> str:
    """
    Tell `user` something, on their private channel. Return the id that the page gets.

    It is an event like any other: listeners of `BroadcastNotificationCreated` run first,
    it leaves when the transaction commits, and a failure is logged.

    Args:
        user: A saved user, or a saved object of another model.
        notification: What to tell.
        to_others: Leave out the socket of the page that sent the current request.
        via: The connection to send through, in place of what the notification says.
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
    # A bare name is meant for one user; whoever wants a public channel writes Channel().
    if not isinstance(channel, str) or is_guarded(channel):
        return channel
    return channel if channel.startswith(USER_CHANNEL_PREFIX) else PrivateChannel(channel)
