"""
One socket at work: carries out, against the hub, what its `Connection` decides.

An adapter makes a `Session` for each socket it accepts, passes on what it hears with
`open`, `receive` and `closed`, and gives the session a `Socket` to speak through.
"""

import asyncio
import logging
from collections.abc import Callable

from ..applications import Application
from ..exceptions import BroadcastError
from ..protocol.actions import Action, ClientEvent, SignIn, Subscribe, Unsubscribe
from ..protocol.connection import Connection
from ..protocol.errors import ClientEventRejected, OverCapacity, PusherError, Reconnect
from ..protocol.members import User
from ..protocol.messages import Frame, Message, topic_of, watchlist_events
from ..protocol.names import watch_channel
from .hub import Hub, Socket

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
        """Greet or refuse the client, whose page is on `origin`."""
        self.connection.on_error = self._hub.on_error
        is_full = self.app is not None and self._hub.is_full(self.app)
        self.connection.open(origin, self._clock(), is_secure=is_secure, is_full=is_full)
        if self._hub.is_closing:
            self.connection.fail(Reconnect("Server is going away"))
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

    def noticed(self) -> None:
        """Take a frame that says nothing, and is a sign of life all the same."""
        self.connection.noticed(self._clock())

    def tick(self, now: float) -> None:
        """Let connection and socket notice the time."""
        self.socket.tick(now)
        self.connection.tick(now)
        self._flush()

    def dismiss(self, error: PusherError) -> None:
        """End the connection with `error` and forget the client."""
        self.connection.fail(error)
        self._flush()
        self.closed()

    def give_up(self) -> None:
        """End, in a moment, the connection of a client that does not read."""
        self._hub.stats.slow_readers += 1
        logger.info("Closing a slow reader, socket %s", self.socket_id)
        # Not now: this is called by `send`, and the hub may be in the midst of a topic.
        error = OverCapacity("Too slow a reader")
        asyncio.get_running_loop().call_soon(self.dismiss, error)

    def closed(self) -> None:
        """Forget the client. Calling it again does nothing."""
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
            self._hub.go_offline(self.socket_id, grace=grace)
            for user_id in self.connection.user.watchlist:
                self._hub.unsubscribe(self.socket_id, self._watch_topic(user_id))

    def _run(self, action: Action) -> None:
        match action:
            case Subscribe():
                self._hub.spawn(self._subscribe(action))
            case Unsubscribe():
                self._hub.unsubscribe(self.socket_id, self._topic(action.channel))
            case ClientEvent():
                self._hub.spawn(self._whisper(action))
            case SignIn():
                self._hub.signed_in(self)
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
            self.connection.refused(action.attempt, error)
        except Exception as exc:
            self.connection.refused(action.attempt, self._unavailable(name, exc))
        else:
            # No await between the hub's answer and these lines: nothing overtakes them.
            if snapshot is not None:
                self.connection.subscribed(action.attempt, snapshot)
        if not self._closed:
            self._flush()

    async def _whisper(self, action: ClientEvent) -> None:
        topic = self._topic(action.channel)
        message = Message(topic, action.event, action.data, self.socket_id, action.user_id)
        try:
            await self._hub.whisper(message)
        except BroadcastError as exc:
            logger.warning("Cannot relay a client event to %s: %s", topic, exc)
            self.connection.fail(ClientEventRejected("The event could not be relayed, try again"))
            if not self._closed:
                self._flush()

    async def _watch(self, user: User) -> None:
        if self._closed:
            return
        names = [self._watch_topic(user_id) for user_id in user.watchlist]
        try:
            own = self._watch_topic(user.id)
            if not await self._hub.come_online(self.socket_id, own, user.id) or not names:
                return
            watch = await self._hub.watch(self.socket, self.socket_id, names)
        except Exception as exc:
            self.connection.fail(self._unavailable("a watchlist", exc))
        else:
            if watch is not None:
                there = {u: self._watch_topic(u) in watch.online for u in user.watchlist}
                online = [user_id for user_id, is_there in there.items() if is_there]
                offline = [user_id for user_id, is_there in there.items() if not is_there]
                for frame in (watchlist_events(online, offline), *watch.frames):
                    self._send(frame)
        if not self._closed:
            self._flush()

    def _watch_topic(self, user_id: str) -> str:
        return self._topic(watch_channel(user_id))

    def _unavailable(self, name: str, exc: Exception) -> OverCapacity:
        # The client cannot mend this, but pusher-js comes back after a second and
        # joins all its channels again; a refusal would leave the page deaf.
        is_known = isinstance(exc, BroadcastError)
        level = logging.WARNING if is_known else logging.ERROR
        logger.log(level, "Cannot subscribe to %s: %s", name, exc, exc_info=not is_known)
        return OverCapacity("Subscriptions are unavailable, try again")

    def _topic(self, channel: str) -> str:
        return topic_of(self.app.id if self.app else "", channel)

    def _flush(self) -> None:
        for frame in self.connection.frames_to_send():
            self._send(frame)
        if self.connection.close_code is not None:
            self.socket.close(self.connection.close_code, self.connection.close_reason)

    def _send(self, frame: Frame) -> None:
        self.socket.send(frame)
