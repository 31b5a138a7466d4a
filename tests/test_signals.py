"""The signals that a project can receive."""

import pytest
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


def test_all_are_there() -> None:
    """Under the names of the documents, which for channels and members are those of webhooks."""
    assert [name for name, value in vars(signals).items() if isinstance(value, Signal)] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_one_is_not_another(name: str) -> None:
    """A receiver of one hears of that one only."""
    heard: list[str] = []

    def receive(**kwargs: object) -> None:
        heard.append(name)

    getattr(signals, name).connect(receive)
    try:
        for other in NAMES:
            getattr(signals, other).send(sender=None)
    finally:
        getattr(signals, name).disconnect(receive)
    assert heard == [name]
