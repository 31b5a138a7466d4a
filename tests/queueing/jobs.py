"""A queue of a project, the worker that a test stands in for, and events to queue."""

import json
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from broadcasting import ShouldBroadcast, ShouldBroadcastNow
from broadcasting.channel import Channels
from broadcasting.queueing.worker import send_queued

KEY = "S" * 43 + "="  # 32 bytes in base64.


class Task(NamedTuple):
    """One call of the function that a project names."""

    envelope: dict[str, Any]
    queue: str
    delay: float


class Jobs:
    """A queue, and the worker that a test stands in for."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.error: Exception | None = None
        self.is_eager = False

    def enqueue(self, envelope: dict[str, Any], *, queue: str, delay: float) -> None:
        """Take a task; it must be plain JSON."""
        if self.error is not None:
            raise self.error
        self.tasks.append(Task(json.loads(json.dumps(envelope)), queue, delay))
        if self.is_eager:
            send_queued(envelope)

    def work(self) -> list[float]:
        """Do what is there, and what comes of it. Return the delays of all that was done."""
        delays = []
        while self.tasks:
            task = self.tasks.pop(0)
            delays.append(task.delay)
            send_queued(task.envelope)
        return delays


jobs = Jobs()
WAY = f"{__name__}.enqueue"


def enqueue(envelope: dict[str, Any], *, queue: str, delay: float) -> None:
    """Stand in for a project's function."""
    jobs.enqueue(envelope, queue=queue, delay=delay)


@dataclass
class Said(ShouldBroadcast):
    text: str = "hello"
    on: Any = "news"
    queue: Any = None
    via: Any = ()
    seconds: float = 0

    def broadcast_on(self) -> Channels:
        return cast(Channels, self.on)

    def broadcast_with(self) -> dict[str, object]:
        return {"text": self.text}

    def broadcast_queue(self) -> Any:
        return self.queue

    def broadcast_via(self) -> Any:
        return self.via

    def broadcast_debounce(self) -> float:
        return self.seconds


class SaidNow(Said, ShouldBroadcastNow):
    pass
