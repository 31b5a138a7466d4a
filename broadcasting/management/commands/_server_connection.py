"""The connection that server processes read, as commands need to know it."""

import asyncio
from dataclasses import dataclass

from ...conf import get_settings
from ...drivers.base import Broadcaster
from ...drivers.registry import broadcasters, close_broker, get_broker, server_broadcaster


@dataclass(frozen=True, slots=True)
class ServerConnection:
    """
    What servers read.

    Attributes:
        is_shared: Whether the servers of all processes and machines hear the same.
    """

    alias: str
    broadcaster: Broadcaster
    is_shared: bool


def find_server_connection() -> ServerConnection:
    """Return it. Raise `ImproperlyConfigured` if it can only be written to."""
    broadcaster = server_broadcaster()
    settings = get_settings()
    alias = settings.server.connection or settings.default
    if broadcasters[alias] is not broadcaster:
        alias = "memory"  # The default one only writes.
    return ServerConnection(alias, broadcaster, asyncio.run(_is_shared()))


async def _is_shared() -> bool:
    try:
        return get_broker().is_shared
    finally:
        await close_broker()
