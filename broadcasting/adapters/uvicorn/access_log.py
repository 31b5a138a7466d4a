"""What must not stand in uvicorn's log of requests."""

import logging
import re
import sys

# For ten minutes a signed request can be sent again; a token lets in whoever has it.
_SECRET = re.compile("auth|signature|token|secret", re.I)
_SEPARATOR = re.compile("([?&;])")


class _SignatureFilter(logging.Filter):
    """Cut out what signs a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass every record, without signatures and tokens."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                _masked(value) if isinstance(value, str) else value for value in record.args
            )
        return True


def _masked(path: str) -> str:
    # In steps, each of which takes time in proportion to the path: that is a stranger's, and
    # an expression that sees the whole of it can be kept busy for hours.
    parts = []
    is_secret = False
    for part in _SEPARATOR.split(path):
        if part == "&":
            is_secret = False
        if is_secret:
            continue  # A value goes on until the next "&".
        name, equals, _ = part.partition("=")
        is_secret = equals != "" and _SECRET.search(name) is not None
        parts.append(f"{name}=***" if is_secret else part)
    return "".join(parts)


def mask_signatures() -> None:
    """Keep signatures out of uvicorn's log, of requests and of WebSockets."""
    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).addFilter(_SignatureFilter())


def log_requests() -> None:
    """Log every request, where the project's ``LOGGING`` says or to stdout."""
    logger = logging.getLogger("uvicorn.access")
    if not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)
    if not logger.hasHandlers():
        logger.addHandler(logging.StreamHandler(sys.stdout))
