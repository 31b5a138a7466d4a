"""
Events that a worker sends, so that no request waits for the bus.

What waits in the queue is an *envelope*: a dictionary of plain JSON that says everything
there is to say, with the data of encrypted channels sealed. A `Backend` of `backends` puts it
into a queue; `send_queued` is what the worker calls with it.

What a connection did not take is tried again, alone, after a pause. The pause is the
backend's affair where it can delay; else the worker waits itself, a few seconds at most.
Where the queue runs what it is given at once, in the request, nothing is tried again.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from ..conf import get_settings
from ..drivers.circuit_breaker import breakers
from ..events import sending
from ..events.sending import Failure, Failures, Part, Parts
from ..exceptions import BroadcastError, CircuitOpen
from . import debounce_cache as newest
from .backends import get_backend

logger = logging.getLogger("broadcasting.events")

# Seconds that a worker waits for another try, where its queue cannot delay.
LONGEST_WAIT = 5.0

_is_enqueueing: ContextVar[bool] = ContextVar("broadcasting.is_enqueueing", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """
    An event in a queue.

    Attributes:
        queue: The queue's name.
        attempt: Which try it is waiting for.
        queued_at: When it was first put there; a POSIX timestamp.
        id: Its own, for any number of tries.
        debounced: Under which key newer ones may wait that are to be sent in its place.
    """

    event: str
    parts: Parts
    socket_id: str | None
    queue: str
    attempt: int
    queued_at: float
    id: str
    debounced: str | None = None

    @classmethod
    def from_envelope(cls, envelope: Mapping[str, Any]) -> "Queued":
        """Return what `envelope` holds. Keys that a newer version has added are ignored."""
        parts = {
            alias: tuple(Part(tuple(channels), data) for channels, data in its_parts)
            for alias, its_parts in envelope["parts"].items()
        }
        names = ("event", "socket_id", "queue", "attempt", "queued_at", "id", "debounced")
        return cls(parts=parts, **{name: envelope[name] for name in names})

    def envelope(self) -> dict[str, Any]:
        """Return all of it as plain JSON."""
        return {
            "event": self.event,
            "parts": {
                alias: [[list(part.channels), part.data] for part in its_parts]
                for alias, its_parts in self.parts.items()
            },
            "socket_id": self.socket_id,
            "queue": self.queue,
            "attempt": self.attempt,
            "queued_at": self.queued_at,
            "id": self.id,
            "debounced": self.debounced,
        }


def enqueue(event: str, parts: Parts, socket_id: str | None, *, queue: str) -> None:
    """Put an event into `queue`. Log what fails; never raise."""
    queued = _queued(event, parts, socket_id, queue)
    if queued is not None:
        try:
            _put(queued)
        except Exception as exc:  # Whatever the queue raises: the request was about other things.
            _give_up(queued, exc)


def enqueue_newest(
    event: str, parts: Parts, socket_id: str | None, *, queue: str, key: str, seconds: float
) -> bool:
    """
    Have only the newest of all events under `key` sent, `seconds` after the first.

    Return whether processes can agree on that: the queue must be able to delay, and the
    cache be one that the workers see. Where they cannot, nothing was done.
    """
    queued = _queued(event, parts, socket_id, queue)
    if queued is None:
        return True
    try:
        shelf = newest.get_shelf(get_settings().queue.cache)
        if shelf is None or not get_backend().can_delay:
            return False
        queued = replace(queued, debounced=key)
        if shelf.put(key, queued.envelope(), seconds):
            try:
                _put(queued, seconds)
            except Exception:  # Whatever the queue raises: it is raised again.
                shelf.forget(key)  # The next event would count on somebody to come for it.
                raise
    except Exception as exc:  # A cache or a queue that is away.
        logger.warning("Event %s is debounced by this process alone: %s", event, exc)
        return False
    return True


def send_queued(envelope: Mapping[str, Any]) -> None:
    """
    Send what was put into a queue. A worker calls this; it raises for no failure of a bus.

    Args:
        envelope: What the function of ``QUEUE["BACKEND"]`` was given.
    """
    queued = _newest(Queued.from_envelope(envelope))
    while queued is not None:
        queued = _attempt(queued)


def _attempt(queued: Queued) -> Queued | None:
    """Try once. Return what this worker is to try once more."""
    options = get_settings().queue
    age = time.time() - queued.queued_at
    if options.expires is not None and age > options.expires:
        late = f"It waited for {age:.0f} s and expires after {options.expires}"
        _give_up(queued, BroadcastError(late))
        return None
    failures = sending.send(queued.event, queued.parts, queued.socket_id)
    is_last = queued.attempt >= options.tries or _is_enqueueing.get()
    lost = {alias: each for alias, each in failures.items() if is_last or each.is_final}
    _report(queued.event, lost)
    again = {alias: each for alias, each in failures.items() if alias not in lost}
    if not again:
        return None
    pause = options.backoff[min(queued.attempt, len(options.backoff)) - 1]
    pause = max([pause, *(_retry_after(each.exc) for each in again.values())])
    logger.info("Event %s failed, try %d: %s", queued.event, queued.attempt, _reasons(again))
    queued = replace(
        queued,
        parts={alias: each.parts for alias, each in again.items()},
        attempt=queued.attempt + 1,
    )
    try:
        if not get_backend().can_delay:
            time.sleep(min(pause, LONGEST_WAIT))  # Of the worker: nobody else could wait.
            return queued
        _put(queued, pause)
    except Exception as exc:  # Whatever the queue raises.
        _give_up(queued, exc)
    return None


def _queued(event: str, parts: Parts, socket_id: str | None, queue: str) -> Queued | None:
    """Return the event without what no worker could send; `None` if nothing is left."""
    refused = sending.too_large(event, parts)
    _report(event, refused)
    parts = {alias: its_parts for alias, its_parts in parts.items() if alias not in refused}
    if not parts:
        return None
    return Queued(
        event=event,
        parts=parts,
        socket_id=socket_id,
        queue=queue,
        attempt=1,
        queued_at=time.time(),
        id=uuid4().hex,
    )


def _newest(queued: Queued) -> Queued | None:
    """Return what to send in place of a debounced event; `None` if that was done already."""
    key = queued.debounced
    if key is None:
        return queued
    queued = replace(queued, debounced=None)
    try:
        shelf = newest.get_shelf(get_settings().queue.cache)
        envelope = None if shelf is None else shelf.take(key)
    except Exception as exc:  # Whatever a cache raises that is away.
        logger.warning("The newest %s cannot be read, an older one is sent: %s", queued.event, exc)
        return queued
    if envelope is newest.TAKEN:
        return None
    if envelope is None:  # The cache has lost it.
        return queued
    return replace(Queued.from_envelope(envelope), debounced=None)


def _put(queued: Queued, delay: float = 0) -> None:
    enqueue = get_backend().enqueue
    with _enqueueing():
        breakers[None].call(enqueue, queued.envelope(), queue=queued.queue, delay=delay)


def _give_up(queued: Queued, exc: Exception) -> None:
    _report(queued.event, {alias: Failure(exc, parts) for alias, parts in queued.parts.items()})


def _report(event: str, failures: Failures) -> None:
    sending.tell(event, failures)
    sending.log(event, failures)


def _retry_after(exc: Exception) -> float:
    return exc.retry_after if isinstance(exc, CircuitOpen) else 0


def _reasons(failures: Failures) -> str:
    return "; ".join(f"{alias}: {failure.exc}" for alias, failure in failures.items())


@contextmanager
def _enqueueing() -> Iterator[None]:
    """Let a worker know that it runs inside the call that was to queue its task."""
    token = _is_enqueueing.set(True)
    try:
        yield
    finally:
        _is_enqueueing.reset(token)
