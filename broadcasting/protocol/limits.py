"""How often something may happen, without a clock of its own."""


class TokenBucket:
    """
    Let pass `rate` things per second, and `burst` at once after a pause.

    Args:
        now: The time of the first full bucket, in the seconds that `take` is given.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Return whether one more may pass at time `now`, and count it if so."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
