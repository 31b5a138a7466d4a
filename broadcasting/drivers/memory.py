"""
The bus of a single process: no server, no loss, any number of threads.

Where the project has no channel layer this is the default. A process that serves no
sockets, such as ``manage.py shell``, sends its messages to the one that does.
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
from ..protocol.messages import Cached, Message, topic_of
from .base import (
    CACHE_TTL,
    DEFAULT_URL,
    Broadcaster,
    Broker,
    Common,
    Listener,
    is_kept,
    raise_refused,
)
from .presence import LocalPresence, PresenceStore
from .pusher import ServingProcess
from .serving import is_serving_here


class MemoryBroadcaster(Broadcaster):
    """
    Hand messages to the brokers of this process, or to the process that serves.

    Args:
        url: Where the serving process listens.
    """

    def __init__(self, *, url: str = DEFAULT_URL, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self._bus = MemoryBus()
        self._serving = ServingProcess(url=url, **common)

    def broadcast(
        self,
        channels: Sequence[str],
        event: str,
        data: str,
        *,
        socket_id: str | None = None,
        message_id: str | None = None,
        is_transient: bool = False,
    ) -> None:
        """Put the message on every listening loop of this process, or post it."""
        if not is_serving_here():
            self._serving.broadcast(
                channels,
                event,
                data,
                socket_id=socket_id,
                message_id=message_id,
                is_transient=is_transient,
            )
            return
        refused: dict[str, BroadcastError] = {}
        for channel in channels:
            try:
                self._bus.publish(Message(topic_of(self.app.id, channel), event, data, socket_id))
            except BroadcastError as exc:
                refused[channel] = exc
        raise_refused(refused, len(channels))

    def terminate_user_connections(self, user_id: str) -> None:
        """Notify the brokers of this process, or the process that serves."""
        if is_serving_here():
            super().terminate_user_connections(user_id)
        else:
            self._serving.terminate_user_connections(user_id)

    def get_broker(self) -> "MemoryBroker":
        """Return a read end for the running loop."""
        return MemoryBroker(self._bus)

    @property
    def posts_to(self) -> str:
        """The address of the serving process."""
        return self._serving.url

    def close(self) -> None:
        """Close the connections to the serving process."""
        self._serving.close()


class MemoryBus:
    """
    What the brokers of a process hang on. Thread-safe.

    Attributes:
        presence: Who is there. Its changes take their place among the messages.
    """

    CACHED = 10_000  # Cache channels whose last event is kept; the oldest goes first.

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        # Reentrant: a change of presence publishes its message while it holds the lock.
        self._lock = threading.RLock()
        self._clock = clock
        self._brokers: list[MemoryBroker] = []
        self._cached: OrderedDict[str, tuple[Cached, float]] = OrderedDict()  # With its end.
        self.presence = PresenceStore(self.publish, self._lock, clock)

    def attach(self, broker: "MemoryBroker") -> None:
        """Pass every message from now on to `broker`."""
        with self._lock:
            self._brokers.append(broker)

    def detach(self, broker: "MemoryBroker") -> None:
        """Forget `broker`. Calling it twice does no harm."""
        with self._lock:
            if broker in self._brokers:
                self._brokers.remove(broker)

    def publish(self, message: Message) -> None:
        """
        Hand `message` to each broker, in one order for all of them.

        Raises:
            PublisherBusy: One of them has no room; none was given it.
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
            # First, since what is forgotten is told of by messages.
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
    One loop's read end of a `MemoryBus`.

    Any thread calls `take`; the loop empties the inbox in slices, so that a burst
    does not hold it until the last message.
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
        """Begin to receive."""
        self._listener = listener
        self.presence.connect(listener)
        self._bus.attach(self)

    async def close(self) -> None:
        """Stop receiving."""
        self._bus.detach(self)
        self.presence.close()
        self._listener = None

    async def subscribe(self, topic: str) -> None:
        """Receive `topic`, from the next message on."""
        with self._lock:
            self._topics.add(topic)

    async def unsubscribe(self, topic: str) -> None:
        """Receive `topic` no more."""
        with self._lock:
            self._topics.discard(topic)

    async def publish(self, message: Message) -> None:
        """Put `message` on the bus."""
        self._bus.publish(message)

    async def cached(self, topic: str) -> Cached | None:
        """Return the last event of a cache channel."""
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
