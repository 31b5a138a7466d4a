"""
One client's side of the protocol, as a state machine without I/O.

Theory of operation
-------------------

A `Connection` is fed the text of frames (`receive`), the passing of time (`tick`)
and the outcome of the work it asked for (`subscribed`, `refused`). It answers in
three ways: actions for the hub, returned from `receive`; frames for the client,
fetched with `frames_to_send`; and `close_code`, which, once set, ends everything.

::

    new --open()--> open --------ClosingError-------> closed
      |                                                   ^
      +--open() refuses-----------------------------------+

A channel is absent, *joining* (a `Subscribe` was returned and not yet answered) or
*joined*. Each joining carries a number, its attempt. A client may leave and join
again while the first attempt is still under way; an answer whose attempt is no
longer the channel's current one changes nothing.

Rules of this file: no method raises on client input, `PusherError` is turned into
frames in one place (`_fail`), and after `close_code` is set nothing is accepted.
"""

from typing import Protocol

from . import messages
from .actions import Action, Subscribe, Unsubscribe
from .errors import (
    ClosingError,
    ForbiddenOrigin,
    FrameTooLarge,
    InvalidFrame,
    InvalidVersion,
    PongTimeout,
    PusherError,
    TooManyChannels,
    Unauthorized,
    UnknownApplication,
    UnsupportedVersion,
)
from .messages import PING, PONG, Frame, Snapshot
from .names import is_channel_name, is_guarded

PONG_TIMEOUT = 30  # Seconds, as pusher-js waits for its own.
VERSIONS = range(4, 8)
# Before this version, an error that closes is also sent as an event.
FIRST_VERSION_WITH_CLOSE_CODES = 6


class Policy(Protocol):
    """What a connection asks about its application."""

    @property
    def activity_timeout(self) -> int: ...
    @property
    def max_channels(self) -> int: ...
    @property
    def max_frame_size(self) -> int: ...
    def accepts_origin(self, origin: str | None) -> bool: ...


class Connection:
    """
    The protocol state of one socket.

    Args:
        policy: The application that the client named, `None` if there is none.
        socket_id: Unique and unguessable, ``digits.digits``.
        version: The ``protocol`` parameter of the address as it came; `None` is 7.
    """

    def __init__(self, policy: Policy | None, socket_id: str, version: str | None = None) -> None:
        self.socket_id = socket_id
        self.close_code: int | None = None
        self.close_reason = ""
        # How many pongs came: adapters that must know what a client has read count on it.
        self.pongs = 0

        self._policy = policy
        self._version = version
        self._frames: list[Frame] = []
        self._attempts = 0
        self._joining: dict[str, int] = {}  # channel -> attempt
        self._joined: set[str] = set()
        self._last_activity = 0.0
        self._pinged_at: float | None = None

    @property
    def channels(self) -> list[str]:
        """The channels that the client is in or is joining."""
        return [*self._joined, *self._joining]

    def open(self, origin: str | None, now: float) -> None:
        """Admit the client and greet it, or refuse it with a close code."""
        self._last_activity = now
        try:
            policy = self._admit(origin)
        except PusherError as error:
            self._fail(error)
        else:
            self._frames.append(
                messages.connection_established(self.socket_id, policy.activity_timeout)
            )

    def receive(self, text: str, now: float) -> list[Action]:
        """
        Take one text frame at time `now` (seconds, any origin that never goes back).

        Return the work to be done for it. Nothing the client sends raises.
        """
        if self.close_code is not None or self._policy is None:
            return []
        self._last_activity = now
        self._pinged_at = None
        try:
            return self._handle(text, self._policy)
        except PusherError as error:
            self._fail(error)
            return []

    def awaits(self, attempt: int) -> bool:
        """Tell whether the answer to `attempt` still matters."""
        return self.close_code is None and attempt in self._joining.values()

    def subscribed(self, attempt: int, snapshot: Snapshot) -> bool:
        """
        Confirm the subscription that `attempt` asked for.

        Return `False`, having done nothing, when the client has left it since or the
        connection has closed.
        """
        channel = self._finish(attempt)
        if channel is None:
            return False
        self._joined.add(channel)
        self._frames.append(messages.subscription_succeeded(channel))
        self._frames.extend(snapshot.frames)
        return True

    def refused(self, attempt: int, error: PusherError) -> None:
        """Report that the subscription of `attempt` failed, if it still matters."""
        channel = self._finish(attempt)
        if channel is not None:
            self._refuse(channel, error)

    def fail(self, error: PusherError) -> None:
        """Tell the client of an `error` found outside this machine; close if it closes."""
        if self.close_code is None:
            self._fail(error)

    def tick(self, now: float) -> None:
        """Ping a client that was silent too long, or give it up (pusher-protocol, "Ping")."""
        if self.close_code is not None or self._policy is None:
            return
        if self._pinged_at is not None:
            # From the ping on: a process that was held up has pinged late.
            if now - self._pinged_at >= PONG_TIMEOUT:
                self._fail(PongTimeout("Pong reply not received"))
        elif now - self._last_activity >= self._policy.activity_timeout:
            self._pinged_at = now
            self._frames.append(PING)

    def frames_to_send(self) -> list[Frame]:
        """Return the frames that wait for the client, once."""
        frames, self._frames = self._frames, []
        return frames

    # Private parts

    def _admit(self, origin: str | None) -> Policy:
        if self._policy is None:
            raise UnknownApplication("Application does not exist")
        if self._version is not None:
            if not (self._version.isascii() and self._version.isdigit()):
                raise InvalidVersion("The protocol parameter is not a number")
            if len(self._version) > 3 or int(self._version) not in VERSIONS:
                raise UnsupportedVersion("Supported protocol versions are 4 to 7")
        if not self._policy.accepts_origin(origin):
            raise ForbiddenOrigin("Origin not allowed")
        return self._policy

    def _handle(self, text: str, policy: Policy) -> list[Action]:
        # len() counts characters, at most four bytes each: the exact size is worth
        # computing only for a frame that may be over the limit.
        if len(text) * 4 > policy.max_frame_size and (
            len(text.encode(errors="surrogatepass")) > policy.max_frame_size
        ):
            raise FrameTooLarge(f"A frame may have {policy.max_frame_size} bytes")
        frame = _decode_object(text)
        event = frame.get("event")
        if not isinstance(event, str):
            raise InvalidFrame("Received a frame without an event name")
        match event:
            case "pusher:ping":
                self._frames.append(PONG)
                return []
            case "pusher:pong":
                self.pongs += 1
                return []
            case "pusher:subscribe":
                return self._subscribe(_channel_in(frame), policy)
            case "pusher:unsubscribe":
                return self._unsubscribe(_channel_in(frame))
        raise InvalidFrame(f"Unsupported event received on socket: '{event[:200]}'")

    def _subscribe(self, channel: str, policy: Policy) -> list[Action]:
        if channel in self._joined or channel in self._joining:
            raise InvalidFrame(f"Existing subscription to channel {channel}")
        try:
            if is_guarded(channel):
                raise Unauthorized("This server does not admit to private or presence channels")
            if len(self._joined) + len(self._joining) >= policy.max_channels:
                raise TooManyChannels(f"A connection may have {policy.max_channels} channels")
        except PusherError as error:
            self._refuse(channel, error)
            return []
        self._attempts += 1
        self._joining[channel] = self._attempts
        return [Subscribe(self._attempts, channel)]

    def _unsubscribe(self, channel: str) -> list[Action]:
        if channel in self._joined:
            self._joined.remove(channel)
        elif channel in self._joining:
            del self._joining[channel]
        else:
            raise InvalidFrame(f"No current subscription to channel {channel}")
        return [Unsubscribe(channel)]

    def _finish(self, attempt: int) -> str | None:
        """Take `attempt` out of the joining ones; return its channel, `None` if stale."""
        if self.close_code is not None:
            return None
        for channel, current in self._joining.items():
            if current == attempt:
                del self._joining[channel]
                return channel
        return None

    def _refuse(self, channel: str, error: PusherError) -> None:
        # Two frames, because a `pusher:error` names no channel and some SDKs know
        # nothing else. An error that closes is told by its code alone.
        if not isinstance(error, ClosingError):
            kind, status = _SUBSCRIPTION_ERRORS.get(type(error), ("ServerError", 500))
            self._frames.append(messages.subscription_error(channel, kind, error.message, status))
        self._fail(error)

    def _fail(self, error: PusherError) -> None:
        version = self._version or ""
        old = version.isdigit() and version.isascii() and len(version) <= 3
        closes = isinstance(error, ClosingError)
        if not closes or (old and int(version) < FIRST_VERSION_WITH_CLOSE_CODES):
            self._frames.append(messages.error(error))
        if closes:
            self.close_code = error.code
            self.close_reason = error.message


_SUBSCRIPTION_ERRORS = {Unauthorized: ("AuthError", 401), TooManyChannels: ("LimitReached", 4301)}


def _decode_object(text: str) -> dict[str, object]:
    try:
        value = messages.decode(text)
    except ValueError:
        raise InvalidFrame("Received invalid JSON") from None
    if not isinstance(value, dict):
        raise InvalidFrame("Received JSON that is not an object")
    return value


def _channel_in(frame: dict[str, object]) -> str:
    """Return the channel in `frame`'s data, which some SDKs send as JSON text."""
    data = frame.get("data")
    if isinstance(data, str):
        data = _decode_object(data)
    if not isinstance(data, dict):
        raise InvalidFrame("Received a frame whose data is not an object")
    channel = data.get("channel")
    if not is_channel_name(channel):
        raise InvalidFrame("Received a frame without a valid channel name")
    return channel
