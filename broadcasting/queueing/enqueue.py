"""
Events that wait: for a newer one to replace them, or in a queue for a worker.

This module is what `conf.QUEUEING` names, the `Queueing` of `broadcasting.events.outgoing`.
An event in a queue is an `Envelope`; `worker.send_queued` is what a worker calls with it.

Debounced events wait in the cache of ``QUEUE["CACHE"]``, where all processes see them, and
a worker sends the newest. That needs a queue that can delay and a cache that is shared.
Elsewhere this process holds them.
"""

import hashlib
import json
import logging
from contextvars import ContextVar
from dataclasses import replace

from ..conf import get_settings
from ..drivers.circuit_breaker import breakers
from ..events.outgoing import OutgoingEvent
from .backends import get_backend
from .debounce import Debouncer
from .debounce_cache import get_debounce_cache
from .envelope import Envelope

logger = logging.getLogger("broadcasting.events")

# True while a queue takes an event: a worker that runs then was called by the queue itself.
is_enqueueing: ContextVar[bool] = ContextVar("broadcasting.is_enqueueing", default=False)


def check(queue: str) -> None:
    """Raise `ImproperlyConfigured` if no event can be put into `queue`."""
    get_backend().check(queue)


def enqueue(outgoing: OutgoingEvent) -> None:
    """Put the event into its queue. Report what fails; never raise."""
    try:
        put(_envelope(outgoing))
    except Exception as exc:  # Whatever the queue raises: the request was about other things.
        outgoing.fail(exc)


def put(envelope: Envelope, delay: float = 0) -> None:
    """Enqueue `envelope` for a worker, after `delay` seconds. Raise what the queue raises."""
    token = is_enqueueing.set(True)
    try:
        breakers[None].call(
            get_backend().enqueue, envelope.to_json(), queue=envelope.queue, delay=delay
        )
    finally:
        is_enqueueing.reset(token)


def debounce(outgoing: OutgoingEvent) -> None:
    """Release the event, or the newest of its kind, after the seconds that it gives."""
    key = _key(outgoing)
    # An event that this process holds, because it had no cache, must not be overtaken.
    if outgoing.queue is None or key in _debouncer or not _wait_in_cache(outgoing, key):
        _debouncer.hold(key, outgoing.debounce, outgoing)


def release_earlier(outgoing: OutgoingEvent) -> None:
    """Release the events of the same id and channels that this process holds."""
    if _debouncer:
        _debouncer.release(
            lambda held: (
                held.debounce_id == outgoing.debounce_id
                and not set(held.channels).isdisjoint(outgoing.channels)
            )
        )


def flush_debounced() -> None:
    """Release at once every debounced event that this process holds."""
    _debouncer.flush()


def _wait_in_cache(outgoing: OutgoingEvent, key: str) -> bool:
    """Return whether the processes could agree on who sends the newest event under `key`."""
    envelope = replace(_envelope(outgoing), debounced=key)
    try:
        cache = get_debounce_cache(get_settings().queue.cache)
        if cache is None or not get_backend().can_delay:
            return False
        if cache.put(key, envelope.to_json(), outgoing.debounce):
            try:
                put(envelope, outgoing.debounce)
            except Exception:  # Whatever the queue raises: it is raised again.
                cache.forget(key)  # Else the next event would wait for a worker in vain.
                raise
    except Exception as exc:  # A cache or a queue that is away.
        logger.warning("Event %s is debounced by this process alone: %s", outgoing.event, exc)
        return False
    return True


def _envelope(outgoing: OutgoingEvent) -> Envelope:
    return Envelope(outgoing=outgoing, queue=outgoing.queue or get_settings().queue.name)


def _key(outgoing: OutgoingEvent) -> str:
    """Return what events have in common of which only the newest is sent."""
    # Two sites may share a cache, and have channels of one name.
    connection = get_settings().connection
    ways = [(alias, connection(alias).app.key) for alias in outgoing.parts]
    names = [outgoing.event, outgoing.channels, ways, outgoing.queue, outgoing.debounce_id]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def _merge(held: OutgoingEvent, newer: OutgoingEvent) -> OutgoingEvent:
    """Return `newer`. It goes to every page that has not seen the change of `held`."""
    return newer if newer.socket_id == held.socket_id else newer._replace(socket_id=None)


_debouncer: Debouncer[OutgoingEvent] = Debouncer(OutgoingEvent.release, _merge)
