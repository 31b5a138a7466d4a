"""The token bucket, by a clock of its own."""

from hypothesis import given
from hypothesis import strategies as st

from broadcasting.protocol.limits import TokenBucket


def test_a_burst_then_the_rate() -> None:
    bucket = TokenBucket(rate=2, burst=3, now=0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(0.4) is False
    assert bucket.take(0.5) is True
    assert bucket.take(0.5) is False


def test_a_pause_fills_it_up_to_the_burst() -> None:
    bucket = TokenBucket(rate=2, burst=3, now=0)
    for _ in range(3):
        bucket.take(0)
    assert [bucket.take(1000) for _ in range(4)] == [True, True, True, False]


@given(
    steps=st.lists(st.floats(0, 5), max_size=60),
    rate=st.integers(1, 20),
    burst=st.integers(1, 20),
)
def test_never_more_than_burst_and_rate_allow(steps: list[float], rate: int, burst: int) -> None:
    bucket = TokenBucket(rate, burst, now=0)
    now = passed = 0.0
    for step in steps:
        now += step
        passed += bucket.take(now)
        assert passed <= burst + now * rate + 1e-6
