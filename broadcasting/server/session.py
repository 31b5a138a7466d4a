"""
One socket at work: carries out, against the hub, what its `Connection` decides.

Theory of operation
-------------------

An adapter makes a `Session` for each socket that it accepts, passes on what it hears
with `open`, `receive` and `closed`, and gives the session a `Socket` to send through.

The end of a connection has one verb for each side, here and in `Connection`, the hub
and the adapters:

refuse
    Say no to one thing: a subscription, a client event, a sign-in. The client is sent
    an error, and the connection goes on.
close
    End the connection from here, with a code. The hub calls `Session.close` (a drain, a
    terminated user), and so do adapters (a frame that is too large, a slow reader). The
    `Connection` sets the code and accepts nothing from then on, and the `Socket` sends
    what waits, and the code. Also a client that may not stay is closed.
closed
    The connection has ended, from whichever side. The adapter calls `Session.closed`
    when its socket is gone: that leaves the channels and tells the hub. It may be called
    any number of times, and after `close`.
"""

import asyncio
import logging
from collections.abc import Callable

from ..applications import Application
from ..exceptions import BroadcastError
from ..protocol.actions import Action, ClientEvent, SignIn, Subscribe, Unsubscribe
from ..protocol.connection import Connection
from ..protocol.errors import (
    ClientEventRejected,
    ClosingError,
    OverCapacity,
    PusherError,
    Reconnect,
)
from ..protocol.members import User
from ..protocol.messages import Frame, Message, topic_of, watchlist_events
from ..protocol.names import watch_channel
from .hub import Hub
from .topics import Socket

logger = logging.getLogger("broadcasting.server")


class Session:
    """
    The pair of a `Connection` and its `Socket`.

    Args:
        app: The connection's application, `None` where the client named none.
        clock: Returns the loop's time in seconds.
    """

    __slots__ = ("__weakref__", "_clock", "_closed", "_hub", "app", "connection", "socket")

    def __init__(
        self,
        hub: Hub,
        app: Application | None,
        connection: Connection,
        socket: Socket,
        clock: Callable[[], float],
    ) -> None:
        self.app = app
        self.connection = connection
        self.socket = socket
        self._hub = hub
        self._clock = clock
        self._closed = False

    @property
    def socket_id(self) -> str:
        """The connection's socket id."""
        return self.connection.socket_id

    @property
    def user_id(self) -> str | None:
        """The id of the user who has signed in."""
        return None if self.connection.user is None else self.connection.user.id

    @property
    def close_code(self) -> int | None:
        """The code with which the server closes, `None` if it does not."""
        return self.connection.close_code

    def open(self, origin: str | None, *, is_secure: bool = True) -> None:
        """Greet the client, whose page is on `origin`, or close its connection."""
        self.connection.on_error = self._hub.on_error
        is_full = self.app is not None and self._hub.is_full(self.app)
        self.connection.open(origin, self._clock(), is_secure=is_secure, is_full=is_full)
        if self._hub.is_closing:
            self.connection.close(Reconnect("Server is going away"))
        if self.connection.close_code is None:
            self._hub.add(self)
        self._flush()

    def receive(self, text: str) -> None:
        """Take a text frame from the client."""
        if self._closed:
            return
        actions = self.connection.receive(text, self._clock())
        self._flush()
        for action in actions:
            self._run(action)

    def note_activity(self) -> None:
        """Take a frame without a message, such as a ping of WebSocket's own."""
        self.connection.note_activity(self._clock())

    def tick(self, now: float) -> None:
        """Do what is due at time `now`: ping the client, or close."""
        self.socket.tick(now)
        self.connection.tick(now)
        self._flush()

    def close(self, error: ClosingError) -> None:
        """End the connection with the code of `error`."""
        self.connection.close(error)
        self._flush()
        self.closed()

    def close_slow_reader(self) -> None:
        """End, in a moment, the connection of a client that does not read."""
        self._hub.stats.slow_readers += 1
        logger.info("Closing a slow reader, socket %s", self.socket_id)
        # Not now: `send` calls this, and the hub may be in the midst of a topic.
        error = OverCapacity("Too slow a reader")
        asyncio.get_running_loop().call_soon(self.close, error)

    def closed(self) -> None:
        """Forget the client: its connection has ended. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._hub.remove(self)
        if self.app is None:
            return
        # A member whose connection was lost may come back; one who leaves will not.
        grace = self.app.presence_grace
        for channel in self.connection.channels:
            self._hub.unsubscribe(self.socket_id, self._topic(channel), grace=grace)
        if self.app.watchlist and self.connection.user is not None:
            self._hub.users.go_offline(self.socket_id, grace=grace)
            for user_id in self.connection.user.watchlist:
                self._hub.unsubscribe(self.socket_id, self._watch_topic(user_id))

    def _run(self, action: Action) -> None:
        match action:
            case Subscribe():
                self._hub.spawn(self._subscribe(action))
            case Unsubscribe():
                self._hub.unsubscribe(self.socket_id, self._topic(action.channel))
            case ClientEvent():
                self._hub.spawn(self._publish(action))
            case SignIn():
                self._hub.users.add(self)
                if self.app is not None and self.app.watchlist:
                    self._hub.spawn(self._watch(action.user))

    async def _subscribe(self, action: Subscribe) -> None:
        # The client may have left, or gone, before this task had its first turn.
        if self._closed or not self.connection.awaits(action.attempt):
            return
        name = self._topic(action.channel)
        limit = self.app.max_members if self.app else 0
        try:
            snapshot = await self._hub.subscribe(
                self.socket, self.socket_id, name, member=action.member, max_members=limit
            )
        except PusherError as error:
            self.connection.refuse(error, action.attempt)
        except Exception as exc:
            unavailable = self._unavailable(name, exc)
            if self.connection.awaits(action.attempt):
                self.connection.close(unavailable)
        else:
            # No await between the hub's answer and these lines: nothing overtakes them.
            if snapshot is not None:
                self.connection.subscribed(action.attempt, snapshot)
        if not self._closed:
            self._flush()

    async def _publish(self, action: ClientEvent) -> None:
        topic = self._topic(action.channel)
        message = Message(topic, action.event, action.data, self.socket_id, action.user_id)
        try:
            await self._hub.publish_client_event(message)
        except BroadcastError as exc:
            logger.warning("Cannot publish a client event on %s: %s", topic, exc)
            error = ClientEventRejected("The event could not be relayed, try again")
            self.connection.refuse(error)
            if not self._closed:
                self._flush()

    async def _watch(self, user: User) -> None:
        if self._closed:
            return
        users = self._hub.users
        names = {user_id: self._watch_topic(user_id) for user_id in user.watchlist}
        try:
            own = self._watch_topic(user.id)
            if not await users.come_online(self.socket_id, own, user.id) or not names:
                return
            watched = await users.watch(self.socket, self.socket_id, [*names.values()])
        except Exception as exc:
            self.connection.close(self._unavailable("a watchlist", exc))
        else:
            if watched is not None:
                present, frames = watched
                online = [user_id for user_id, name in names.items() if name in present]
                offline = [user_id for user_id, name in names.items() if name not in present]
                for frame in (watchlist_events(online, offline), *frames):
                    self._send(frame)
        if not self._closed:
            self._flush()

    def _unavailable(self, name: str, exc: Exception) -> OverCapacity:
        # The client cannot mend this, but pusher-js comes back after a second and
        # joins all its channels again; a refusal would leave the page deaf.
        is_known = isinstance(exc, BroadcastError)
        level = logging.WARNING if is_known else logging.ERROR
        logger.log(level, "Cannot subscribe to %s: %s", name, exc, exc_info=not is_known)
        return OverCapacity("Subscriptions are unavailable, try again")

    def _watch_topic(self, user_id: str) -> str:
        return self._topic(watch_channel(user_id))

    def _topic(self, channel: str) -> str:
        return topic_of(self.app.id if self.app else "", channel)

    def _flush(self) -> None:
        for frame in self.connection.frames_to_send():
            self._send(frame)
        if self.connection.close_code is not None:
            self.socket.close(self.connection.close_code, self.connection.close_reason)

    def _send(self, frame: Frame) -> None:
        self.socket.send(frame)
