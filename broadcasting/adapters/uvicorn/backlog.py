"""The frames that wait for a client that does not read."""

from collections.abc import Callable, Iterable

LIMIT = 1024 * 1024  # Bytes that may wait for a client.
PATIENCE = 10.0  # Seconds that they may wait.


class Backlog:
    """
    What a stalled socket keeps until its client reads again.

    Args:
        since: When the socket stalled, in the loop's time.
        size: Bytes that wait in the transport already.
        frames: What waits beside them. Once the client is too slow, nothing does.
        on_slow: Called once, when too much waits or for too long.
    """

    __slots__ = ("_on_slow", "_since", "_size", "frames", "is_slow")

    def __init__(
        self, since: float, size: int, frames: Iterable[bytes], on_slow: Callable[[], object]
    ) -> None:
        self.frames: list[bytes] = []
        self.is_slow = False
        self._since = since
        self._size = size
        self._on_slow = on_slow
        for frame in frames:
            self.append(frame)

    def append(self, frame: bytes) -> None:
        if self.is_slow:
            return
        self.frames.append(frame)
        self._size += len(frame)
        if self._size > LIMIT:
            self._end()

    def tick(self, now: float) -> None:
        if not self.is_slow and now - self._since > PATIENCE:
            self._end()

    def _end(self) -> None:
        self.is_slow = True
        self.frames.clear()
        self._on_slow()
