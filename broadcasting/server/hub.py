"""
The fan-out of one event loop: messages from the bus to the sockets that listen.

Theory of operation
-------------------

There is one hub per event loop, and everything here runs on that loop. The hub joins
the bus once per topic, however many sockets listen, and leaves when the last one is
gone (`topics`). It encodes a frame once per message.

`subscribe` lets a socket into the fan-out before the bus is asked. When the bus has
confirmed, it reads the rest of the snapshot: the members, the last event of a cache
channel. Then it makes the socket live and returns the snapshot, in one step without an
await. So the caller can send its confirmation and the kept frames before anything
newer: nothing is missed, and nothing comes twice.

`deliver` does not await, block or raise. The messages of control topics are commands of
other server processes.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from ..applications import Application
from ..drivers.base import CONTROL, RESTART, TERMINATE, PresenceChange
from ..drivers.registry import close_broker, get_broker
from ..drivers.serving import begin_serving, end_serving
from ..exceptions import BroadcastError
from ..protocol.errors import PusherError, Reconnect, TooManyMembers, UserTerminated
from ..protocol.members import Member
from ..protocol.messages import (
    Frame,
    Message,
    SubscriptionSnapshot,
    decode,
    split_topic,
    topic_of,
)
from ..protocol.names import is_cache
from .counts import SubscriptionCounts
from .notifier import Notifier
from .stats import HubStats
from .topics import Socket, Subscription, Topic, Topics
from .users import Client, Users
from .webhooks.endpoint import Endpoint

logger = logging.getLogger("broadcasting.server")

SWEEP_EVERY = 1.0  # Seconds.
SWEEP_SLICE = 1000  # Sockets between which others have their turn.
HEARTBEAT_EVERY = 5  # Sweeps.
DRAIN_STEP = 0.05  # Seconds between the closings of a drain.


class Hub:
    """
    The sockets of one event loop. Make it on that loop.

    It connects to its broker on first use, because Django and daphne run no ASGI
    lifespan that could do it earlier.

    Args:
        apps: The applications whose sockets it serves.
        on_sweep: Called about once a second.

    Attributes:
        stats: What it has done so far.
        broker: The read end that it listens to.
        users: Who has signed in.
        connections: How many sockets are open, by application id.
        is_draining: Whether the process is about to go, and should get no new clients.
        is_closing: Whether it closes its connections, and those that still come.
        on_restart: Called when all server processes are asked to restart.
        on_error: Counts an error that a client was sent.
    """

    MAX_BUFFERED = 1024 * 1024  # Bytes that may wait for one subscription to be confirmed.

    def __init__(
        self, apps: Iterable[Application], *, on_sweep: Callable[["Hub"], object] | None = None
    ) -> None:
        self.stats = HubStats()
        self.broker = get_broker()
        self.connections: Counter[str] = Counter()
        self.is_draining = False
        self.is_closing = False
        self.on_restart: Callable[[], object] | None = None
        # One object for all connections, without a reference to a session.
        self.on_error: Callable[[PusherError], object] = self._count_error
        self._on_sweep = on_sweep
        self._loop = asyncio.get_running_loop()
        self._apps = {app.id: app for app in apps}
        self._topics = Topics(self.broker, self.start, self.spawn)
        self._topics_by_name: Mapping[str, Topic] = self._topics.by_name
        self.users = Users(self._topics, self.broker.presence, self.spawn)
        self._sessions: set[Client] = set()
        self._elsewhere: Mapping[str, int] = {}  # As `connections`, of other processes.
        self._bus_answered = True  # To the last heartbeat.
        self._notifier = Notifier(self._apps.values())
        self._counts = SubscriptionCounts(
            self.broker, self._apps, self._notifier, self._topics.count_live, self.spawn
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._started: asyncio.Task[None] | None = None
        self._background: list[asyncio.Task[None]] = []  # Run until the hub stops.
        self._upkeep: asyncio.Task[None] | None = None

    @property
    def session_count(self) -> int:
        """How many sockets are open, subscribed or not."""
        return len(self._sessions)

    @property
    def topics(self) -> Mapping[str, int]:
        """How many sockets are in, or are joining, each topic."""
        return self._topics.count_sockets()

    @property
    def has_bus(self) -> bool:
        """Whether the bus is connected, and has answered the last heartbeat."""
        return self.broker.is_up and self._bus_answered

    @property
    def webhooks(self) -> Sequence[Endpoint]:
        return self._notifier.webhooks

    # Start and end

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
            self._started = self._loop.create_task(self.broker.connect(self))
            if not self._background:
                for work in (self._sweep(), self._join_controls()):
                    task = self._loop.create_task(work)
                    task.add_done_callback(self._finished)
                    self._background.append(task)
        return self._started

    async def drain(self, seconds: float) -> None:
        """
        Close all connections with 4200, evenly over `seconds`, and those that still come.

        pusher-js connects again at once, so this is what prevents a stampede on the
        other processes.
        """
        self.is_draining = self.is_closing = True
        waiting = list(self._sessions)
        begin = self._loop.time()
        done = 0
        while done < len(waiting):
            elapsed = self._loop.time() - begin
            due = len(waiting) if elapsed >= seconds else int(len(waiting) * elapsed / seconds) + 1
            for session in waiting[done:due]:
                session.close(Reconnect("Server is going away"))
            done = due
            if done < len(waiting):
                await asyncio.sleep(min(DRAIN_STEP, seconds))

    async def stop(self) -> None:
        """Close all connections, and the broker."""
        await self.drain(0)
        # Leaving the last topics was spawned just now; the bus is closed after it.
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            # Tasks that have ended are discarded by a callback, which `gather` may precede.
            await asyncio.sleep(0)
        for task in (*self._background, self._upkeep):
            if task is not None:
                task.cancel()
        await self._notifier.close()
        await close_broker()
        end_serving()

    # Clients

    def add(self, session: Client) -> None:
        """Count an open socket in."""
        self._sessions.add(session)
        self.stats.opened += 1
        if session.app is not None:
            self.connections[session.app.id] += 1
            self._notifier.opened(session.app.id, session.socket_id)
        self.begin()

    def remove(self, session: Client) -> None:
        """Forget a socket. One that was never added is fine."""
        if session not in self._sessions:
            return
        self._sessions.discard(session)
        self.stats.closed[session.close_code] += 1
        if session.app is not None:
            self.connections[session.app.id] -= 1
            self._notifier.closed(session.app.id, session.socket_id, session.close_code)
            self.users.remove(session)

    def is_full(self, app: Application) -> bool:
        """Return whether `app` has as many sockets as it may, here and elsewhere."""
        if app.max_connections is None:
            return False
        total = self.connections[app.id] + self._elsewhere.get(app.id, 0)
        return total >= app.max_connections

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as a task that is kept, and whose failure is logged."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    # Messages

    def deliver(self, message: Message) -> int:
        """Send `message` to the sockets that listen; return how many are live (`Listener`)."""
        topic = self._topics_by_name.get(message.topic)
        return 0 if topic is None else self._fan_out(topic, message)

    def _fan_out(self, topic: Topic, message: Message) -> int:
        if topic.on_command is not None:
            topic.on_command(message)
            return 0
        try:
            frame = Frame.of(message)
        except UnicodeEncodeError:
            logger.error("Dropped a message of %s: it holds a lone surrogate", message.topic)
            return 0
        excluded = topic.live.get(message.socket_id or "")
        for subscription in topic.live.values():
            if subscription is not excluded:
                subscription.socket.send(frame)
        for subscription in topic.buffering.values():
            if subscription.socket_id != message.socket_id:
                subscription.keep(message, frame, self.MAX_BUFFERED)
        count = len(topic.live) - (excluded is not None)
        self.stats.delivered += count
        self.stats.delivered_bytes += count * frame.size
        return count

    def changed(self, change: PresenceChange) -> None:
        """Notify webhooks and receivers of signals (`Listener`)."""
        self._notifier.changed(change)

    def recount(self, topic: str) -> None:
        """Announce the number of subscribers with the next sweep (`Listener`)."""
        self._counts.recount(topic)

    async def publish_client_event(self, message: Message) -> None:
        """Publish a client event. Raise `BroadcastError` if the bus did not take it."""
        await self.broker.publish(message)
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
    ) -> SubscriptionSnapshot | None:
        """
        Subscribe `socket` to the topic `name`, as `member` if it is a presence channel's.

        Return what the caller must send before it awaits anything, or `None` if the
        socket has left the topic meanwhile.

        Raises:
            TooManyMembers: The channel has `max_members` users, and this is another one.
            BroadcastError: The bus did not confirm; the socket is not subscribed.
        """
        subscription = self._topics.enter(name, socket, socket_id)
        members = cached = None
        try:
            await self._topics.join(subscription.topic, subscription)
            if member is not None and subscription.is_buffering:
                subscription.is_member = True
                members = await self.broker.presence.join(
                    name, subscription.entry, member, socket_id=socket_id, limit=max_members
                )
                if members is None:
                    raise TooManyMembers(f"The channel may have {max_members} members")
            if is_cache(split_topic(name)[1]):
                cached = await self.broker.cached(name)
                if cached is None:
                    self._notifier.missed(name)
        except BaseException:
            self._topics.withdraw(subscription)
            self._leave_presence(subscription)
            raise
        if not subscription.is_buffering:  # `unsubscribe` has taken it out.
            self._leave_presence(subscription)
            return None
        frames = subscription.go_live(members, cached)
        self._counts.change(name, is_newcomer=True)
        return SubscriptionSnapshot(
            tuple(frames), None if members is None else members.infos, cached
        )

    def unsubscribe(self, socket_id: str, name: str, *, grace: float = 0) -> None:
        """
        Take a socket out of the topic `name`. It receives no more messages of it.

        With `grace`, others hear that the member has left after so many seconds, and
        not at all if the user comes back meanwhile.
        """
        subscription = self._topics.take_out(name, socket_id)
        if subscription is not None:
            self._leave_presence(subscription, grace)
            self._counts.change(name)

    def _leave_presence(self, subscription: Subscription, grace: float = 0) -> None:
        if subscription.is_member:
            subscription.is_member = False
            name, entry = subscription.topic.name, subscription.entry
            self.spawn(self.broker.presence.leave(name, entry, grace=grace))

    # Commands of other server processes

    async def _join_controls(self) -> None:
        """Join the topics on which commands come, however long that takes."""
        waiting = [
            self._topics.add_control(topic_of(app_id, CONTROL), self._run_command)
            for app_id in self._apps
        ]
        while waiting:
            try:
                await self._topics.join(waiting[-1])
                waiting.pop()
            except BroadcastError as exc:
                logger.debug("Cannot listen to %s yet: %s", waiting[-1].name, exc)
                await asyncio.sleep(SWEEP_EVERY)

    def _run_command(self, message: Message) -> None:
        """Do what another process asks for; log what is not understood."""
        try:
            subject = decode(message.data)
        except ValueError:
            subject = None
        if message.event == TERMINATE and isinstance(subject, str):
            for client in self.users.clients_of(message.app_id, subject):
                client.close(UserTerminated("Connection terminated by the application"))
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
            if self._upkeep is None or self._upkeep.done():
                self._upkeep = self._loop.create_task(
                    self.keep_up(with_heartbeat=sweeps % HEARTBEAT_EVERY == 0)
                )
                self._upkeep.add_done_callback(self._finished)
            sweeps += 1

    def _tick(self, sessions: Sequence[Client], now: float) -> None:
        for session in sessions:
            try:
                session.tick(now)
            except Exception:  # One session must not end the sweep of all.
                logger.exception("A socket could not be ticked")

    async def keep_up(self, *, with_heartbeat: bool = False) -> None:
        """Do what presence and counts need once a second. The sweep calls it."""
        try:
            if with_heartbeat:
                await self._send_heartbeat()
            await self.broker.presence.expire()
            await self._counts.announce_late()
        except BroadcastError as exc:
            # The broker logs that its bus is away, and when it is back.
            logger.debug("Presence could not be kept up: %s", exc)

    async def _send_heartbeat(self) -> None:
        """Report this process as alive, and read how many connections the others have."""
        own = dict(self.connections)
        begin = time.monotonic()  # uvloop's own clock counts whole milliseconds.
        try:
            everywhere = await self.broker.presence.heartbeat(own)
        except BroadcastError:
            self._bus_answered = False
            raise
        self._bus_answered = True
        self.stats.bus_lag = time.monotonic() - begin
        self._elsewhere = {
            app_id: number - own.get(app_id, 0) for app_id, number in everywhere.items()
        }

    def _count_error(self, error: PusherError) -> None:
        self.stats.errors[type(error).__name__] += 1

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("A task of the hub failed", exc_info=task.exception())
