"""What the log of requests does not show."""

import logging
import time

import pytest

from broadcasting.adapters.uvicorn.access_log import _SignatureFilter


def shown(path: str) -> str:
    """Return what a line of the log shows of `path`."""
    arguments = ("192.0.2.1:5", "GET", path, "1.1", 200)
    record = logging.LogRecord(
        "uvicorn.access", logging.INFO, "", 0, "%s %s %s %s %s", arguments, None
    )
    assert _SignatureFilter().filter(record)
    return record.getMessage().split()[2]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/pages/?page=7&q=a;b", "/pages/?page=7&q=a;b"),
        ("/apps/1/events?auth_key=k&body_md5=m", "/apps/1/events?auth_key=***&body_md5=m"),
        ("/x?a=1&auth_signature=0a;b?c=d&b=2", "/x?a=1&auth_signature=***&b=2"),
        ("/x?a=1;csrfToken=s", "/x?a=1;csrfToken=***"),
        ("/x?SECRET=", "/x?SECRET=***"),
        ("/authors/?token", "/authors/?token"),
    ],
)
def test_signatures_and_tokens_are_cut_out(path: str, expected: str) -> None:
    """Whatever their name is exactly, and to their end."""
    assert shown(path) == expected


def test_a_strangers_path_takes_no_time() -> None:
    """It may be as long as a head, and is looked at while everybody else waits."""
    begin = time.perf_counter()
    for path in ("/?" + ";auth" * 12_000, "/?" + "auth" * 15_000, "/" + "?token;" * 9_000):
        assert shown(path) == path
    assert time.perf_counter() - begin < 1
