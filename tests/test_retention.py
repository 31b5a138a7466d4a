"""What is kept of a channel."""

import pytest

from broadcasting.retention import Retention, Retentions

ALL, ORDERS, ONE = Retention(100, 300), Retention(1000, 3600), Retention(1, 60)
RETENTIONS = Retentions(
    {
        "1": {"*": ALL, "private-orders.*": ORDERS, "private-orders.7": ONE, "presence-*": None},
        "2": {"news": ONE},
    }
)


@pytest.mark.parametrize(
    ("topic", "kept"),
    [
        ("1:news", ALL),
        ("1:private-orders.8", ORDERS),
        ("1:private-orders.7", ONE),
        ("1:private-orders.77", ORDERS),
        ("1:presence-a", None),
        ("2:news", ONE),
        ("2:news.7", None),
        ("3:news", None),
    ],
)
def test_the_longest_rule_that_fits_counts(topic: str, kept: Retention | None) -> None:
    """An application has its own rules; without one nothing is kept."""
    assert RETENTIONS.of(topic) == kept


def test_nothing_is_kept_by_default() -> None:
    """Whatever the channel."""
    assert Retentions().of("1:news") is None
