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


class UnknownApplication(ClosingError):
    """No application has the key in the address."""

    code = 4001


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


class Unauthorized(PusherError):
    """A guarded channel without a valid authorization. The connection lives on."""

    code = 4009


class TooManyChannels(PusherError):
    """More subscriptions than the application allows one connection."""


class OverCapacity(ClosingError):
    """The process cannot serve the socket now: a slow reader, or a bus that is away."""

    code = 4100


class Reconnect(ClosingError):
    """The process is going away; another one will take the socket at once."""

    code = 4200


class PongTimeout(ClosingError):
    """The client did not answer a ping."""

    code = 4201
