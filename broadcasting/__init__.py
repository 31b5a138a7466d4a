"""
Broadcasting for Django: events that reach browsers.

The names below are the public ones. They are resolved on first use, so that
importing a low floor such as `broadcasting.protocol` pulls in nothing above it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .authorization import channel_authorizer as channel_authorizer
    from .authorization import user_authenticator as user_authenticator
    from .channel import Channel as Channel
    from .channel import EncryptedPrivateChannel as EncryptedPrivateChannel
    from .channel import PresenceChannel as PresenceChannel
    from .channel import PrivateChannel as PrivateChannel
    from .events import BroadcastNotification as BroadcastNotification
    from .events import BroadcastsModelEvents as BroadcastsModelEvents
    from .events import BroadcastsQuerySet as BroadcastsQuerySet
    from .events import ModelEvent as ModelEvent
    from .events import ShouldBroadcast as ShouldBroadcast
    from .events import ShouldBroadcastNow as ShouldBroadcastNow
    from .events import abroadcast as abroadcast
    from .events import abroadcast_html as abroadcast_html
    from .events import abroadcast_to as abroadcast_to
    from .events import aevent as aevent
    from .events import anotify as anotify
    from .events import aterminate_user_connections as aterminate_user_connections
    from .events import broadcast as broadcast
    from .events import broadcast_html as broadcast_html
    from .events import broadcast_to as broadcast_to
    from .events import event as event
    from .events import flush_debounced as flush_debounced
    from .events import listen as listen
    from .events import notify as notify
    from .events import register_broadcast_fields as register_broadcast_fields
    from .events import terminate_user_connections as terminate_user_connections
    from .events import without_broadcasting as without_broadcasting
    from .exceptions import BroadcastError as BroadcastError

__version__ = "0.1.0"

_HOMES = {
    "channel_authorizer": "authorization",
    "user_authenticator": "authorization",
    "Channel": "channel",
    "EncryptedPrivateChannel": "channel",
    "PresenceChannel": "channel",
    "PrivateChannel": "channel",
    "BroadcastError": "exceptions",
    "BroadcastNotification": "events",
    "BroadcastsModelEvents": "events",
    "BroadcastsQuerySet": "events",
    "ModelEvent": "events",
    "ShouldBroadcast": "events",
    "ShouldBroadcastNow": "events",
    "abroadcast": "events",
    "abroadcast_html": "events",
    "abroadcast_to": "events",
    "aevent": "events",
    "aterminate_user_connections": "events",
    "anotify": "events",
    "broadcast": "events",
    "broadcast_html": "events",
    "broadcast_to": "events",
    "event": "events",
    "flush_debounced": "events",
    "listen": "events",
    "notify": "events",
    "register_broadcast_fields": "events",
    "terminate_user_connections": "events",
    "without_broadcasting": "events",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names before their first use, too."""
    return sorted({*globals(), *__all__})
