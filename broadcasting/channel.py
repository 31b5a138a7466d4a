"""
Channels, as events name them.

A class adds the prefix of its kind. Names are checked here, so drivers get only names
that the protocol allows.
"""

from collections.abc import Sequence
from typing import ClassVar

from django.db.models import Model

from .exceptions import InvalidChannel
from .protocol.names import (
    MAX_CHANNEL_LENGTH,
    USER_CHANNEL_PREFIX,
    is_channel_name,
    is_publishable,
)


class Channel:
    """
    A channel that anybody may join.

    Args:
        name: The name without its prefix, or a saved model: then the channel is
            called ``<app label>.<model>.<primary key>``, for example ``auth.User.7``.

    Raises:
        InvalidChannel: The protocol does not allow the name, or the model has not been
            saved.
    """

    prefix: ClassVar[str] = ""

    __slots__ = ("_name",)

    def __init__(self, name: str | Model) -> None:
        bare = _name_of_model(name) if isinstance(name, Model) else name
        if not isinstance(bare, str):
            raise InvalidChannel(f"{bare!r} is neither a channel's name nor a saved model.")
        if not bare:
            raise InvalidChannel(f"{type(self).__name__}('') has no name.")
        # Concatenation, unlike an f-string, takes the text of a str that is an Enum.
        self._name = _valid(self.prefix + bare)

    @property
    def name(self) -> str:
        """The full name, prefix included, as it appears on the wire."""
        return self._name

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"

    def __eq__(self, other: object) -> bool:
        return self._name == other._name if isinstance(other, Channel) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._name)


class PrivateChannel(Channel):
    """A channel that needs an authorization by the project."""

    prefix = "private-"
    __slots__ = ()


class PresenceChannel(Channel):
    """A private channel whose subscribers see each other."""

    prefix = "presence-"
    __slots__ = ()


class EncryptedPrivateChannel(Channel):
    """
    A private channel whose events only its subscribers can read.

    The data is encrypted before it leaves the process. See `docs/encryption.md`.
    """

    prefix = "private-encrypted-"
    __slots__ = ()


Channels = Channel | str | Sequence[Channel | str]


def channel_names(channels: Channels) -> tuple[str, ...]:
    """
    Return the names of `channels` in order, each of them once.

    A string is a full name with its prefix. ``#server-to-user-<id>`` addresses the sockets
    that are signed in as one user.

    Raises:
        InvalidChannel: An item of `channels` is not a channel.
    """
    if isinstance(channels, Channel | str):
        channels = [channels]
    if not isinstance(channels, Sequence):
        raise InvalidChannel(
            f"{channels!r} is not a channel. Give a Channel, a name or a list of them; "
            f"an empty list sends to nobody."
        )
    return tuple(dict.fromkeys(_name(channel) for channel in channels))


def _name(channel: object) -> str:
    if isinstance(channel, Channel):
        return channel.name
    if isinstance(channel, str):
        name = "" + channel
        return name if is_publishable(name) else _valid(name)
    raise InvalidChannel(
        f"{channel!r} is not a channel. Write Channel(...), PrivateChannel(...), "
        f"PresenceChannel(...) or EncryptedPrivateChannel(...) around it."
    )


def _valid(name: str) -> str:
    if not is_channel_name(name):
        raise InvalidChannel(
            f"{name!r} cannot name a channel. A name has 1 to {MAX_CHANNEL_LENGTH} characters, "
            f"prefix included: letters and digits of ASCII and _ - = @ , . ; "
            f"One user's sockets are {USER_CHANNEL_PREFIX}<id>, as a string."
        )
    return name


def _name_of_model(instance: Model) -> str:
    label = instance._meta.label
    # A key that was made in Python, such as a UUID, exists before its row does.
    if instance.pk is None or instance._state.adding:
        raise InvalidChannel(
            f"This {label} has not been saved, so that no channel can be named after it. "
            f'Save it first, or write the name: "{label}.<primary key>".'
        )
    return f"{label}.{instance.pk}"
