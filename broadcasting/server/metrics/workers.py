"""Which of a server's processes this one is."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Worker:
    """
    One of the processes that share a listening socket.

    Attributes:
        number: From 1 on, and none that another living worker of the server has. While
            a replacement and the worker that it replaces both live, one of them has a
            number above `count`.
        directory: What the server's workers tell each other lies there, readable by
            nobody else; `None` where no command made one, under daphne for example, or
            where nothing can be written.
        count: How many workers the server was asked for.
    """

    number: int = 1
    directory: Path | None = None
    count: int = 1


_worker = Worker()


def get_worker() -> Worker:
    """Return what this process is. Without `set_worker` it is the only one."""
    return _worker


def set_worker(worker: Worker) -> None:
    """Say what this process is, before it serves."""
    global _worker
    _worker = worker
