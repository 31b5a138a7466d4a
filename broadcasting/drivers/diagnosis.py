"""What a look at a running system finds."""

from dataclasses import dataclass
from typing import Literal

# Seconds by which two clocks may differ without a word about it.
CLOCK_TOLERANCE = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that was looked at, over the network if need be.

    Attributes:
        level: ``ok``, ``warning`` or ``error``.
        subject: What was looked at, a word or two.
        text: What was found, one sentence or more. Never a password or secret.
        fix: What to do about it; empty where nothing is to be done, or the text says so.
    """

    level: Literal["ok", "warning", "error"]
    subject: str
    text: str
    fix: str = ""


def clock_finding(subject: str, ahead: float) -> Finding | None:
    """Return what is to be said of a clock that is `ahead` of this machine's, in seconds."""
    if abs(ahead) <= CLOCK_TOLERANCE:
        return None
    direction = "ahead of" if ahead > 0 else "behind"
    return Finding(
        "warning",
        subject,
        f"Its clock is {abs(ahead):.0f} s {direction} this machine's. Signed requests are "
        f"refused once they differ by 600 s.",
        "Let NTP set the clocks of both machines.",
    )
