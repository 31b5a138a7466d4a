"""
One client's side of the protocol, as a state machine without I/O.

Theory of operation
-------------------

A `Connection` takes the text of frames (`receive`), the time (`tick`) and the outcome
of the work that it asked for (`subscribed`, `refuse`). It answers in three ways:
actions for the hub, returned by `receive`; frames for the client, which
`frames_to_send` returns; and `close_code`, which, once set, is the end. To *refuse* is
to say no to one thing, and the connection goes on; to *close* is to end it.

A channel is absent, *joining* (a `Subscribe` was returned and not yet answered) or
*joined*. Each joining has a number, its attempt. A client may leave and join again
while the first attempt is under way; an answer whose attempt is not the channel's
current one changes nothing.

A client may sign in, once, as a user for whom the application has signed. What it may
join and send depends only on signatures and on its application, its `Policy`.

Rules of this file: no method raises on client input; a `PusherError` becomes a frame or
the close code in one method, `_answer`; and after `close_code` is set nothing is
accepted.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from . import errors, messages
from .actions import Action, ClientEvent, SignIn, Subscribe, Unsubscribe
from .errors import ClosingError, InvalidFrame, PusherError, Unauthorized
from .limits import TokenBucket
from .members import MAX_MEMBER_ID_LENGTH, Member, User, parse_member, parse_user
from .messages import PING, PONG, Frame, SubscriptionSnapshot
from .names import (
    MAX_EVENT_LENGTH,
    is_cache,
    is_channel_name,
    is_client_event,
    is_encrypted,
    is_guarded,
    is_presence,
    is_reserved,
    is_utf8,
    user_channel,
)
from .signatures import Credentials, check_channel, check_user

PONG_TIMEOUT = 30  # Seconds, as pusher-js waits for its own.
VERSIONS = range(4, 8)
# Before this version, an error that closes is also sent as an event.
FIRST_VERSION_WITH_CLOSE_CODES = 6


class Policy(Credentials, Protocol):
    """What a connection asks about its application. `Application` documents each value."""

    @property
    def enabled(self) -> bool: ...
    @property
    def force_tls(self) -> bool: ...
    @property
    def activity_timeout(self) -> int: ...
    @property
    def authorization_timeout(self) -> int | None: ...
    @property
    def client_events(self) -> bool: ...
    @property
    def watchlist(self) -> bool: ...
    @property
    def max_channels(self) -> int: ...
    @property
    def max_channel_name_length(self) -> int: ...
    @property
    def max_subscription_rate(self) -> int: ...
    @property
    def max_client_event_rate(self) -> int: ...
    @property
    def max_frame_size(self) -> int: ...
    @property
    def max_event_size(self) -> int: ...
    @property
    def max_user_info_size(self) -> int: ...
    def accepts_origin(self, origin: str | None) -> bool: ...


class Connection:
    """
    The protocol state of one socket.

    Args:
        policy: The application that the client named, `None` if there is none.
        socket_id: Unique and unguessable, ``digits.digits``.
        version: The ``protocol`` parameter of the address as it came; `None` is 7.
    """

    __slots__ = (
        "__weakref__",
        "_attempts",
        "_client_events",
        "_frames",
        "_joined",
        "_joining",
        "_last_activity",
        "_opened",
        "_pinged_at",
        "_policy",
        "_subscriptions",
        "_version",
        "close_code",
        "close_reason",
        "on_error",
        "pongs",
        "socket_id",
        "user",
    )

    def __init__(self, policy: Policy | None, socket_id: str, version: str | None = None) -> None:
        self.socket_id = socket_id
        self.close_code: int | None = None
        self.close_reason = ""
        # How many pongs came, for adapters that must know what a client has read.
        self.pongs = 0
        # Who has signed in.
        self.user: User | None = None
        # Called with each error that the client is sent.
        self.on_error: Callable[[PusherError], object] | None = None

        self._policy = policy
        self._version = version
        self._frames: list[Frame] = []
        self._attempts = 0
        self._joining: dict[str, Subscribe] = {}
        self._joined: dict[str, Member | None] = {}
        self._opened = 0.0
        self._last_activity = 0.0
        self._pinged_at: float | None = None
        # Made when the first is needed: most sockets send no client event.
        self._subscriptions: TokenBucket | None = None
        self._client_events: TokenBucket | None = None

    @property
    def channels(self) -> list[str]:
        """The channels that the client is in or is joining."""
        return [*self._joined, *self._joining]

    def open(
        self, origin: str | None, now: float, *, is_secure: bool = True, is_full: bool = False
    ) -> None:
        """
        Greet the client, or close the connection.

        Args:
            origin: The page's origin, `None` if the client sent none.
            now: As of `receive`.
            is_secure: Whether the client's connection is encrypted.
            is_full: Whether the application has as many sockets as it may.
        """
        self._opened = self._last_activity = now
        try:
            policy = self._check_client(origin, is_secure, is_full)
        except PusherError as error:
            self._answer(error)
        else:
            timeout = policy.activity_timeout
            self._frames.append(messages.connection_established(self.socket_id, timeout))

    def receive(self, text: str, now: float) -> list[Action]:
        """
        Take one text frame at time `now` (seconds, any origin that never goes back).

        Return the work to be done for it. Nothing the client sends raises.
        """
        if self.close_code is not None or self._policy is None:
            return []
        self.note_activity(now)
        try:
            return self._handle(text, self._policy)
        except PusherError as error:
            self._answer(error)
            return []

    def note_activity(self, now: float) -> None:
        """Note a sign of life that is no message, such as a ping of WebSocket's own."""
        self._last_activity = now
        self._pinged_at = None

    def awaits(self, attempt: int) -> bool:
        """Return whether the answer to `attempt` still matters."""
        return self.close_code is None and any(
            joining.attempt == attempt for joining in self._joining.values()
        )

    def subscribed(self, attempt: int, snapshot: SubscriptionSnapshot) -> bool:
        """
        Confirm the subscription that `attempt` asked for.

        It does nothing and returns `False` if the client has left the channel since, or
        the connection was closed.
        """
        joining = self._finish(attempt)
        if joining is None:
            return False
        channel = joining.channel
        self._joined[channel] = joining.member
        self._frames.append(messages.subscription_succeeded(channel, snapshot.members))
        if snapshot.cached is not None:
            self._frames.append(messages.cached_event(channel, snapshot.cached))
        elif is_cache(channel):
            self._frames.append(messages.cache_miss(channel))
        self._frames.extend(snapshot.frames)
        return True

    def refuse(self, error: PusherError, attempt: int | None = None) -> None:
        """
        Refuse what the client asked for: the subscription of `attempt`, if one is given.

        It does nothing for a subscription whose answer does not matter any more.
        """
        if attempt is None:
            if self.close_code is None:
                self._answer(error)
        elif (joining := self._finish(attempt)) is not None:
            self._refuse_channel(joining.channel, error)

    def close(self, error: ClosingError) -> None:
        """End the connection with the code of `error`, unless that was done."""
        if self.close_code is None:
            self._answer(error)

    def tick(self, now: float) -> None:
        """Ping a client that was silent too long, or close (Pusher, "Ping and pong messages")."""
        if self.close_code is not None or self._policy is None:
            return
        try:
            self._check_time(now, self._policy)
        except PusherError as error:
            self._answer(error)

    def frames_to_send(self) -> list[Frame]:
        """Return the frames that wait for the client, and forget them."""
        frames, self._frames = self._frames, []
        return frames

    # Opening and ageing

    def _check_client(self, origin: str | None, is_secure: bool, is_full: bool) -> Policy:
        policy = self._policy
        if policy is None:
            raise errors.UnknownApplication("Application does not exist")
        if not policy.enabled:
            raise errors.ApplicationDisabled("Application disabled")
        if self._version is not None:
            if not (self._version.isascii() and self._version.isdigit()):
                raise errors.InvalidVersion("The protocol parameter is not a number")
            if len(self._version) > 3 or int(self._version) not in VERSIONS:
                raise errors.UnsupportedVersion("Supported protocol versions are 4 to 7")
        if policy.force_tls and not is_secure:
            raise errors.InsecureTransport("Application only accepts TLS connections")
        if not policy.accepts_origin(origin):
            raise errors.ForbiddenOrigin("Origin not allowed")
        if is_full:
            raise errors.OverQuota("Application is over its connection quota")
        return policy

    def _check_time(self, now: float, policy: Policy) -> None:
        limit = policy.authorization_timeout
        if limit is not None and now - self._opened >= limit and not self._is_authorized:
            raise errors.NeverAuthorized("Connection not authorized within timeout")
        if self._pinged_at is not None:
            # From the ping on: a process that was delayed has pinged late.
            waited = now - self._pinged_at
            if waited >= policy.activity_timeout and not self.channels:
                raise errors.Inactive("Nothing subscribed and nothing said")
            if waited >= PONG_TIMEOUT:
                raise errors.PongTimeout("Pong reply not received")
        elif now - self._last_activity >= policy.activity_timeout:
            self._pinged_at = now
            self._frames.append(PING)

    @property
    def _is_authorized(self) -> bool:
        return self.user is not None or any(is_guarded(channel) for channel in self._joined)

    # What a client says

    def _handle(self, text: str, policy: Policy) -> list[Action]:
        # len() counts characters, at most four bytes each: the exact size is worth
        # computing only for a frame that may be over the limit.
        if len(text) * 4 > policy.max_frame_size and (
            len(text.encode(errors="surrogatepass")) > policy.max_frame_size
        ):
            raise errors.FrameTooLarge(f"A frame may have {policy.max_frame_size} bytes")
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
                return self._subscribe(_data_of(frame), policy)
            case "pusher:unsubscribe":
                return self._unsubscribe(_text_in(_data_of(frame), "channel"))
            case "pusher:signin":
                return self._sign_in(_data_of(frame), policy)
        if is_client_event(event):
            return self._client_event(event, frame, policy)
        raise InvalidFrame(f"Unsupported event received on socket: '{event[:200]}'")

    def _subscribe(self, data: Mapping[str, object], policy: Policy) -> list[Action]:
        channel = _text_in(data, "channel")
        try:
            self._check_name(channel, policy)
            if channel in self._joined or channel in self._joining:
                # Not a refusal: the subscription that exists goes on.
                raise InvalidFrame(f"Existing subscription to channel {channel}")
            self._check_limits(policy)
            member = self._authorize(channel, data, policy)
        except InvalidFrame:
            raise
        except PusherError as error:
            self._refuse_channel(channel, error)
            return []
        self._attempts += 1
        self._joining[channel] = Subscribe(self._attempts, channel, member)
        return [self._joining[channel]]

    def _check_name(self, channel: str, policy: Policy) -> None:
        if is_reserved(channel):
            # Whoever could join another user's channel would read their messages.
            if self.user is None or channel != user_channel(self.user.id):
                raise Unauthorized(f"Only the user who signed in may join {channel[:200]}")
        elif not is_channel_name(channel) or len(channel) > policy.max_channel_name_length:
            raise errors.InvalidName(
                f"A channel name has 1 to {policy.max_channel_name_length} characters: letters "
                f"and digits of ASCII and _ - = @ , . ;"
            )

    def _check_limits(self, policy: Policy) -> None:
        if len(self._joined) + len(self._joining) >= policy.max_channels:
            raise errors.TooManyChannels(f"A connection may have {policy.max_channels} channels")
        if self._subscriptions is None:
            # A client that comes back asks for all its channels at once.
            rate = policy.max_subscription_rate
            self._subscriptions = TokenBucket(rate, max(rate, policy.max_channels), self._opened)
        if not self._subscriptions.take(self._last_activity):
            raise errors.TooManyChannels("Subscribing too fast")

    def _authorize(self, channel: str, data: Mapping[str, object], policy: Policy) -> Member | None:
        """Return who joins a presence channel. Raise unless the client may join."""
        if not is_guarded(channel):
            return None
        auth, channel_data = data.get("auth"), data.get("channel_data")
        if not isinstance(auth, str) or not (channel_data is None or isinstance(channel_data, str)):
            raise Unauthorized("Invalid format: auth and channel_data must be strings")
        # Verified before it is parsed: then it is what the application wrote.
        check_channel(policy, auth, self.socket_id, channel, channel_data)
        if not is_presence(channel):
            return None
        if channel_data is not None:
            return parse_member(channel_data, policy.max_user_info_size)
        if self.user is None:
            raise Unauthorized("A presence channel needs channel_data, or a signed-in user")
        if len(self.user.id) > MAX_MEMBER_ID_LENGTH:
            raise Unauthorized(f"A member's id may have {MAX_MEMBER_ID_LENGTH} characters")
        return Member(self.user.id, self.user.info)

    def _unsubscribe(self, channel: str) -> list[Action]:
        if channel in self._joined:
            del self._joined[channel]
        elif channel in self._joining:
            del self._joining[channel]
        else:
            name = channel[:200]
            raise InvalidFrame(
                f"No current subscription to channel {name}, or subscription in progress"
            )
        return [Unsubscribe(channel)]

    def _sign_in(self, data: Mapping[str, object], policy: Policy) -> list[Action]:
        auth, user_data = data.get("auth"), data.get("user_data")
        if not isinstance(auth, str) or not isinstance(user_data, str):
            raise Unauthorized("Invalid format: auth and user_data must be strings")
        check_user(policy, auth, self.socket_id, user_data)
        try:
            user = parse_user(user_data, policy.max_user_info_size)
        except errors.UserInfoTooLarge as error:
            raise Unauthorized(error.message) from error
        if self.user is not None and self.user.id != user.id:
            raise Unauthorized("Another user has signed in on this connection")
        self._frames.append(messages.signin_success(user_data))
        if self.user is not None:
            return []
        self.user = user
        if policy.watchlist and user.is_cut:
            self._answer(
                errors.WatchlistTooLong(f"The first {len(user.watchlist)} users are watched")
            )
        return [SignIn(user)]

    def _client_event(
        self, event: str, frame: Mapping[str, object], policy: Policy
    ) -> list[Action]:
        if not policy.client_events:
            where = "CLIENT_EVENTS in the application's settings"
            raise InvalidFrame(f"To send client events, you must enable this feature: {where}")
        channel = _text_in(frame, "channel")
        if not is_guarded(channel):
            raise InvalidFrame(
                "Client event rejected - only supported on private and presence channels"
            )
        if is_encrypted(channel):
            # Its messages are sealed, and no official client seals client events.
            raise InvalidFrame("Client event rejected - not supported on encrypted channels")
        if channel not in self._joined:
            name = channel[:200]
            raise InvalidFrame(
                f"Cannot broadcast client event (connection not subscribed to channel {name})"
            )
        rate = policy.max_client_event_rate
        if self._client_events is None:
            self._client_events = TokenBucket(rate, rate, self._last_activity)
        if not self._client_events.take(self._last_activity):
            raise errors.ClientEventRejected(
                f"The rate limit of {rate} client events per second was exceeded"
            )
        text = _relayed(frame.get("data"))
        if len(event) > MAX_EVENT_LENGTH or not is_utf8(event) or not is_utf8(text):
            raise InvalidFrame("A client event whose name is too long, or that is not UTF-8")
        if len(text.encode()) > policy.max_event_size:
            raise errors.ClientEventRejected(
                f"The data of a client event may have {policy.max_event_size} bytes"
            )
        member = self._joined[channel]
        return [ClientEvent(channel, event, text, member.user_id if member else None)]

    # Answers

    def _finish(self, attempt: int) -> Subscribe | None:
        """Remove and return the joining of `attempt`, `None` if it does not matter any more."""
        if self.close_code is not None:
            return None
        for channel, joining in self._joining.items():
            if joining.attempt == attempt:
                del self._joining[channel]
                return joining
        return None

    def _refuse_channel(self, channel: str, error: PusherError) -> None:
        # Two frames, because a `pusher:error` names no channel and some SDKs know
        # nothing else.
        kind, status = _SUBSCRIPTION_ERRORS.get(type(error), ("ServerError", 500))
        self._frames.append(messages.subscription_error(channel, kind, error.message, status))
        self._answer(error)

    def _answer(self, error: PusherError) -> None:
        """Send `error` as a frame, or set the close code if it closes."""
        if self.on_error is not None:
            self.on_error(error)
        version = self._version or ""
        old = version.isdigit() and version.isascii() and len(version) <= 3
        closes = isinstance(error, ClosingError)
        if not closes or (old and int(version) < FIRST_VERSION_WITH_CLOSE_CODES):
            self._frames.append(messages.error(error))
        if closes:
            self.close_code = error.code
            self.close_reason = error.message


_SUBSCRIPTION_ERRORS = {
    errors.InvalidName: ("InvalidName", 400),
    Unauthorized: ("AuthError", 401),
    errors.TooManyMembers: ("LimitReached", 4100),
    errors.TooManyChannels: ("LimitReached", 4301),
    errors.UserInfoTooLarge: ("LimitReached", 4301),
}


def _decode_object(text: str) -> dict[str, object]:
    try:
        value = messages.decode(text)
    except ValueError:
        raise InvalidFrame("Received invalid JSON") from None
    if not isinstance(value, dict):
        raise InvalidFrame("Received JSON that is not an object")
    return value


def _data_of(frame: Mapping[str, object]) -> Mapping[str, object]:
    """Return the object in `frame`'s data, which some SDKs send as JSON text."""
    data = frame.get("data")
    if isinstance(data, str):
        data = _decode_object(data)
    if not isinstance(data, dict):
        raise InvalidFrame("Received a frame whose data is not an object")
    return data


def _relayed(data: object) -> str:
    """Return the data of a client event as it is relayed: typed SDKs expect text."""
    if isinstance(data, str):
        return data
    try:
        return messages.encode(data)
    except ValueError:  # 1e999 is read as infinity.
        raise InvalidFrame("A client event with a number that JSON cannot express") from None


def _text_in(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidFrame(f"Received a frame without a {name}")
    return value
