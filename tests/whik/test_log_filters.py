"""What the demo's log leaves out."""

import logging

from whik.log_filters import SignatureFilter


def record(message: str, *args: object) -> logging.LogRecord:
    """Return a record as a server makes it."""
    return logging.LogRecord("x", logging.INFO, __file__, 1, message, args, None)


def test_signatures_are_cut_out_of_request_lines() -> None:
    line = record("HTTP %s %s", "POST", "/apps/1/events?auth_key=k&auth_signature=0a9f&x=1")
    assert SignatureFilter().filter(line)
    assert line.getMessage() == "HTTP POST /apps/1/events?auth_key=k&auth_signature=…&x=1"


def test_other_records_stay_as_they_are() -> None:
    line = record("New user %s", "x")
    assert SignatureFilter().filter(line)
    assert line.args == ("x",)
