"""An epoll loop with as little as possible between the kernel and a socket's owner."""

import select
import time
from collections.abc import Callable

Handler = Callable[[int], None]

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT


class Poller:
    """Calls the handler of each socket on which something happened, with the epoll events."""

    BATCH = 128  # Sockets between two looks at what should happen next.

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def add(self, fd: int, handler: Handler, events: int = READABLE) -> None:
        """Watch `fd` until `remove`."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, handler: Handler, events: int = READABLE) -> None:
        """Watch `fd` for other events, or for somebody else."""
        self._handlers[fd] = handler
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Forget `fd`, which is still open."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def turn(self, timeout: float) -> None:
        """Handle one batch; wait for it for `timeout` seconds at most."""
        handlers = self._handlers
        for fd, events in self._epoll.poll(timeout, self.BATCH):
            handler = handlers.get(fd)
            if handler is not None:  # Another handler of this batch may have closed it.
                handler(events)

    def run_until(self, is_done: Callable[[], bool], timeout: float) -> bool:
        """Turn until `is_done`; return False where that has taken `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not is_done():
            if time.monotonic() > deadline:
                return False
            self.turn(0.05)
        return True

    def run_for(self, seconds: float) -> None:
        """Turn for so long."""
        self.run_until(lambda: False, seconds)

    def close(self) -> None:
        """Close epoll."""
        self._epoll.close()
