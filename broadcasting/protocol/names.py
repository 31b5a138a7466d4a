"""
What a channel name and an event name say, by their spelling alone.

The kind of a channel is decided by a prefix at the start of its name, as in
Pusher's "Channel naming conventions".
"""

import re
from typing import TypeGuard

MAX_CHANNEL_LENGTH = 200
MAX_EVENT_LENGTH = 200

# `\A` and `\Z` are implied by fullmatch: `$` would admit a trailing newline, and
# `\d` without re.ASCII other scripts' digits.
_CHANNEL = re.compile(rf"[A-Za-z0-9_\-=@,.;]{{1,{MAX_CHANNEL_LENGTH}}}", re.ASCII)
_SOCKET_ID = re.compile(r"[0-9]{1,20}\.[0-9]{1,20}", re.ASCII)
_RESERVED_EVENTS = ("pusher:", "pusher_internal:")


def is_channel_name(name: object) -> TypeGuard[str]:
    """Tell whether `name` may name a channel (letters, digits and ``_-=@,.;``)."""
    return isinstance(name, str) and _CHANNEL.fullmatch(name) is not None


def is_socket_id(value: object) -> TypeGuard[str]:
    """Tell whether `value` has the form of a socket id: ``digits.digits``."""
    return isinstance(value, str) and _SOCKET_ID.fullmatch(value) is not None


def is_event_name(name: object) -> TypeGuard[str]:
    """
    Tell whether a publisher may use `name` for an event.

    Any text of 1 to 200 characters that UTF-8 can carry, but the names that the
    protocol keeps for the server.
    """
    return (
        isinstance(name, str)
        and 1 <= len(name) <= MAX_EVENT_LENGTH
        and not name.startswith(_RESERVED_EVENTS)
        and is_utf8(name)
    )


def is_guarded(channel: str) -> bool:
    """Tell whether joining `channel` needs an authorization signature."""
    return channel.startswith(("private-", "presence-"))


def is_utf8(text: str) -> bool:
    """Tell whether `text` can be sent: JSON may spell lone surrogates, which no socket can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
