"""What is published: numbered, dated, and of one length."""

import json
import re
import time

# Wherever a server has put it, and however it has escaped what is around it.
STAMP = re.compile(rb"(\d{8})-(\d{19})")


def make_data(number: int, size: int, now: int | None = None) -> str:
    """
    Return the JSON text of message `number`, of `size` characters.

    `now` is when it is published, in nanoseconds of `time.monotonic_ns`.
    """
    stamp = f"{number:08}-{time.monotonic_ns() if now is None else now:019}"
    frame = json.dumps({"bench": stamp, "text": ""}, separators=(",", ":"))
    return frame[:-2] + "x" * (size - len(frame)) + frame[-2:]
