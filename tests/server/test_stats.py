"""What a hub counts: kinds of channels, times, and how often all channels are looked at."""

import time

import pytest

from broadcasting.server.stats import Census, Histogram, kind_of


@pytest.mark.parametrize(
    ("channel", "kind"),
    [
        ("room", "public"),
        ("cache-room", "public"),
        ("private-room", "private"),
        ("private-cache-room", "private"),
        ("private-encrypted-room", "encrypted"),
        ("presence-room", "presence"),
        ("#server-to-user-7", "user"),
        ("#watch-7", None),
        ("#control", None),
    ],
)
def test_channels_have_kinds(channel: str, kind: str | None) -> None:
    assert kind_of(channel) == kind


def test_a_value_on_a_bound_counts_below_it() -> None:
    histogram = Histogram()
    for bound in Histogram.BOUNDS:
        histogram.observe(bound)
    assert histogram.counts == [1] * len(Histogram.BOUNDS) + [0]


def test_many_channels_are_not_counted_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    now, worked, cost, counts = 100.0, 5.0, 0.01, 0

    def count_sockets() -> dict[str, int]:
        nonlocal now, worked, counts
        now += 3.0  # Other processes had their turn on the machine.
        worked += cost
        counts += 1
        return {"1:a": 2, "1:#control": 1}

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "thread_time", lambda: worked)
    census = Census()
    for elapsed, expected in ((0, 1), (6.5, 1), (1, 2), (0, 2), (8, 3), (50, 3), (8, 4)):
        now += elapsed
        if counts == 2:
            cost = 2.0
        census.take(count_sockets)
        assert counts == expected
    assert (census.channels["public"], census.subscriptions["public"]) == (1, 2)
