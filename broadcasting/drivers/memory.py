"""
The bus of a single process: no server, no loss, any number of threads.

This is the default where the project has no channel layer.
"""

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Unpack

from ..exceptions import BroadcastError, PublisherBusy
from ..protocol.messages import Cached, Message
from .base import CACHE_TTL, DEFAULT_URL, Broker, Common, Listener, is_kept
from .in_process import InProcessBroadcaster
from .presence import LocalPresence, PresenceStore


class MemoryBroadcaster(InProcessBroadcaster):
    """
    Gives messages to the brokers of this process, or posts them to the process that serves.

    Args:
        url: Where that process listens.
    """

    def __init__(self, *, url: str = DEFAULT_URL, **common: Unpack[Common]) -> None:
        super().__init__(url=url, **common)
        self._bus = MemoryBus()

    def get_broker(self) -> "MemoryBroker":
        return MemoryBroker(self._bus)

    def _publish(self, messages: Sequence[Message]) -> dict[str, BroadcastError]:
        refused: dict[str, BroadcastError] = {}
        for message in messages:
            try:
                self._bus.publish(message)
            except BroadcastError as exc:
                refused[message.channel] = exc
        return refused


class MemoryBus:
    """
    Passes messages to the brokers of all loops. Thread-safe.

    Attributes:
        presence: The members and sockets of all loops. Its messages go over this bus.
    """

    CACHED = 10_000  # Cache channels whose last event is kept. The oldest is dropped first.

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        # Reentrant: a change of presence publishes its message while it holds the lock.
        self._lock = threading.RLock()
        self._clock = clock
        self._brokers: list[MemoryBroker] = []
        self._cached: OrderedDict[str, tuple[Cached, float]] = OrderedDict()  # With its end.
        self.presence = PresenceStore(self.publish, self._lock, clock)

    def attach(self, broker: "MemoryBroker") -> None:
        """Give `broker` every message from now on."""
        with self._lock:
            self._brokers.append(broker)

    def detach(self, broker: "MemoryBroker") -> None:
        """Give `broker` no more messages. Calling it again does nothing."""
        with self._lock:
            if broker in self._brokers:
                self._brokers.remove(broker)

    def publish(self, message: Message) -> None:
        """
        Give `message` to each broker, in one order for all of them.

        Raises:
            PublisherBusy: A broker has no room. None was given the message.
        """
        with self._lock:
            self._forget_closed()
            for broker in self._brokers:
                broker.check_room(message.topic)
            if is_kept(message):
                message = self._keep(message)
            for broker in self._brokers:
                broker.take(message)

    def cached(self, topic: str) -> Cached | None:
        """Return the last event of a cache channel."""
        with self._lock:
            cached, end = self._cached.get(topic, (None, 0.0))
            ttl = end - self._clock()
            return None if cached is None or ttl <= 0 else replace(cached, ttl=ttl)

    def _forget_closed(self) -> None:
        closed = [broker for broker in self._brokers if broker.loop.is_closed()]
        if closed:
            # First, because `forget` publishes messages.
            self._brokers = [broker for broker in self._brokers if broker not in closed]
            for broker in closed:
                self.presence.forget(broker.presence)

    def _keep(self, message: Message) -> Message:
        version = self.presence.next_version()
        cached = Cached(message.event, message.data, version, CACHE_TTL)
        self._cached[message.topic] = cached, self._clock() + CACHE_TTL
        self._cached.move_to_end(message.topic)
        if len(self._cached) > self.CACHED:
            self._cached.popitem(last=False)
        return replace(message, version=version)


class MemoryBroker(Broker):
    """
    The read end of one loop.

    Any thread may call `take`. The loop empties the inbox in slices, so a burst does not
    hold the loop until its last message.
    """

    is_shared = False
    supports_cache = True
    LIMIT = 100_000
    SLICE = 200

    def __init__(self, bus: MemoryBus) -> None:
        self.loop = asyncio.get_running_loop()
        self.presence: LocalPresence = LocalPresence(bus.presence)
        self._bus = bus
        self._listener: Listener | None = None
        self._topics: set[str] = set()
        self._inbox: deque[Message] = deque()
        self._scheduled = False
        self._lock = threading.Lock()

    @property
    def is_busy(self) -> bool:
        """Whether messages wait for the loop."""
        with self._lock:
            return bool(self._inbox)

    async def connect(self, listener: Listener) -> None:
        self._listener = listener
        self.presence.connect(listener)
        self._bus.attach(self)

    async def close(self) -> None:
        self._bus.detach(self)
        self.presence.close()
        self._listener = None

    async def subscribe(self, topic: str) -> None:
        with self._lock:
            self._topics.add(topic)

    async def unsubscribe(self, topic: str) -> None:
        with self._lock:
            self._topics.discard(topic)

    async def publish(self, message: Message) -> None:
        self._bus.publish(message)

    async def cached(self, topic: str) -> Cached | None:
        return self._bus.cached(topic)

    def check_room(self, topic: str) -> None:
        """Raise `PublisherBusy` if a message of `topic` could not be taken."""
        with self._lock:
            if topic in self._topics and len(self._inbox) >= self.LIMIT:
                raise PublisherBusy(f"{self.LIMIT} messages wait for the event loop already")

    def take(self, message: Message) -> None:
        """Queue `message` for the loop, from any thread."""
        with self._lock:
            if message.topic not in self._topics:
                return
            self._inbox.append(message)
            if not self._scheduled:
                with suppress(RuntimeError):  # The loop has just been closed: nobody listens.
                    self.loop.call_soon_threadsafe(self._drain)
                    self._scheduled = True

    def _drain(self) -> None:
        with self._lock:
            count = min(len(self._inbox), self.SLICE)
            messages = [self._inbox.popleft() for _ in range(count)]
            self._scheduled = bool(self._inbox)
            if self._scheduled:
                self.loop.call_soon(self._drain)
        for message in messages:
            if self._listener is not None:
                self._listener.deliver(message)
