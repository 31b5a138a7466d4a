"""
What a channel name and an event name say, by their spelling alone.

The kind of a channel is decided by a prefix at the start of its name, as in
Pusher's "Channel naming conventions".
"""

import re
from typing import TypeGuard

MAX_CHANNEL_LENGTH = 200
MAX_EVENT_LENGTH = 200
# A publisher addresses the sockets of a signed-in user by a channel of this prefix.
USER_CHANNEL_PREFIX = "#server-to-user-"

# Server processes tell each other here when a user comes online or goes.
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
    """Return whether `name` may name a channel (letters, digits and ``_-=@,.;``)."""
    return isinstance(name, str) and _CHANNEL.fullmatch(name) is not None


def is_user_id(value: object) -> TypeGuard[str]:
    """Return whether `value` may identify a user who signs in: the characters of a channel."""
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
    """Return the channel on which those who watch a user hear of their coming and going."""
    return _WATCH_PREFIX + user_id


def is_watch_channel(name: str) -> bool:
    """Return whether `name` is a `watch_channel`; no client can name one."""
    return name.startswith(_WATCH_PREFIX)


def is_reserved(name: str) -> bool:
    """Return whether `name` is reserved for the server. No listing and no webhook shows it."""
    return name.startswith("#")


def is_publishable(name: object) -> TypeGuard[str]:
    """Return whether a publisher may send to `name`: a channel's or a user channel's."""
    return is_channel_name(name) or (isinstance(name, str) and is_user_channel(name))


def is_socket_id(value: object) -> TypeGuard[str]:
    """Return whether `value` has the form of a socket id: ``digits.digits``."""
    return isinstance(value, str) and _SOCKET_ID.fullmatch(value) is not None


def is_event_name(name: object) -> TypeGuard[str]:
    """
    Return whether a publisher may use `name` for an event.

    Any text of 1 to 200 characters that UTF-8 can carry, but the names that the
    protocol keeps for the server.
    """
    return (
        isinstance(name, str)
        and 1 <= len(name) <= MAX_EVENT_LENGTH
        and not name.startswith(_RESERVED_EVENTS)
        and is_utf8(name)
    )


def is_client_event(event: str) -> bool:
    """Return whether `event` has a name that only clients use. Such events are never kept."""
    return event.startswith("client-")


def is_guarded(channel: str) -> bool:
    """Return whether joining `channel` needs an authorization signature."""
    return channel.startswith((_PRIVATE, _PRESENCE))


def is_presence(channel: str) -> bool:
    """Return whether `channel` is a presence channel."""
    return channel.startswith(_PRESENCE)


def is_encrypted(channel: str) -> bool:
    """Return whether data on `channel` is encrypted."""
    return channel.startswith(_ENCRYPTED)


def is_cache(channel: str) -> bool:
    """Return whether `channel` sends its last event to new subscribers."""
    return channel.startswith(_CACHE)


def is_utf8(text: str) -> bool:
    """Return whether `text` is valid UTF-8. JSON may spell lone surrogates, which are not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
