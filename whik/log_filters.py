"""Secrets that must not appear in the demo's log."""

import logging
import re

_SIGNATURE = re.compile(r"(auth_signature=)[0-9a-f]+")


class SignatureFilter(logging.Filter):
    """Removes signatures of requests, which are valid for ten minutes."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "auth_signature=" in text:
            record.msg, record.args = _SIGNATURE.sub(r"\1…", text), None
        return True
