"""Writes joined: what one turn of the loop has for a socket leaves in one call."""

import asyncio
import logging
from functools import lru_cache
from typing import Protocol

logger = logging.getLogger("broadcasting.server")


class Writer(Protocol):
    """A socket that keeps what it is sent until it is flushed."""

    def flush(self) -> None: ...


class WriteBatcher:
    """The sockets with something to write at the end of this turn of the loop."""

    __slots__ = ("_writers", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._writers: list[Writer] = []

    def add(self, writer: Writer) -> None:
        """Flush `writer` at the end of this turn. Add it once a turn."""
        if not self._writers:
            self.loop.call_soon(self._flush)
        self._writers.append(writer)

    def _flush(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            try:
                writer.flush()
            except Exception:  # One socket must not cost the others their frames.
                logger.exception("Cannot write to a socket")


@lru_cache(maxsize=8)
def get_write_batcher(loop: asyncio.AbstractEventLoop) -> WriteBatcher:
    """Return the batcher that all sockets of `loop` share."""
    return WriteBatcher(loop)
