"""What must not stand in uvicorn's log of requests."""

import logging
import re
import sys

# For ten minutes a signed request can be sent again; a token lets in whoever has it.
_SECRETS = re.compile(r"([?&;][^=&]*(?:auth|signature|token|secret)[^=&]*=)[^&]*", re.I)


class _SignatureFilter(logging.Filter):
    """Cut out what signs a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without signatures and tokens."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                _SECRETS.sub(r"\1***", value) if isinstance(value, str) else value
                for value in record.args
            )
        return True


def mask_signatures() -> None:
    """Let uvicorn log every request, where the project's ``LOGGING`` says or to stdout."""
    logger = logging.getLogger("uvicorn.access")
    logger.addFilter(_SignatureFilter())
    if not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)
    if not logger.hasHandlers():
        logger.addHandler(logging.StreamHandler(sys.stdout))
