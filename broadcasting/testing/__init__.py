"""For the tests of projects: what was broadcast, and what a client hears of it."""

from .clients import AsyncBroadcastClient, BroadcastClient
from .fakes import Broadcasts, fake_broadcasts
from .mixin import BroadcastTestMixin
from .peer import ClientError, ConnectionClosed, Received, SubscriptionRefused
from .records import RecordedBroadcast

__all__ = [
    "AsyncBroadcastClient",
    "BroadcastClient",
    "BroadcastTestMixin",
    "Broadcasts",
    "ClientError",
    "ConnectionClosed",
    "Received",
    "RecordedBroadcast",
    "SubscriptionRefused",
    "fake_broadcasts",
]
