"""
Broadcasting for Django: events that reach browsers.

The names below are the public ones. They are resolved on first use, so that
importing a low floor such as `broadcasting.protocol` pulls in nothing above it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .authorization.rules import channel_authorizer as channel_authorizer
    from .authorization.rules import user_authenticator as user_authenticator
    from .channel import Channel as Channel
    from .channel import EncryptedPrivateChannel as EncryptedPrivateChannel
    from .channel import PresenceChannel as PresenceChannel
    from .channel import PrivateChannel as PrivateChannel
    from .events.base import ShouldBroadcast as ShouldBroadcast
    from .events.base import ShouldBroadcastNow as ShouldBroadcastNow
    from .events.dispatch import abroadcast as abroadcast
    from .events.dispatch import abroadcast_to as abroadcast_to
    from .events.dispatch import aevent as aevent
    from .events.dispatch import broadcast as broadcast
    from .events.dispatch import broadcast_to as broadcast_to
    from .events.dispatch import event as event
    from .events.dispatch import listen as listen
    from .events.html import abroadcast_html as abroadcast_html
    from .events.html import broadcast_html as broadcast_html
    from .events.notifications import BroadcastNotification as BroadcastNotification
    from .events.notifications import anotify as anotify
    from .events.notifications import notify as notify
    from .events.payload import register_broadcast_fields as register_broadcast_fields
    from .events.users import aterminate_user_connections as aterminate_user_connections
    from .events.users import terminate_user_connections as terminate_user_connections
    from .exceptions import BroadcastError as BroadcastError
    from .model_events.mixin import BroadcastsModelEvents as BroadcastsModelEvents
    from .model_events.mixin import ModelEvent as ModelEvent
    from .model_events.mixin import without_broadcasting as without_broadcasting
    from .model_events.querysets import BroadcastsQuerySet as BroadcastsQuerySet
    from .queueing.enqueue import flush_debounced as flush_debounced

__version__ = "0.1.0"

_HOMES = {
    "channel_authorizer": "authorization.rules",
    "user_authenticator": "authorization.rules",
    "Channel": "channel",
    "EncryptedPrivateChannel": "channel",
    "PresenceChannel": "channel",
    "PrivateChannel": "channel",
    "BroadcastError": "exceptions",
    "BroadcastNotification": "events.notifications",
    "BroadcastsModelEvents": "model_events.mixin",
    "BroadcastsQuerySet": "model_events.querysets",
    "ModelEvent": "model_events.mixin",
    "ShouldBroadcast": "events.base",
    "ShouldBroadcastNow": "events.base",
    "abroadcast": "events.dispatch",
    "abroadcast_html": "events.html",
    "abroadcast_to": "events.dispatch",
    "aevent": "events.dispatch",
    "aterminate_user_connections": "events.users",
    "anotify": "events.notifications",
    "broadcast": "events.dispatch",
    "broadcast_html": "events.html",
    "broadcast_to": "events.dispatch",
    "event": "events.dispatch",
    "flush_debounced": "queueing.enqueue",
    "listen": "events.dispatch",
    "notify": "events.notifications",
    "register_broadcast_fields": "events.payload",
    "terminate_user_connections": "events.users",
    "without_broadcasting": "model_events.mixin",
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
