"""Codes, and which of them end a connection."""

from collections.abc import Iterator

import pytest

from broadcasting.protocol import errors
from broadcasting.protocol.errors import ClosingError, PusherError


def leaves(root: type[PusherError]) -> Iterator[type[PusherError]]:
    """Return the classes that are raised."""
    for child in root.__subclasses__():
        if child is ClosingError:
            yield from leaves(child)
        else:
            yield child


CLOSING = {
    errors.FrameTooLarge: 4100,
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
    errors.OverCapacity: 4100,
    errors.Reconnect: 4200,
    errors.PongTimeout: 4201,
    errors.Inactive: 4202,
}
STAYING = {
    errors.InvalidFrame: None,
    errors.Unauthorized: 4009,
    errors.InvalidName: None,
    errors.TooManyChannels: None,
    errors.TooManyMembers: None,
    errors.UserInfoTooLarge: None,
    errors.ClientEventRejected: 4301,
    errors.WatchlistTooLong: 4302,
}


@pytest.mark.parametrize(("error", "code"), [*CLOSING.items(), *STAYING.items()])
def test_each_error_has_its_documented_code(error: type[PusherError], code: int | None) -> None:
    """A code decides how a client reacts; it is part of the interface."""
    assert error.code == code
    assert issubclass(error, ClosingError) is (error in CLOSING)


def test_no_error_is_left_out_of_the_table() -> None:
    """A new error must be given a code on purpose."""
    assert set(leaves(PusherError)) == CLOSING.keys() | STAYING.keys()


def test_no_error_closes_with_a_code_of_client_events() -> None:
    """A close with 43xx makes pusher-js give up for ever."""
    assert not [error for error in CLOSING if 4300 <= (error.code or 0) < 4400]


def test_the_range_of_a_code_says_who_comes_back() -> None:
    """All that Java and Swift look at: below 4100 never, below 4200 later, then at once."""
    later_or_at_once = {
        *(errors.FrameTooLarge, errors.OverCapacity),
        *(errors.Reconnect, errors.PongTimeout, errors.Inactive),
    }
    for error in later_or_at_once:
        assert error.code is not None
        at_once = error in {errors.Reconnect, errors.PongTimeout, errors.Inactive}
        assert error.code // 100 == (42 if at_once else 41)
    final = {
        *(errors.InsecureTransport, errors.UnknownApplication, errors.ApplicationDisabled),
        *(errors.OverQuota, errors.PathNotFound, errors.InvalidVersion),
        *(errors.UnsupportedVersion, errors.ForbiddenOrigin, errors.UserTerminated),
        errors.NeverAuthorized,
    }
    assert final == {error for error in CLOSING if (error.code or 0) // 100 == 40}


def test_the_message_is_an_attribute_and_the_text() -> None:
    """What the client is told is what the log shows."""
    error = errors.InvalidFrame("Received invalid JSON")
    assert error.message == str(error) == "Received invalid JSON"
