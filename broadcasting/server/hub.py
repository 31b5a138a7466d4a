"""
Which local sockets listen to which topic.

Theory of operation
-------------------

There is one hub per event loop, and everything here runs on that loop. The hub joins
the bus once per topic, however many sockets listen, and leaves when the last is gone.

A socket enters the fan-out before the bus is asked, in state *buffering*: what arrives
from then on is kept. When the bus has confirmed, the rest of the snapshot is read:
members, the last event of a cache channel. Then `subscribe` moves the socket to *live*
and returns the snapshot, in one step without an await, so the caller can send its
confirmation and the kept frames before anything newer. What the snapshot tells already
is left out of the frames by its version. Nothing is missed, nothing comes twice.

Rules of this file:

* `deliver` does not await, block or raise.
* First subscribe and last unsubscribe of a topic run under the topic's lock and look
  again after taking it; otherwise a late leave would cancel a new subscriber.
* A subscription is recognised by identity: a socket that left and came back while its
  first subscription was under way has another one, and another entry in the presence.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..applications import Application
from ..drivers.base import CONTROL, RESTART, TERMINATE, Broker, Members, PresenceChange
from ..drivers.registry import close_broker, get_broker
from ..drivers.serving import begin_serving, end_serving
from ..exceptions import BroadcastError
from ..protocol.errors import OverCapacity, PusherError, Reconnect, TooManyMembers, UserTerminated
from ..protocol.members import Member
from ..protocol.messages import (
    MEMBER_ADDED,
    MEMBER_REMOVED,
    Cached,
    Frame,
    Message,
    Snapshot,
    decode,
    topic_of,
)
from ..protocol.names import is_cache
from .counts import SubscriptionCounts
from .notifier import Notifier
from .stats import HubStats
from .webhooks.endpoint import Endpoint

logger = logging.getLogger("broadcasting.server")

SWEEP_EVERY = 1.0  # Seconds.
SWEEP_SLICE = 1000  # Sockets between which others have their turn.
HEARTBEAT_EVERY = 5  # Sweeps.
DRAIN_STEP = 0.05  # Seconds between the closings of a drain.


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

    @property
    def app(self) -> Application | None: ...
    @property
    def socket_id(self) -> str: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def close_code(self) -> int | None: ...

    def tick(self, now: float) -> None:
        """Take notice of the time."""

    def dismiss(self, error: PusherError) -> None:
        """End the connection with `error`, which closes."""


class Hub:
    """
    The fan-out of one event loop.

    Make it on the loop it serves. It connects to its broker on first use, because
    Django and daphne run no ASGI lifespan that could do it earlier.

    Args:
        apps: The applications whose sockets it serves.
        on_sweep: Called about once a second.

    Attributes:
        stats: What it has done so far.
        is_draining: Whether the process is about to go, and wants no new clients.
        is_closing: Whether it asks its clients to go, and those who still come.
        on_restart: Called when all server processes are asked to restart.
        on_error: Takes note of what a client was told.
    """

    MAX_BUFFERED = 1024 * 1024  # Bytes that may wait for one subscription to be confirmed.

    def __init__(
        self, apps: Iterable[Application], *, on_sweep: Callable[["Hub"], object] | None = None
    ) -> None:
        self.stats = HubStats()
        self.is_draining = False
        self.is_closing = False
        self.on_restart: Callable[[], object] | None = None
        # One object for all connections, and none that leads back to a session.
        self.on_error: Callable[[PusherError], object] = self._note_error
        self._on_sweep = on_sweep
        self._loop = asyncio.get_running_loop()
        self._broker = get_broker()
        self._apps = {app.id: app for app in apps}
        self._topics: dict[str, _Topic] = {}
        self._sessions: set[Client] = set()
        self._users: dict[tuple[str, str], set[Client]] = {}  # (app id, user id) -> sessions
        self._entries = 0
        # Connections by application: here, and as far as known in other processes.
        self._connections: Counter[str] = Counter()
        self._elsewhere: Mapping[str, int] = {}
        self._is_answered = True  # By the bus, to the last heartbeat.
        self._online: dict[str, tuple[str, str]] = {}  # Socket id -> topic, entry.
        self._notifier = Notifier(self._apps.values())
        self._counts = SubscriptionCounts(
            self._broker, self._apps, self._notifier, self._sockets_in, self.spawn
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._started: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._housekeeping: asyncio.Task[None] | None = None

    @property
    def session_count(self) -> int:
        """How many sockets are open, subscribed or not."""
        return len(self._sessions)

    @property
    def topics(self) -> dict[str, int]:
        """How many sockets are in, or are joining, each topic."""
        return {name: len(t.live) + len(t.buffering) for name, t in self._topics.items()}

    @property
    def connections(self) -> Mapping[str, int]:
        """How many sockets are open, by application id."""
        return self._connections

    @property
    def has_bus(self) -> bool:
        """Whether the bus answers: it is connected, and took the last sign of life."""
        return self._broker.is_up and self._is_answered

    @property
    def webhooks(self) -> Sequence[Endpoint]:
        """The webhooks, and what became of their events."""
        return self._notifier.webhooks

    @property
    def broker(self) -> Broker:
        """The read end that the hub listens to."""
        return self._broker

    def begin(self) -> None:
        """Start without waiting for it. A failure is logged."""
        if self._started is None:
            self._begin()
            self.spawn(self.start())

    async def start(self) -> None:
        """Connect to the bus and begin to sweep. Calling it again does nothing."""
        try:
            await asyncio.shield(self._begin())
        except Exception:
            self._started = None  # The next socket tries again.
            raise

    def _begin(self) -> asyncio.Task[None]:
        if self._started is None:
            begin_serving()
            self._started = asyncio.create_task(self._broker.connect(self))
            if self._sweeper is None:
                self._sweeper = asyncio.create_task(self._sweep())
                self._sweeper.add_done_callback(self._finished)
                self._listener = asyncio.create_task(self._listen_to_controls())
                self._listener.add_done_callback(self._finished)
        return self._started

    async def drain(self, seconds: float) -> None:
        """
        Ask every client to reconnect elsewhere, evenly over `seconds`.

        pusher-js comes back at once, so it is here that a stampede is avoided. Whoever
        still comes is sent away.
        """
        self.is_draining = self.is_closing = True
        waiting = list(self._sessions)
        begin = self._loop.time()
        done = 0
        while done < len(waiting):
            elapsed = self._loop.time() - begin
            due = len(waiting) if elapsed >= seconds else int(len(waiting) * elapsed / seconds) + 1
            for session in waiting[done:due]:
                session.dismiss(Reconnect("Server is going away"))
            done = due
            if done < len(waiting):
                await asyncio.sleep(min(DRAIN_STEP, seconds))

    async def stop(self) -> None:
        """Ask every client to reconnect elsewhere, and let go of the bus."""
        await self.drain(0)
        # Leaving the last topics was spawned just now; the bus is closed after it.
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            # What has ended is taken out by a callback, for which `gather` need not wait.
            await asyncio.sleep(0)
        # Not before: a hub that has just been born makes them only now.
        for task in (self._sweeper, self._housekeeping, self._listener):
            if task is not None:
                task.cancel()
        await self._notifier.close()
        await close_broker()
        end_serving()

    # Clients

    def add(self, session: Client) -> None:
        """Take note of an open socket."""
        self._sessions.add(session)
        self.stats.opened += 1
        if session.app is not None:
            self._connections[session.app.id] += 1
            self._notifier.opened(session.app.id, session.socket_id)
        self.begin()

    def remove(self, session: Client) -> None:
        """Forget a socket. One that was never added is fine."""
        if session not in self._sessions:
            return
        self._sessions.discard(session)
        self.stats.closed[session.close_code] += 1
        if session.app is None:
            return
        self._connections[session.app.id] -= 1
        self._notifier.closed(session.app.id, session.socket_id, session.close_code)
        if session.user_id is not None:
            key = session.app.id, session.user_id
            self._users[key].discard(session)
            if not self._users[key]:
                del self._users[key]

    def is_full(self, app: Application) -> bool:
        """Tell whether `app` has as many sockets as it may, here and elsewhere."""
        if app.max_connections is None:
            return False
        total = self._connections[app.id] + self._elsewhere.get(app.id, 0)
        return total >= app.max_connections

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as a task that is kept, and whose failure is logged."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    # Messages

    def deliver(self, message: Message) -> int:
        """Send `message` to the sockets that listen; return how many are live."""
        topic = self._topics.get(message.topic)
        if topic is None:
            if message.channel == CONTROL:
                self._obey(message)
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
                subscription.keep(message, frame, self.MAX_BUFFERED)
        self.stats.delivered += count
        self.stats.delivered_bytes += count * frame.size
        return count

    def changed(self, change: PresenceChange) -> None:
        """Notify webhooks and receivers of signals (`Listener`)."""
        self._notifier.changed(change)

    def recount(self, topic: str) -> None:
        """Announce the number of subscribers with the next sweep (`Listener`)."""
        self._counts.recount(topic)

    async def whisper(self, message: Message) -> None:
        """
        Send a client event to whoever else is subscribed.

        Raises:
            BroadcastError: The bus did not take it.
        """
        await self._broker.publish(message)
        self.stats.published["client"] += 1
        self._notifier.sent_by_client(message)

    # Subscriptions

    async def subscribe(
        self,
        socket: Socket,
        socket_id: str,
        name: str,
        *,
        member: Member | None = None,
        max_members: int = 100,
    ) -> Snapshot | None:
        """
        Let `socket` receive the topic `name`, as `member` if it is a presence channel's.

        The caller must send the snapshot before it awaits anything. Returns `None` if
        the socket has left the topic meanwhile.

        Raises:
            TooManyMembers: The channel has `max_members` users, and this is another.
            BroadcastError: The bus did not confirm; the socket is out of the topic.
        """
        topic = self._topics.setdefault(name, _Topic())
        subscription = self._enter(topic, socket, socket_id)
        members = cached = None
        try:
            await self._join(topic, name, socket_id, subscription)
            if topic.buffering.get(socket_id) is subscription and member is not None:
                subscription.is_member = True
                members = await self._broker.presence.join(
                    name, subscription.entry, member, socket_id=socket_id, limit=max_members
                )
                if members is None:
                    raise TooManyMembers(f"The channel may have {max_members} members")
            if is_cache(name.partition(":")[2]):
                cached = await self._broker.cached(name)
                if cached is None:
                    self._notifier.missed(name)
        except BaseException:
            if topic.buffering.get(socket_id) is subscription:
                del topic.buffering[socket_id]
            self._leave_if_empty(name, topic)
            self._end(name, subscription)
            raise
        if topic.buffering.get(socket_id) is not subscription:
            self._end(name, subscription)
            return None  # `unsubscribe` has seen to the leave.
        self._go_live(topic, socket_id)
        self._counts.change(name, is_newcomer=True)
        return Snapshot(
            tuple(subscription.release(members, cached)),
            None if members is None else members.infos,
            cached,
        )

    def unsubscribe(self, socket_id: str, name: str, *, grace: float = 0) -> None:
        """
        Take a socket out of the topic `name`. From now on it receives nothing of it.

        With `grace`, others hear that the member has left after so many seconds, and
        not at all if the user comes back meanwhile.
        """
        topic = self._topics.get(name)
        if topic is None:
            return
        subscription = topic.live.pop(socket_id, None)
        topic.buffering.pop(socket_id, None)  # `subscribe` ends it when it finds it gone.
        if subscription is not None:
            self._end(name, subscription, grace)
            self._counts.change(name)
        self._leave_if_empty(name, topic)

    def _enter(self, topic: "_Topic", socket: Socket, socket_id: str) -> "_Subscription":
        subscription = _Subscription(socket, self._new_entry(socket_id))
        topic.buffering[socket_id] = subscription
        return subscription

    def _new_entry(self, socket_id: str) -> str:
        # Unique in the cluster, since socket ids are, and never used again.
        self._entries += 1
        return f"{socket_id}:{self._entries}"

    async def _join(
        self, topic: "_Topic", name: str, socket_id: str, subscription: "_Subscription"
    ) -> None:
        """Have the bus deliver `name`, unless the subscription is not wanted any more."""
        await self.start()
        async with topic.lock:
            # A topic whose last socket left meanwhile may have been replaced by
            # another, for which a join and a leave here would be one too many.
            if not topic.joined and topic.buffering.get(socket_id) is subscription:
                await self._broker.subscribe(name)
                topic.joined = True

    def _go_live(self, topic: "_Topic", socket_id: str) -> None:
        topic.live[socket_id] = topic.buffering.pop(socket_id)

    def _end(self, name: str, subscription: "_Subscription", grace: float = 0) -> None:
        if subscription.is_member:
            subscription.is_member = False
            self.spawn(self._broker.presence.leave(name, subscription.entry, grace=grace))

    def _sockets_in(self, name: str) -> int:
        topic = self._topics.get(name)
        return 0 if topic is None else len(topic.live)

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

    # Users

    def signed_in(self, session: Client) -> None:
        """Take note that `session`, which was added, has a user now."""
        if session.app is not None and session.user_id is not None:
            self._users.setdefault((session.app.id, session.user_id), set()).add(session)

    async def come_online(self, socket_id: str, name: str, user_id: str) -> bool:
        """
        Tell those who listen to the topic `name` that the user is there.

        Return whether the socket still is: `go_offline` may be called meanwhile.
        """
        entry = self._new_entry(socket_id)
        self._online[socket_id] = name, entry
        await self._broker.presence.join(name, entry, Member(user_id), socket_id=socket_id, limit=1)
        if self._online.get(socket_id) != (name, entry):
            await self._broker.presence.leave(name, entry)
            return False
        return True

    def go_offline(self, socket_id: str, *, grace: float = 0) -> None:
        """Undo `come_online`; with `grace`, unless the user comes back in so many seconds."""
        online = self._online.pop(socket_id, None)
        if online is not None:
            self.spawn(self._broker.presence.leave(*online, grace=grace))

    async def watch(self, socket: Socket, socket_id: str, names: Sequence[str]) -> "Watch | None":
        """
        Let `socket` hear of the users for whom the topics `names` stand.

        The caller must send what is returned before it awaits anything; `None` if the
        socket has gone meanwhile. `unsubscribe` ends it, topic by topic.

        Raises:
            BroadcastError: The bus did not confirm; the socket watches nobody.
        """
        topics = {name: self._topics.setdefault(name, _Topic()) for name in names}
        entered = {name: self._enter(topic, socket, socket_id) for name, topic in topics.items()}
        try:
            await asyncio.gather(
                *(self._join(topics[name], name, socket_id, entered[name]) for name in names)
            )
            members = await asyncio.gather(*map(self._broker.presence.members, names))
        except BaseException:
            for name in names:
                self.unsubscribe(socket_id, name)
            raise
        if any(topics[name].buffering.get(socket_id) is not entered[name] for name in names):
            return None
        frames: list[Frame] = []
        for name, present in zip(names, members, strict=True):
            self._go_live(topics[name], socket_id)
            frames += entered[name].release(present, None)
        online = {name for name, present in zip(names, members, strict=True) if present.infos}
        return Watch(online, frames)

    # What server processes tell each other

    async def _listen_to_controls(self) -> None:
        """Join the topics on which commands come, however long that takes."""
        waiting = [topic_of(app_id, CONTROL) for app_id in self._apps]
        while waiting:
            try:
                await self.start()
                await self._broker.subscribe(waiting[-1])
                waiting.pop()
            except BroadcastError as exc:
                logger.debug("Cannot listen to %s yet: %s", waiting[-1], exc)
                await asyncio.sleep(SWEEP_EVERY)

    def _obey(self, message: Message) -> None:
        """Do what another process asks for; log what is not understood."""
        try:
            subject = decode(message.data)
        except ValueError:
            subject = None
        if message.event == TERMINATE and isinstance(subject, str):
            for session in list(self._users.get((message.app_id, subject), ())):
                session.dismiss(UserTerminated("Connection terminated by the application"))
        elif message.event == RESTART:
            if self.on_restart is not None:
                self.on_restart()
        else:
            logger.warning("Ignored a command that is not understood: %r", message.event)

    # Time

    async def _sweep(self) -> None:
        sweeps = 0
        while True:
            due = self._loop.time() + SWEEP_EVERY
            await asyncio.sleep(SWEEP_EVERY)
            now = self._loop.time()
            self.stats.loop_lag = max(0.0, now - due)
            if self._on_sweep is not None:
                self._on_sweep(self)
            sessions = list(self._sessions)
            for start in range(0, len(sessions), SWEEP_SLICE):
                self._tick(sessions[start : start + SWEEP_SLICE], now)
                await asyncio.sleep(0)  # Messages must not wait for ten thousand ticks.
            # One at a time: a bus that is away answers late.
            if self._housekeeping is None or self._housekeeping.done():
                self._housekeeping = self._loop.create_task(
                    self._keep_house(sweeps % HEARTBEAT_EVERY == 0)
                )
                self._housekeeping.add_done_callback(self._finished)
            sweeps += 1

    def _tick(self, sessions: Sequence[Client], now: float) -> None:
        for session in sessions:
            try:
                session.tick(now)
            except Exception:  # One session must not end the sweep of all.
                logger.exception("A socket could not be ticked")

    async def _keep_house(self, with_heartbeat: bool) -> None:
        try:
            if with_heartbeat:
                await self._say_that_it_lives()
            await self._broker.presence.expire()
            await self._counts.announce_late()
        except BroadcastError as exc:
            # The broker says that its bus is away, and when it is back.
            logger.debug("Presence could not be kept up: %s", exc)

    async def _say_that_it_lives(self) -> None:
        """Tell other processes so, and learn how many connections they have."""
        own = dict(self._connections)
        begin = time.monotonic()  # uvloop's own clock counts whole milliseconds.
        try:
            everywhere = await self._broker.presence.heartbeat(own)
        except BroadcastError:
            self._is_answered = False
            raise
        self._is_answered = True
        self.stats.bus_lag = time.monotonic() - begin
        self._elsewhere = {
            app_id: number - own.get(app_id, 0) for app_id, number in everywhere.items()
        }

    def _note_error(self, error: PusherError) -> None:
        self.stats.errors[type(error).__name__] += 1

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("A task of the hub failed", exc_info=task.exception())


@dataclass(frozen=True, slots=True)
class Watch:
    """
    What a new watcher must hear first.

    Attributes:
        online: The topics of the users who are there.
        frames: Who came and went since, in order.
    """

    online: set[str]
    frames: list[Frame]


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

    __slots__ = ("_kept", "_size", "entry", "is_member", "socket")

    def __init__(self, socket: Socket, entry: str) -> None:
        self.socket = socket
        self.entry = entry
        self.is_member = False  # Whether the presence may know the entry.
        self._kept: list[tuple[Message, Frame]] | None = None
        self._size = 0

    def keep(self, message: Message, frame: Frame, limit: int) -> None:
        """Keep `frame`, or close the socket when more than `limit` bytes wait."""
        self._size += frame.size
        if self._size > limit:
            self.socket.close(OverCapacity.code, "Too many messages while subscribing")
            return
        if self._kept is None:
            self._kept = []
        self._kept.append((message, frame))

    def release(self, members: Members | None, cached: Cached | None) -> list[Frame]:
        """Return, once, the frames that are newer than `members` and `cached`."""
        kept, self._kept = self._kept or [], None
        return [frame for message, frame in kept if _is_newer(message, members, cached)]


def _is_newer(message: Message, members: Members | None, cached: Cached | None) -> bool:
    known = members if message.event in (MEMBER_ADDED, MEMBER_REMOVED) else cached
    return message.version is None or known is None or message.version > known.version
