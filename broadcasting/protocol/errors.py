"""
What a client may be refused, and what closes its connection: one class per cause.

A `ClosingError` closes the connection with its code, and pusher-js reacts by the range
of the code: after 4000-4099 it gives up, after 4100-4199 it reconnects after a second,
after 4200-4299 at once (Pusher, "Channels protocol", "Connection closure"). The other
errors are sent as a frame, and the connection goes on.
"""

from typing import ClassVar


class PusherError(Exception):
    """The root of all errors that a client is sent. Raise a subclass."""

    code: ClassVar[int | None] = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ClosingError(PusherError):
    """The root of all errors that close a connection. Its `code` is the close code."""

    code: ClassVar[int]


class InvalidFrame(PusherError):
    """A frame that the protocol does not allow. It changes nothing."""


class FrameTooLarge(ClosingError):
    """
    A frame larger than the application allows.

    RFC 6455 has 1009 for it, which not every server lets an application send.
    """

    code = 4100


class InsecureTransport(ClosingError):
    code = 4000


class UnknownApplication(ClosingError):
    code = 4001


class ApplicationDisabled(ClosingError):
    code = 4003


class OverQuota(ClosingError):
    code = 4004


class PathNotFound(ClosingError):
    code = 4005


class InvalidVersion(ClosingError):
    code = 4006


class UnsupportedVersion(ClosingError):
    code = 4007


class ForbiddenOrigin(ClosingError):
    code = 4009


class UserTerminated(ClosingError):
    """The application has closed all connections of the signed-in user."""

    code = 4009


class NeverAuthorized(ClosingError):
    """The connection was not authorized in the time that the application allows."""

    code = 4009


class Unauthorized(PusherError):
    """An authorization that is missing, forged or not for this socket."""

    code = 4009


class InvalidName(PusherError):
    """A name that no channel can have, or that is reserved."""


class TooManyChannels(PusherError):
    """More subscriptions, or faster ones, than the application allows one connection."""


class TooManyMembers(PusherError):
    """The presence channel is full."""


class UserInfoTooLarge(PusherError):
    """More information on a user than the application allows."""


class ClientEventRejected(PusherError):
    """A client event that this connection may not send, or not so soon."""

    code = 4301


class WatchlistTooLong(PusherError):
    """The user's watchlist is too long. Only its first users are watched."""

    code = 4302


class OverCapacity(ClosingError):
    """The process cannot serve the socket now, because of a slow reader or a lost bus."""

    code = 4100


class Reconnect(ClosingError):
    """The process is going away. The client should connect again at once, to another one."""

    code = 4200


class PongTimeout(ClosingError):
    code = 4201


class Inactive(ClosingError):
    """The client was silent for twice the activity timeout, without any channel."""

    code = 4202
