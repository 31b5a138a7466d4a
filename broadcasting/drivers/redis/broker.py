"""The read end of one part of the bus."""

import logging
import secrets
from contextlib import suppress

from ...exceptions import BroadcastError
from ...protocol.messages import Cached, Message
from ..base import Broker, Listener
from .clients import CallQueue
from .history import CACHED, publish
from .names import Names
from .presence import RedisPresence
from .reader import Reader
from .scripts import Script
from .servers import Server
from .wire import decode_wire, encode_wire

logger = logging.getLogger("broadcasting.drivers")

# Key: who holds the lease. Arguments: who asks, and for how many milliseconds.
ACQUIRE_LEASE = Script(
    """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
)
# As above; until the milliseconds are over nobody holds it.
RELEASE_LEASE = Script(
    """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  if tonumber(ARGV[2]) > 0 then
    redis.call('SET', KEYS[1], '', 'PX', ARGV[2])
  else
    redis.call('DEL', KEYS[1])
  end
end
"""
)


class RedisBroker(Broker):
    """
    Reads a process's topics of one part of the bus, over one connection.

    Args:
        server: Where that part is.
        names: How things are called there.
    """

    is_shared = True
    supports_cache = True

    def __init__(self, server: Server, names: Names) -> None:
        self._names = names
        self._messages = CallQueue(server)
        self._scripts = CallQueue(server)
        self.presence: RedisPresence = RedisPresence(self._scripts, names)
        self._reader = Reader(
            server, take=self._take, is_sharded=names.is_sharded, doubt=self.presence.doubt
        )
        self._listener: Listener | None = None
        self._me = secrets.token_hex(8)  # As the holder of leases.

    @property
    def is_up(self) -> bool:  # type: ignore[override]  # Nobody but the reader sets it.
        """Whether the reader is connected and has subscribed to all that is wanted."""
        return self._reader.is_up

    @property
    def reconnects(self) -> int:  # type: ignore[override]  # As above.
        """How often that was lost and found again."""
        return self._reader.reconnects

    async def connect(self, listener: Listener) -> None:
        self._listener = listener
        self.presence.connect(listener)
        self._reader.start()

    async def close(self) -> None:
        # The reader first: when it is up it begins work of the others.
        await self._reader.close()
        await self._messages.close()
        await self.presence.close()
        await self._scripts.close()

    async def subscribe(self, topic: str) -> None:
        await self._reader.subscribe(self._names.of(topic), topic)

    async def unsubscribe(self, topic: str) -> None:
        """Deliver no more of it. Redis is told some seconds later."""
        self._reader.unsubscribe(self._names.of(topic))

    async def publish(self, message: Message) -> None:
        payload = encode_wire(message, verbatim=True)
        await self._messages.put(publish(message, payload, self._names))

    async def cached(self, topic: str) -> Cached | None:
        payload, ttl = await self._scripts.put(CACHED.call([self._names.cache_of(topic)]))
        if payload is None:
            return None
        message = decode_wire(topic, payload)
        return Cached(message.event, message.data, message.version or 0, ttl / 1000)

    async def acquire_lease(self, name: str, seconds: float) -> bool:
        arguments: list[str | int] = [self._me, max(1, int(seconds * 1000))]
        key = self._names.lease_of(name)
        return bool(await self._scripts.put(ACQUIRE_LEASE.call([key], arguments)))

    async def release_lease(self, name: str, after: float = 0) -> None:
        arguments: list[str | int] = [self._me, max(0, int(after * 1000))]
        with suppress(BroadcastError):  # Then it ends by itself.
            key = self._names.lease_of(name)
            await self._scripts.put(RELEASE_LEASE.call([key], arguments))

    def _take(self, topic: str, payload: bytes) -> None:
        if self._listener is None:
            return
        try:
            message = decode_wire(topic, payload)
        except ValueError as exc:
            channel = self._names.of(topic)
            logger.warning("Dropped a malformed message on Redis channel %r: %s", channel, exc)
            return
        self._listener.deliver(message)
