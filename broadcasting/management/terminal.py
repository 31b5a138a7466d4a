"""Text that others wrote, made safe for a terminal, which obeys some characters."""

import re

# Controls of C0, DEL and C1, what turns or ends a line, and lone surrogates.
_ACTS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    """
    Return `text` on one line, with an escape in place of each character that a terminal obeys.

    The escapes are those of JSON, so JSON keeps its meaning.
    """
    return _ACTS.sub(lambda match: f"\\u{ord(match[0]):04x}", str(text))
