"""
What a channel name and an event name say, by their spelling alone.

The kind of a channel is decided by a prefix at the start of its name, as in Pusher's
"Channel naming conventions".
"""

import re
from typing import TypeGuard

MAX_CHANNEL_LENGTH = 200
MAX_EVENT_LENGTH = 200
# Publishers address the sockets of a signed-in user by a channel with this prefix.
USER_CHANNEL_PREFIX = "#server-to-user-"

# Those who watch a user are subscribed to a channel with this prefix.
_WATCH_PREFIX = "#watch-"

# `\A` and `\Z` are implied by fullmatch: `$` would admit a trailing newline, and
# `\d` without re.ASCII other scripts' digits.
_CHANNEL = re.compile(rf"[A-Za-z0-9_\-=@,.;]{{1,{MAX_CHANNEL_LENGTH}}}", re.ASCII)
_SOCKET_ID = re.compile(r"[0-9]{1,20}\.[0-9]{1,20}", re.ASCII)
_RESERVED_EVENTS = ("pusher:", "pusher_internal:")
_PRESENCE = "presence-"
_PRIVATE = "private-"
_ENCRYPTED = "private-encrypted-"
_CACHE = ("cache-", "private-cache-", "presence-cache-", "private-encrypted-cache-")


def is_channel_name(name: object) -> TypeGuard[str]:
    """Return whether `name` may name a channel: letters, digits and ``_-=@,.;``."""
    return isinstance(name, str) and _CHANNEL.fullmatch(name) is not None


def is_user_id(value: object) -> TypeGuard[str]:
    """Return whether `value` may be the id of a user who signs in: the characters of a channel."""
    return is_channel_name(value)


def is_user_channel(name: str) -> bool:
    """Return whether `name` addresses the sockets of one signed-in user."""
    return name.startswith(USER_CHANNEL_PREFIX) and is_user_id(
        name.removeprefix(USER_CHANNEL_PREFIX)
    )


def user_channel(user_id: str) -> str:
    """Return the channel of the user's own sockets (Pusher, "User authentication")."""
    return USER_CHANNEL_PREFIX + user_id


def watch_channel(user_id: str) -> str:
    """Return the channel on which those who watch a user are told of changes."""
    return _WATCH_PREFIX + user_id


def is_watch_channel(name: str) -> bool:
    return name.startswith(_WATCH_PREFIX)


def is_reserved(name: str) -> bool:
    """Return whether `name` is reserved for the server: no listing and no webhook shows it."""
    return name.startswith("#")


def is_publishable(name: object) -> TypeGuard[str]:
    """Return whether publishers may send to `name`: a channel, or a user's channel."""
    return is_channel_name(name) or (isinstance(name, str) and is_user_channel(name))


def is_socket_id(value: object) -> TypeGuard[str]:
    """Return whether `value` has the form of a socket id, ``digits.digits``."""
    return isinstance(value, str) and _SOCKET_ID.fullmatch(value) is not None


def is_event_name(name: object) -> TypeGuard[str]:
    """
    Return whether publishers may use `name` for an event.

    It is any text of 1 to 200 characters that UTF-8 can encode, except for the names
    that the protocol reserves for the server.
    """
    return (
        isinstance(name, str)
        and 1 <= len(name) <= MAX_EVENT_LENGTH
        and not name.startswith(_RESERVED_EVENTS)
        and is_utf8(name)
    )


def is_client_event(event: str) -> bool:
    """Return whether only clients use the name `event`. Such events are never kept."""
    return event.startswith("client-")


def is_guarded(channel: str) -> bool:
    """Return whether joining `channel` needs an authorization signature."""
    return channel.startswith((_PRIVATE, _PRESENCE))


def is_presence(channel: str) -> bool:
    return channel.startswith(_PRESENCE)


def is_encrypted(channel: str) -> bool:
    return channel.startswith(_ENCRYPTED)


def is_cache(channel: str) -> bool:
    """Return whether new subscribers of `channel` are sent its last event."""
    return channel.startswith(_CACHE)


def is_utf8(text: str) -> bool:
    """Return whether UTF-8 can encode `text`. JSON may contain lone surrogates, which it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
