"""Percentiles and spreads."""

import pytest

from benchmarks.samples import Spread, percentile


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (50.5, 51), (99, 99), (100, 100)]
)
def test_percentile_is_one_of_the_values(percent: float, expected: float) -> None:
    """The nearest rank is taken, and nothing between two values is made up."""
    assert percentile(range(100, 0, -1), percent) == expected


def test_percentile_of_one_value_is_that_value() -> None:
    """One sample is every percentile."""
    assert percentile([7.0], 99) == 7.0


def test_nothing_has_no_percentile() -> None:
    """No samples are an error, not a zero that looks like a good figure."""
    with pytest.raises(ValueError, match="No values"):
        percentile([], 50)


def test_spread_has_the_extremes() -> None:
    """The median does not hide how far apart the rounds were."""
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(median=2.0, least=1.0, most=3.0)
