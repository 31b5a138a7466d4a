"""Publishing: from a Python object to a driver."""

from .base import ShouldBroadcast, ShouldBroadcastNow
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
from .payload import register_broadcast_fields
from .users import aterminate_user_connections, terminate_user_connections

__all__ = [
    "BroadcastsModelEvents",
    "ModelEvent",
    "ShouldBroadcast",
    "ShouldBroadcastNow",
    "abroadcast",
    "abroadcast_html",
    "abroadcast_to",
    "aevent",
    "aterminate_user_connections",
    "broadcast",
    "broadcast_html",
    "broadcast_to",
    "event",
    "listen",
    "register_broadcast_fields",
    "terminate_user_connections",
    "without_broadcasting",
]
