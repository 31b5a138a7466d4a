"""``QUEUE``."""

from typing import Any

import pytest

from broadcasting.checks.queue import check_queue
from tests.checks.reported import ids


@pytest.mark.parametrize(
    ("queue", "expected"),
    [(None, []), ({"BACKEND": "shop.tasks.enqueue"}, ["E001"]), ({}, ["W005"])],
)
def test_a_queue_that_does_not_exist_or_sends_at_once(
    queue: dict[str, Any] | None, expected: list[str]
) -> None:
    """Nothing is reported unless a queue is asked for."""
    broadcasting = {"DEFAULT": "memory"} | ({} if queue is None else {"QUEUE": queue})
    assert ids(check_queue, BROADCASTING=broadcasting) == expected
