"""Codes, and which of them close a connection."""

from collections.abc import Iterator

from broadcasting.protocol import errors
from broadcasting.protocol.errors import ClosingError, PusherError

CODES = {
    errors.InsecureTransport: 4000,
    errors.UnknownApplication: 4001,
    errors.ApplicationDisabled: 4003,
    errors.OverQuota: 4004,
    errors.PathNotFound: 4005,
    errors.InvalidVersion: 4006,
    errors.UnsupportedVersion: 4007,
    errors.ForbiddenOrigin: 4009,
    errors.UserTerminated: 4009,
    errors.NeverAuthorized: 4009,
    errors.FrameTooLarge: 4100,
    errors.OverCapacity: 4100,
    errors.Reconnect: 4200,
    errors.PongTimeout: 4201,
    errors.Inactive: 4202,
    # These do not close.
    errors.InvalidFrame: None,
    errors.Unauthorized: 4009,
    errors.InvalidName: None,
    errors.TooManyChannels: None,
    errors.TooManyMembers: None,
    errors.UserInfoTooLarge: None,
    errors.ClientEventRejected: 4301,
    errors.WatchlistTooLong: 4302,
}
STAYING = list(CODES)[15:]


def leaves(root: type[PusherError]) -> Iterator[type[PusherError]]:
    for child in root.__subclasses__():
        if child is ClosingError:
            yield from leaves(child)
        else:
            yield child


def test_each_error_has_its_documented_code() -> None:
    """Java and Swift look at the range alone: 40 never comes back, 41 later, 42 at once."""
    assert {error: error.code for error in leaves(PusherError)} == CODES
    closing = {error for error in CODES if issubclass(error, ClosingError)}
    assert closing == CODES.keys() - set(STAYING)


def test_the_message_is_an_attribute_and_the_text() -> None:
    error = errors.InvalidFrame("Received invalid JSON")
    assert error.message == str(error) == "Received invalid JSON"
