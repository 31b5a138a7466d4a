"""Medians, percentiles and spreads."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


def percentile(values: Sequence[float], percent: float) -> float:
    """
    Return the smallest value that is not exceeded by `percent` of them.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("No values, no percentile")
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # Rounded up: the nearest rank.
    return ordered[max(int(rank), 1) - 1]


@dataclass(frozen=True, slots=True)
class Spread:
    """What several rounds have shown of one figure."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of `values`, of which there is one at least."""
        return cls(median(values), min(values), max(values))
