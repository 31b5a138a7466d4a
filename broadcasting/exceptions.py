"""What can go wrong on the publishing side. Bad settings are `ImproperlyConfigured`."""


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
