"""What the log of requests shows, and what it does not."""

import logging
import time
from collections.abc import Iterator

import pytest

from broadcasting.adapters.uvicorn.access_log import log_requests, mask_signatures


@pytest.fixture(autouse=True)
def uvicorn_log() -> Iterator[logging.Logger]:
    """Return uvicorn's logger of requests, as a project leaves it that says nothing of it."""
    loggers = [logging.getLogger(name) for name in ("uvicorn.access", "uvicorn.error")]
    former = [(logger.filters[:], logger.handlers[:], logger.level) for logger in loggers]
    mask_signatures()
    yield loggers[0]
    for logger, (filters, handlers, level) in zip(loggers, former, strict=True):
        logger.filters, logger.handlers = filters, handlers
        logger.setLevel(level)


def shown(path: str) -> str:
    """Return what a line of the log shows of `path`."""
    arguments = ("192.0.2.1:5", "GET", path, "1.1", 200)
    record = logging.LogRecord(
        "uvicorn.access", logging.INFO, "", 0, "%s %s %s %s %s", arguments, None
    )
    assert logging.getLogger("uvicorn.access").filter(record)
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


def test_a_strangers_path_takes_time_in_proportion() -> None:
    """It may be as long as a head, and is looked at while everybody else waits."""

    def seconds(length: int) -> float:
        paths = ("/?" + ";auth" * length, "/?" + "auth" * length, "/" + "?token;" * length)
        begin = time.process_time()
        for path in paths:
            assert shown(path) == path
        return time.process_time() - begin

    # An expression that backtracks would take a hundred times as long, or more.
    assert min(seconds(10_000) for _ in range(3)) < 40 * min(seconds(1_000) for _ in range(3))


def test_requests_are_logged_when_asked_for(
    uvicorn_log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the project's LOGGING says."""
    uvicorn_log.setLevel(logging.WARNING)
    log_requests()
    uvicorn_log.info("%s", "/x?token=s3cr3t")
    assert "/x?token=***" in caplog.text
