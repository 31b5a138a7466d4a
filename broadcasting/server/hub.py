"""
Which local sockets listen to which topic.

Theory of operation
-------------------

There is one hub per event loop, and everything here runs on that loop. The hub joins
the bus once per topic, however many sockets listen, and leaves when the last is gone.

A socket enters the fan-out before the bus is asked, in state *buffering*: what arrives
from then on is kept. When the bus has confirmed, `subscribe` moves it to *live* and
returns what was kept, in one step without an await, so the caller can send its
confirmation and the kept frames before anything newer. Nothing is missed, nothing
comes twice.

Rules of this file:

* `deliver` does not await, block or raise.
* First subscribe and last unsubscribe of a topic run under the topic's lock and look
  again after taking it; otherwise a late leave would cancel a new subscriber.
* A subscription is recognised by identity: a socket that left and came back while its
  first subscription was under way has another one.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from ..drivers import close_broker, get_broker
from ..protocol.errors import OverCapacity, PusherError, Reconnect
from ..protocol.messages import Frame, Message, Snapshot

logger = logging.getLogger("broadcasting.server")

SWEEP_EVERY = 1.0  # Seconds.


class Socket(Protocol):
    """
    One client, as the server sees it.

    No method awaits, blocks or raises; after `close` the others do nothing. A socket
    whose reader is too slow closes itself with 4100 instead of holding up the others.
    """

    def send(self, frame: Frame) -> None:
        """Send `frame` after all earlier ones."""

    def close(self, code: int, reason: str) -> None:
        """Send what waits, then close. `reason` is short ASCII text."""

    def tick(self, now: float) -> None:
        """Take notice of the time: frames may have waited too long."""


class Client(Protocol):
    """What the hub knows of the session behind a socket."""

    def tick(self, now: float) -> None:
        """Take notice of the time."""

    def dismiss(self, error: PusherError) -> None:
        """End the connection with `error`, which closes."""


class Hub:
    """
    The fan-out of one event loop.

    Make it on the loop it serves. It connects to its broker on first use, because
    Django and daphne run no ASGI lifespan that could do it earlier.
    """

    MAX_BUFFERED = 1024 * 1024  # Bytes that may wait for one subscription to be confirmed.

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._broker = get_broker()
        self._topics: dict[str, _Topic] = {}
        self._sessions: set[Client] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._started: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def session_count(self) -> int:
        """How many sockets are open, subscribed or not."""
        return len(self._sessions)

    @property
    def topics(self) -> dict[str, int]:
        """How many sockets are in, or are joining, each topic."""
        return {name: len(t.live) + len(t.buffering) for name, t in self._topics.items()}

    async def start(self) -> None:
        """Connect to the bus and begin to sweep. Calling it again does nothing."""
        if self._started is None:
            self._started = asyncio.create_task(self._broker.connect(self.deliver))
            if self._sweeper is None:
                self._sweeper = asyncio.create_task(self._sweep())
                self._sweeper.add_done_callback(self._finished)
        try:
            await asyncio.shield(self._started)
        except Exception:
            self._started = None  # The next socket tries again.
            raise

    async def stop(self) -> None:
        """Ask every client to reconnect elsewhere, and let go of the bus."""
        for session in list(self._sessions):
            session.dismiss(Reconnect("Server is going away"))
        # Leaving the last topics was spawned just now; the bus is closed after it.
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._sweeper is not None:
            self._sweeper.cancel()
        await close_broker()

    def add(self, session: Client) -> None:
        """Take note of an open socket."""
        self._sessions.add(session)
        if self._started is None:
            self.spawn(self.start())

    def remove(self, session: Client) -> None:
        """Forget a socket."""
        self._sessions.discard(session)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as a task that is kept, and whose failure is logged."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def deliver(self, message: Message) -> int:
        """Send `message` to the sockets that listen; return how many are live."""
        topic = self._topics.get(message.topic)
        if topic is None:
            return 0
        try:
            frame = Frame.of(message)
        except UnicodeEncodeError:
            logger.error("Dropped a message of %s: it holds a lone surrogate", message.topic)
            return 0
        excluded = message.socket_id
        count = 0
        for socket_id, subscription in topic.live.items():
            if socket_id != excluded:
                subscription.socket.send(frame)
                count += 1
        for socket_id, subscription in topic.buffering.items():
            if socket_id != excluded:
                subscription.keep(frame, self.MAX_BUFFERED)
        return count

    async def subscribe(self, socket: Socket, socket_id: str, name: str) -> Snapshot | None:
        """
        Let `socket` receive the topic `name`.

        The caller must send the snapshot's frames before it awaits anything. Returns
        `None` if the socket has left the topic meanwhile.

        Raises:
            BroadcastError: The bus did not confirm; the socket is out of the topic.
        """
        topic = self._topics.setdefault(name, _Topic())
        subscription = topic.buffering[socket_id] = _Subscription(socket)
        try:
            await self.start()
            async with topic.lock:
                # A topic whose last socket left meanwhile may have been replaced by
                # another, for which a join and a leave here would be one too many.
                if not topic.joined and topic.buffering.get(socket_id) is subscription:
                    await self._broker.subscribe(name)
                    topic.joined = True
        except BaseException:
            if topic.buffering.get(socket_id) is subscription:
                del topic.buffering[socket_id]
            self._leave_if_empty(name, topic)
            raise
        if topic.buffering.get(socket_id) is not subscription:
            return None  # `unsubscribe` has seen to the leave.
        del topic.buffering[socket_id]
        topic.live[socket_id] = subscription
        return Snapshot(tuple(subscription.release()))

    def unsubscribe(self, socket_id: str, name: str) -> None:
        """Take a socket out of the topic `name`. From now on it receives nothing of it."""
        topic = self._topics.get(name)
        if topic is not None:
            topic.live.pop(socket_id, None)
            topic.buffering.pop(socket_id, None)
            self._leave_if_empty(name, topic)

    def _leave_if_empty(self, name: str, topic: "_Topic") -> None:
        if topic.is_empty:
            self.spawn(self._leave(name, topic))

    async def _leave(self, name: str, topic: "_Topic") -> None:
        async with topic.lock:
            if topic.is_empty and topic.joined:
                topic.joined = False
                await self._broker.unsubscribe(name)
            if topic.is_empty and self._topics.get(name) is topic:
                del self._topics[name]

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            now = self._loop.time()
            for session in list(self._sessions):
                try:
                    session.tick(now)
                except Exception:  # One session must not end the sweep of all.
                    logger.exception("A socket could not be ticked")

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("A task of the hub failed", exc_info=task.exception())


class _Topic:
    """The sockets of one topic, by socket id."""

    __slots__ = ("buffering", "joined", "live", "lock")

    def __init__(self) -> None:
        self.live: dict[str, _Subscription] = {}
        self.buffering: dict[str, _Subscription] = {}
        self.lock = asyncio.Lock()
        self.joined = False  # Whether the bus was joined; changes only under the lock.

    @property
    def is_empty(self) -> bool:
        return not self.live and not self.buffering


class _Subscription:
    """One socket in one topic, and the frames that wait for its confirmation."""

    __slots__ = ("_frames", "_size", "socket")

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self._frames: list[Frame] | None = None
        self._size = 0

    def keep(self, frame: Frame, limit: int) -> None:
        """Keep `frame`, or close the socket when more than `limit` bytes wait."""
        self._size += frame.size
        if self._size > limit:
            self.socket.close(OverCapacity.code, "Too many messages while subscribing")
            return
        if self._frames is None:
            self._frames = []
        self._frames.append(frame)

    def release(self) -> list[Frame]:
        """Return the frames that were kept, once."""
        frames, self._frames = self._frames or [], None
        return frames
