"""
The workers of one host, and what they tell each other of their numbers.

Each worker writes a file once a second; whichever is asked for metrics reads those of
the others.
"""

import json
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .snapshot import MetricsSnapshot, take_snapshot

if TYPE_CHECKING:
    from ..hub import Hub

logger = logging.getLogger("broadcasting.server")

FRESH = 10.0  # Seconds after which a worker that has written nothing counts as gone.


@dataclass(frozen=True, slots=True)
class Worker:
    """
    One of the processes that share a listening socket.

    Attributes:
        number: From 1 on, and different from that of every other living worker. While a
            worker and its replacement both live, one of them has a number above `count`.
        directory: Where the workers write what they tell each other, readable by nobody
            else; `None` where no command made one (under daphne, for example) or where
            nothing can be written.
        count: How many workers the server was asked for.
    """

    number: int = 1
    directory: Path | None = None
    count: int = 1


_worker = Worker()


def get_worker() -> Worker:
    """Return which worker this process is. Without `set_worker` it is the only one."""
    return _worker


def set_worker(worker: Worker) -> None:
    """Set which worker this process is, before it serves."""
    global _worker
    _worker = worker


def share_metrics(hub: "Hub") -> None:
    """
    Write the numbers of `hub` for the other workers of this host. Call it once a second.

    It does nothing where there is only one worker.
    """
    worker = get_worker()
    if worker.directory is None or worker.count < 2:
        return
    path = worker.directory / f"metrics-{worker.number}.json"
    families = take_snapshot(hub)
    text = json.dumps({"pid": os.getpid(), "worker": worker.number, "families": families})
    try:
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(path)
    except OSError as exc:  # The command has ended and removed the directory; or a full disk.
        logger.debug("Cannot write metrics for other workers: %s", exc)


def read_siblings() -> list[tuple[int, int, MetricsSnapshot]]:
    """Return number, process id and snapshot of each other living worker. It blocks."""
    worker = get_worker()
    found: list[tuple[int, int, MetricsSnapshot]] = []
    if worker.directory is None:
        return found
    for path in sorted(worker.directory.glob("metrics-*.json")):
        try:
            if time.time() - path.stat().st_mtime > FRESH:
                continue
            said = json.loads(path.read_text())
            if said["worker"] != worker.number:
                found.append((said["worker"], said["pid"], said["families"]))
        except (OSError, ValueError, KeyError, TypeError) as exc:  # It may vanish any moment.
            logger.debug("Cannot read %s: %s", path.name, exc)
    return found
