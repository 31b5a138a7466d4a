"""What waits for an endpoint: how much may wait, for how long, and what goes into one body."""

import json

import pytest

from broadcasting.server.webhooks import queue as module
from broadcasting.server.webhooks.queue import EventQueue

NOW = 1_700_000_000.123


def queue_of(*events: bytes) -> EventQueue:
    queue = EventQueue()
    for number, event in enumerate(events):
        assert queue.add(NOW + number, event)
    return queue


def test_what_waits_goes_into_one_body() -> None:
    """With the time of the oldest event, a hundred events at most; they stay in the queue."""
    queue = queue_of(*(b"%d" % number for number in range(150)))
    batch = queue.batch()
    assert json.loads(batch.body) == {"time_ms": 1_700_000_000_123, "events": [*range(100)]}
    assert queue.begins_with(batch)
    assert queue.take(batch.count) == 100
    assert not queue.begins_with(batch)
    assert json.loads(queue.batch().body)["events"] == [*range(100, 150)]


@pytest.mark.parametrize(("extra", "count"), [(0, 2), (1, 1)])
def test_a_body_has_64_kib_and_not_one_byte_more(extra: int, count: int) -> None:
    """The envelope and the commas count. One event alone may be larger."""
    room = 65_536 - len(b'{"time_ms":1700000000123,"events":[0,]}')
    batch = queue_of(b"0", b"1" * (room + extra)).batch()
    assert batch.count == count
    assert len(batch.body) == 65_536 or count == 1
    assert queue_of(b"1" * 100_000, b"2").batch().count == 1


def test_so_many_events_and_bytes_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 4)
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 10)
    queue = queue_of(b"1", b"2", b"3", b"4")
    assert not queue.add(NOW, b"5")
    queue.take(1)
    assert not queue.add(NOW, b"12345678")
    assert queue.add(NOW, b"1234567")
    assert len(queue) == 4


def test_old_events_are_taken_first() -> None:
    queue = queue_of(b"1", b"2", b"3")
    assert [queue.take_older(NOW + age) for age in (0, 1, 1, 100)] == [0, 1, 0, 2]
    assert len(queue) == 0
