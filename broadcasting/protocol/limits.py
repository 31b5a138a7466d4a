class TokenBucket:
    """
    Lets `rate` things per second pass, and `burst` at once after a pause.

    It has no clock: `now` is the time of the first full bucket, in the seconds of `take`.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Return whether one more may pass at time `now`, and count it if it may."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
