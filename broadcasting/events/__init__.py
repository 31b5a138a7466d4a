"""Publishing: from a Python object to a driver."""

from . import relations  # noqa: F401 (hears of each plan that is made)
from .base import ShouldBroadcast, ShouldBroadcastNow
from .delivery import flush_debounced
from .dispatch import (
    abroadcast,
    abroadcast_to,
    aevent,
    broadcast,
    broadcast_to,
    event,
    listen,
)
from .html import abroadcast_html, broadcast_html
from .models import BroadcastsModelEvents, ModelEvent, without_broadcasting
from .notifications import BroadcastNotification, anotify, notify
from .payload import register_broadcast_fields
from .querysets import BroadcastsQuerySet
from .users import aterminate_user_connections, terminate_user_connections

__all__ = [
    "BroadcastNotification",
    "BroadcastsModelEvents",
    "BroadcastsQuerySet",
    "ModelEvent",
    "ShouldBroadcast",
    "ShouldBroadcastNow",
    "abroadcast",
    "abroadcast_html",
    "abroadcast_to",
    "aevent",
    "anotify",
    "aterminate_user_connections",
    "broadcast",
    "broadcast_html",
    "broadcast_to",
    "event",
    "flush_debounced",
    "listen",
    "notify",
    "register_broadcast_fields",
    "terminate_user_connections",
    "without_broadcasting",
]
