"""
One socket at work: carries out, against the hub, what its `Connection` decides.

An adapter makes a `Session` for each socket it accepts, passes on what it hears with
`open`, `receive` and `closed`, and gives the session a `Socket` to speak through.
"""

import logging
from collections.abc import Callable

from ..exceptions import BroadcastError
from ..protocol.actions import Action, Subscribe
from ..protocol.connection import Connection
from ..protocol.errors import OverCapacity, PusherError
from ..protocol.messages import topic
from .hub import Hub, Socket

logger = logging.getLogger("broadcasting.server")


class Session:
    """
    The pair of a `Connection` and its `Socket`.

    Args:
        clock: Returns the loop's time in seconds.
    """

    def __init__(
        self,
        hub: Hub,
        app_id: str,
        connection: Connection,
        socket: Socket,
        clock: Callable[[], float],
    ) -> None:
        self.connection = connection
        self.socket = socket
        self._hub = hub
        self._app_id = app_id
        self._clock = clock
        self._closed = False

    def open(self, origin: str | None) -> None:
        """Greet or refuse the client, whose page is on `origin`."""
        self._hub.add(self)
        self.connection.open(origin, self._clock())
        self._flush()

    def receive(self, text: str) -> None:
        """Take a text frame from the client."""
        if self._closed:
            return
        actions = self.connection.receive(text, self._clock())
        self._flush()
        for action in actions:
            self._run(action)

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

    def closed(self) -> None:
        """Forget the client. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._hub.remove(self)
        for channel in self.connection.channels:
            self._hub.unsubscribe(self.connection.socket_id, topic(self._app_id, channel))

    def _run(self, action: Action) -> None:
        if isinstance(action, Subscribe):
            self._hub.spawn(self._subscribe(action))
        else:
            address = topic(self._app_id, action.channel)
            self._hub.unsubscribe(self.connection.socket_id, address)

    async def _subscribe(self, action: Subscribe) -> None:
        # The client may have left, or gone, before this task had its first turn.
        if self._closed or not self.connection.awaits(action.attempt):
            return
        address = topic(self._app_id, action.channel)
        try:
            snapshot = await self._hub.subscribe(self.socket, self.connection.socket_id, address)
        except Exception as exc:
            # The client cannot mend this, but pusher-js comes back after a second and
            # joins all its channels again; a refusal would leave the page deaf.
            is_known = isinstance(exc, BroadcastError)
            level = logging.WARNING if is_known else logging.ERROR
            logger.log(level, "Cannot subscribe to %s: %s", address, exc, exc_info=not is_known)
            error = OverCapacity("Subscriptions are unavailable, try again")
            self.connection.refused(action.attempt, error)
        else:
            # No await between the hub's answer and these lines: nothing overtakes them.
            if snapshot is not None:
                self.connection.subscribed(action.attempt, snapshot)
        if not self._closed:
            self._flush()

    def _flush(self) -> None:
        for frame in self.connection.frames_to_send():
            self.socket.send(frame)
        if self.connection.close_code is not None:
            self.socket.close(self.connection.close_code, self.connection.close_reason)
