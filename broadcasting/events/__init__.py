"""Publishing: from a Python object to a driver."""

from .base import ShouldBroadcast, ShouldBroadcastNow
from .dispatch import (
    abroadcast,
    abroadcast_to,
    aevent,
    aterminate_user_connections,
    broadcast,
    broadcast_to,
    event,
    listen,
    terminate_user_connections,
)
from .payload import register_broadcast_fields

__all__ = [
    "ShouldBroadcast",
    "ShouldBroadcastNow",
    "abroadcast",
    "abroadcast_to",
    "aevent",
    "aterminate_user_connections",
    "broadcast",
    "broadcast_to",
    "event",
    "listen",
    "register_broadcast_fields",
    "terminate_user_connections",
]
