"""
What can go wrong on a socket, one class per documented code.

A `ClosingError` ends the connection with its code; pusher-js then reacts by the
range: 4000-4099 gives up, 4100-4199 reconnects after a second, 4200-4299 at once
(Pusher, "Channels protocol", "Connection closure"). The others become an error
frame and the connection lives on.
"""

from typing import ClassVar


class PusherError(Exception):
    """The root of what a client is told. Raise a subclass."""

    code: ClassVar[int | None] = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ClosingError(PusherError):
    """The root of what ends a connection. Its `code` is the close code."""

    code: ClassVar[int]


class InvalidFrame(PusherError):
    """A frame that is not what the protocol describes; it changes nothing."""


class FrameTooLarge(ClosingError):
    """
    A frame over the application's limit.

    RFC 6455 has 1009 for it, which not every server lets an application send.
    """

    code = 4100


class InsecureTransport(ClosingError):
    """The application admits sockets over TLS only."""

    code = 4000


class UnknownApplication(ClosingError):
    """No application has the key in the address."""

    code = 4001


class ApplicationDisabled(ClosingError):
    """The application is switched off."""

    code = 4003


class OverQuota(ClosingError):
    """The application has as many sockets as it may."""

    code = 4004


class PathNotFound(ClosingError):
    """The socket's address leads to no application."""

    code = 4005


class InvalidVersion(ClosingError):
    """The ``protocol`` parameter is not a number."""

    code = 4006


class UnsupportedVersion(ClosingError):
    """The ``protocol`` parameter names a version that is not spoken here."""

    code = 4007


class ForbiddenOrigin(ClosingError):
    """The page that opens the socket is not on an allowed origin."""

    code = 4009


class UserTerminated(ClosingError):
    """The application has ended all sockets of the signed-in user."""

    code = 4009


class NeverAuthorized(ClosingError):
    """The application asks for authorized connections, and this one did not become one."""

    code = 4009


class Unauthorized(PusherError):
    """An authorization that is missing, forged or not for this socket. The connection lives on."""

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
    """A client event that this connection may not send, or not now."""

    code = 4301


class WatchlistTooLong(PusherError):
    """More watched users than are watched; the first ones are."""

    code = 4302


class OverCapacity(ClosingError):
    """The process cannot serve the socket now: a slow reader, or a bus that is away."""

    code = 4100


class Reconnect(ClosingError):
    """The process is going away; another one will take the socket at once."""

    code = 4200


class PongTimeout(ClosingError):
    """The client did not answer a ping."""

    code = 4201


class Inactive(ClosingError):
    """The client joined no channel and said nothing for twice the activity timeout."""

    code = 4202
