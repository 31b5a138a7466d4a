"""What can go wrong on the publishing side. Bad settings are `ImproperlyConfigured`."""

from collections.abc import Mapping


class BroadcastError(Exception):
    """A broadcast could not be made or could not be handed over."""


class PayloadError(BroadcastError):
    """An event holds a value that cannot, or must not, be sent."""


class UndeclaredModel(PayloadError):
    """A payload holds a model that does not say which of its fields may leave."""


class InvalidChannel(BroadcastError, ValueError):
    """A channel name that the protocol does not allow."""


class InvalidUserId(BroadcastError, ValueError):
    """An id that no user can sign in with."""


class PublisherBusy(BroadcastError):
    """Too many messages wait to be published; try again, nothing was sent."""


class ChannelsRefused(BroadcastError):
    """
    Some channels of a broadcast were refused; the others have it.

    Attributes:
        refused: Why, by the full name of each channel that is without the event.
    """

    def __init__(self, refused: Mapping[str, BroadcastError]) -> None:
        reason = next(iter(refused.values()))
        super().__init__(f"Refused on {', '.join(refused)}: {reason}")
        self.refused = refused


class CircuitOpen(BroadcastError):
    """
    A connection failed so often that it is left alone for a while; nothing was tried.

    Attributes:
        retry_after: Seconds until it is tried again.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
