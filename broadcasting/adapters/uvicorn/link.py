"""The pipe between a worker and its supervisor, and what they say on it."""

from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

READY = b"ready"  # The worker serves.
REPLACE = b"replace"  # It wants another worker started, and to drain then.
HURRY = b"hurry"  # The worker shall leave without waiting for clients.


class Link:
    """
    One end of the pipe.

    Attributes:
        is_over: Whether the other side will say no more.
    """

    def __init__(self, connection: "Connection[bytes, bytes]") -> None:
        self.connection = connection
        self.is_over = False

    def tell(self, message: bytes) -> None:
        """Send a message, if the other side still reads."""
        with suppress(OSError):
            self.connection.send_bytes(message)

    def messages(self) -> Iterator[bytes]:
        """Yield what the other side has said since the last call."""
        try:
            while not self.is_over and self.connection.poll():
                yield self.connection.recv_bytes()
        except (EOFError, OSError):
            self.is_over = True
