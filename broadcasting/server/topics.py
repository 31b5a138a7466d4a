"""
Which sockets are in each topic of a hub, and which topics the bus was joined for.

Theory of operation
-------------------

A socket enters a topic in state *buffering*, before the bus is asked: messages that
arrive from then on are kept for it. When the bus has confirmed and the rest of the
snapshot has been read, the socket goes *live* and the kept frames are released, without
those that the snapshot contains already, which their versions tell.

Rules of this file:

* The first subscribe and the last unsubscribe of a topic run under the topic's lock and
  look again after taking it. Otherwise a late leave would cancel a new subscriber.
* A subscription is recognised by identity: a socket that left and came back while its
  first subscription was under way has another one, with another entry in the presence.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any, Protocol

from ..drivers.base import Broker, Members
from ..protocol.errors import OverCapacity
from ..protocol.messages import MEMBER_ADDED, MEMBER_REMOVED, Cached, Frame, Message


class Socket(Protocol):
    """
    One client's socket, as the server sees it.

    No method awaits, blocks or raises; after `close` the others do nothing. A socket
    whose client reads too slowly closes itself with 4100 and never delays the others.
    """

    def send(self, frame: Frame) -> None:
        """Send `frame` after all earlier ones."""

    def close(self, code: int, reason: str) -> None:
        """Send what waits, then close. `reason` is short ASCII text."""

    def tick(self, now: float) -> None:
        """Close if frames have waited too long at time `now`."""


class Topic:
    """The sockets of one topic, by socket id."""

    __slots__ = ("buffering", "is_joined", "live", "lock", "name", "on_command")

    def __init__(self, name: str, on_command: Callable[[Message], None] | None = None) -> None:
        self.name = name
        # Takes the messages of a control topic, which has no sockets.
        self.on_command = on_command
        self.live: dict[str, Subscription] = {}
        self.buffering: dict[str, Subscription] = {}
        self.lock = asyncio.Lock()
        self.is_joined = False  # On the bus; changes only under the lock.

    @property
    def is_unused(self) -> bool:
        """Whether nobody needs the messages of this topic."""
        return not self.live and not self.buffering and self.on_command is None


class Subscription:
    """One socket in one topic, and the frames that wait for its confirmation."""

    __slots__ = ("_kept", "_size", "entry", "is_member", "socket", "socket_id", "topic")

    def __init__(self, topic: Topic, socket: Socket, socket_id: str, entry: str) -> None:
        self.topic = topic
        self.socket = socket
        self.socket_id = socket_id
        self.entry = entry  # Its name in the presence.
        self.is_member = False  # Whether the presence may know the entry.
        self._kept: list[tuple[Message, Frame]] | None = None
        self._size = 0

    @property
    def is_buffering(self) -> bool:
        """Whether it waits for its confirmation. It does not once the socket has left."""
        return self.topic.buffering.get(self.socket_id) is self

    def keep(self, message: Message, frame: Frame, limit: int) -> None:
        """Keep `frame`, or close the socket when more than `limit` bytes wait."""
        self._size += frame.size
        if self._size > limit:
            self.socket.close(OverCapacity.code, "Too many messages while subscribing")
            return
        if self._kept is None:
            self._kept = []
        self._kept.append((message, frame))

    def go_live(self, members: Members | None, cached: Cached | None) -> list[Frame]:
        """Receive messages from now on. Return the kept frames that the snapshot lacks."""
        self.topic.live[self.socket_id] = self.topic.buffering.pop(self.socket_id)
        kept, self._kept = self._kept or [], None
        return [frame for message, frame in kept if _is_newer(message, members, cached)]


def _is_newer(message: Message, members: Members | None, cached: Cached | None) -> bool:
    known = members if message.event in (MEMBER_ADDED, MEMBER_REMOVED) else cached
    return message.version is None or known is None or message.version > known.version


class Topics:
    """
    The topics of one hub.

    `start` connects the broker if that was not done; `spawn` runs a coroutine as a task.
    """

    def __init__(
        self,
        broker: Broker,
        start: Callable[[], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.by_name: dict[str, Topic] = {}
        self._broker = broker
        self._start = start
        self._spawn = spawn
        self._entries = count(1)

    def count_sockets(self) -> dict[str, int]:
        """Return how many sockets are in, or are joining, each topic that clients join."""
        return {
            name: len(topic.live) + len(topic.buffering)
            for name, topic in self.by_name.items()
            if topic.on_command is None
        }

    def count_live(self, name: str) -> int:
        """Return how many sockets receive the messages of a topic."""
        topic = self.by_name.get(name)
        return 0 if topic is None else len(topic.live)

    def add_control(self, name: str, on_command: Callable[[Message], None]) -> Topic:
        """Return a new topic whose messages go to `on_command`. It still has to be joined."""
        topic = self.by_name[name] = Topic(name, on_command)
        return topic

    def enter(self, name: str, socket: Socket, socket_id: str) -> Subscription:
        """Add `socket` to a topic, buffering. Call `join` next."""
        topic = self.by_name.get(name)
        if topic is None:
            topic = self.by_name[name] = Topic(name)
        # Unique in the cluster, since socket ids are, and never used again.
        entry = f"{socket_id}:{next(self._entries)}"
        subscription = topic.buffering[socket_id] = Subscription(topic, socket, socket_id, entry)
        return subscription

    async def join(self, topic: Topic, subscription: Subscription | None = None) -> None:
        """
        Join the bus for `topic`, unless that was done or the subscription has ended.

        Raise `BroadcastError` if the bus did not confirm.
        """
        await self._start()
        async with topic.lock:
            # A topic whose last socket has left may have been replaced by another one of
            # the same name, for which this join and its leave would be one too many.
            if not topic.is_joined and (subscription is None or subscription.is_buffering):
                await self._broker.subscribe(topic.name)
                topic.is_joined = True

    def withdraw(self, subscription: Subscription) -> None:
        """Take a subscription out that was not confirmed. One that has left is fine."""
        topic = subscription.topic
        if subscription.is_buffering:
            del topic.buffering[subscription.socket_id]
        if topic.is_unused:
            self._spawn(self._leave(topic))

    def take_out(self, name: str, socket_id: str) -> Subscription | None:
        """Take a socket out of a topic; return its subscription if that was live."""
        topic = self.by_name.get(name)
        if topic is None:
            return None
        subscription = topic.live.pop(socket_id, None)
        topic.buffering.pop(socket_id, None)  # Whoever made it sees that it has gone.
        if topic.is_unused:
            self._spawn(self._leave(topic))
        return subscription

    async def _leave(self, topic: Topic) -> None:
        async with topic.lock:
            if topic.is_unused and topic.is_joined:
                topic.is_joined = False
                await self._broker.unsubscribe(topic.name)
            if topic.is_unused and self.by_name.get(topic.name) is topic:
                del self.by_name[topic.name]
