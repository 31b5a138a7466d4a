"""What is found on a look at a running system."""

from dataclasses import dataclass
from typing import Literal

CLOCK_TOLERANCE = 5.0  # Seconds by which two clocks may differ unnoticed.


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """
    What was found about one thing.

    Attributes:
        level: ``ok``, ``warning`` or ``error``.
        subject: The thing, in a word or two.
        text: One sentence or more. Never a password or secret.
        fix: What to do about it. Empty if there is nothing to do, or the text says it.
    """

    level: Literal["ok", "warning", "error"]
    subject: str
    text: str
    fix: str = ""


def clock_diagnosis(subject: str, ahead: float) -> Diagnosis | None:
    """Return a warning if the clock of `subject` is `ahead` of this machine's, or behind it."""
    if abs(ahead) <= CLOCK_TOLERANCE:
        return None
    direction = "ahead of" if ahead > 0 else "behind"
    return Diagnosis(
        "warning",
        subject,
        f"Its clock is {abs(ahead):.0f} s {direction} this machine's. Signed requests are "
        f"refused once they differ by 600 s.",
        "Let NTP set the clocks of both machines.",
    )
