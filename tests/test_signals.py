"""The signals that a project can receive."""

from django.dispatch import Signal

from broadcasting import signals

NAMES = [
    "connection_opened",
    "connection_closed",
    "channel_occupied",
    "channel_vacated",
    "member_added",
    "member_removed",
    "broadcast_sent",
    "broadcast_failed",
]


def test_signals_have_the_documented_names() -> None:
    assert [name for name, value in vars(signals).items() if isinstance(value, Signal)] == NAMES
