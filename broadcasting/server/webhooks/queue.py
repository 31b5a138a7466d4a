"""What waits for one endpoint: bounded, oldest first, and posted in batches."""

from collections import deque
from dataclasses import dataclass
from itertools import islice

MAX_EVENTS = 100  # In one body.
MAX_BODY = 64 * 1024  # Bytes, unless one event alone has more.
MAX_WAITING = 10_000  # Events.
MAX_WAITING_BYTES = 16 * 1024 * 1024

# When it happened, in Unix seconds, and its JSON.
Entry = tuple[float, bytes]


@dataclass(frozen=True, slots=True)
class Batch:
    """One body, the number of events in it, and the entry of the first of them."""

    oldest: Entry
    count: int
    body: bytes


class EventQueue:
    """The events that wait for one endpoint."""

    def __init__(self) -> None:
        self._waiting: deque[Entry] = deque()
        self._size = 0  # Bytes in `_waiting`.

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, happened: float, event: bytes) -> bool:
        """Add `event`, or return `False` if too much waits already."""
        if len(self._waiting) >= MAX_WAITING or self._size + len(event) > MAX_WAITING_BYTES:
            return False
        self._waiting.append((happened, event))
        self._size += len(event)
        return True

    def begins_with(self, batch: Batch) -> bool:
        """Return whether the events of `batch` still wait."""
        return bool(self._waiting) and self._waiting[0] is batch.oldest

    def batch(self) -> Batch:
        """Return the next body. The events stay in the queue."""
        oldest = self._waiting[0]
        # The time is that of the oldest event: receivers that refuse old bodies go by it.
        head = b'{"time_ms":%d,"events":[' % round(oldest[0] * 1000)
        size = len(head) + len(b"]}") - 1  # The first event has no comma before it.
        events: list[bytes] = []
        for _, event in islice(self._waiting, MAX_EVENTS):
            size += 1 + len(event)
            if events and size > MAX_BODY:
                break
            events.append(event)
        return Batch(oldest, len(events), head + b",".join(events) + b"]}")

    def take(self, count: int) -> int:
        """Take the first `count` events off the queue; return `count`."""
        for _ in range(count):
            self._size -= len(self._waiting.popleft()[1])
        return count

    def take_older(self, than: float) -> int:
        """Take the events off that happened before the time `than`; return how many."""
        count = 0
        while count < len(self._waiting) and self._waiting[count][0] < than:
            count += 1
        return self.take(count)
