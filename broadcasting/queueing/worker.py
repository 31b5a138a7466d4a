"""
What a worker does with an event from a queue.

What a connection did not take is tried again, alone, after a pause. The queue delays the
next try if it can; else the worker waits itself, for a few seconds at most. A queue that
runs an event at once, within the request, gets no second try.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..conf import get_settings
from ..events.outgoing import Failure
from ..exceptions import BroadcastError, CircuitOpen
from .backends import get_backend
from .debounce_cache import TAKEN, get_debounce_cache
from .enqueue import is_enqueueing, put
from .envelope import Envelope

logger = logging.getLogger("broadcasting.events")

# Seconds that a worker waits for another try, where its queue cannot delay.
LONGEST_WAIT = 5.0


def send_queued(envelope: Mapping[str, Any]) -> None:
    """
    Send an event from a queue. A worker calls this; it raises for no failure of a bus.

    Args:
        envelope: What the function of ``QUEUE["BACKEND"]`` was given.
    """
    waiting = _newest(Envelope.from_json(envelope))
    while waiting is not None:
        waiting = _attempt(waiting)


def _attempt(envelope: Envelope) -> Envelope | None:
    """Try once. Return what this worker must try once more."""
    options, outgoing = get_settings().queue, envelope.outgoing
    age = time.time() - envelope.queued_at
    if options.expires is not None and age > options.expires:
        outgoing.fail(
            BroadcastError(f"It waited for {age:.0f} s and expires after {options.expires}")
        )
        return None
    failures = outgoing.send()
    is_last = envelope.attempt >= options.tries or is_enqueueing.get()
    lost = {alias: each for alias, each in failures.items() if is_last or each.is_final}
    outgoing.report(lost)
    again = {alias: each for alias, each in failures.items() if alias not in lost}
    if not again:
        return None
    pause = options.backoff[min(envelope.attempt, len(options.backoff)) - 1]
    pause = max([pause, *map(_retry_after, again.values())])
    reasons = "; ".join(f"{alias}: {failure.exc}" for alias, failure in again.items())
    logger.info("Event %s failed, try %d: %s", outgoing.event, envelope.attempt, reasons)
    outgoing = outgoing._replace(parts={alias: each.parts for alias, each in again.items()})
    envelope = replace(envelope, outgoing=outgoing, attempt=envelope.attempt + 1)
    try:
        if not get_backend().can_delay:
            time.sleep(min(pause, LONGEST_WAIT))  # Of the worker: nobody else could wait.
            return envelope
        put(envelope, pause)
    except Exception as exc:  # Whatever the queue raises.
        outgoing.fail(exc)
    return None


def _newest(envelope: Envelope) -> Envelope | None:
    """Return what to send in place of a debounced event, `None` if that was sent already."""
    key = envelope.debounced
    if key is None:
        return envelope
    envelope = replace(envelope, debounced=None)
    try:
        cache = get_debounce_cache(get_settings().queue.cache)
        newest = None if cache is None else cache.take(key)
    except Exception as exc:  # Whatever a cache raises that is away.
        event = envelope.outgoing.event
        logger.warning("The newest %s cannot be read, an older one is sent: %s", event, exc)
        return envelope
    if newest is TAKEN:
        return None
    if newest is None:  # The cache has lost it.
        return envelope
    return replace(Envelope.from_json(newest), debounced=None)


def _retry_after(failure: Failure) -> float:
    return failure.exc.retry_after if isinstance(failure.exc, CircuitOpen) else 0
