"""
What will be sent, settled when an event is fired, and its way to a `Broadcaster`.

A `Delivery` is plain text and names: nothing that happens before the commit can alter
it. What goes to an encrypted channel is sealed here, with the key of that channel and of
the connection's application, so no driver ever has it in the clear.

After the commit it is sent, or held for others of its kind to take its place, or put into
a queue, or first the one and then the other.

Whoever calls `taken_by` gets every delivery in place of the drivers: so tests look at
what would be sent.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from django.db import DEFAULT_DB_ALIAS, connections

from ..applications import Application
from ..conf import get_settings
from ..drivers.registry import broadcasters
from ..encryption import seal
from ..exceptions import BroadcastError
from ..middleware import current_socket_id
from ..protocol.names import MAX_EVENT_LENGTH, is_encrypted, is_event_name
from ..queueing import queue as queues
from ..queueing.backends import get_backend
from ..queueing.debounce import Debouncer
from . import sending
from .base import ShouldBroadcast, ShouldBroadcastNow
from .sending import Part


# No frozen dataclass: it takes three times as long to make, and each event makes one.
class Delivery(NamedTuple):
    """
    One event on its way.

    Attributes:
        event: The name that clients listen for.
        channels: Full names, each once.
        data: JSON text, as the event gave it: unsealed.
        parts: What each connection, by its alias, is handed.
        to_others: Whether the page that sent the current request is left out.
        socket_id: That page's socket, `None` if there is none.
        instance: The event itself, `None` for one without a class.
        queue: The queue that it waits in for a worker, `None` for none.
        debounce: Seconds for which newer ones may take its place; 0 for none.
        debounce_id: What these have in common, beside event, channels and connections.
    """

    event: str
    channels: tuple[str, ...]
    data: str
    parts: Mapping[str, tuple[Part, ...]]
    to_others: bool = False
    socket_id: str | None = None
    instance: ShouldBroadcast | None = None
    queue: str | None = None
    debounce: float = 0
    debounce_id: str | None = None

    def dispatch(self, using: str | None = None) -> None:
        """Let it leave when the transaction under way on `using` commits, at once without one."""
        if (taker := _taker) is not None:
            taker(self, using, False)
            return
        connection = connections[using or DEFAULT_DB_ALIAS]
        # Asked first because on_commit() raises outside an atomic block without autocommit.
        if connection.in_atomic_block:
            connection.on_commit(self._leave)
        else:
            self._leave()

    def dispatch_now(self) -> None:
        """Send at once. Raise the first failure as a `BroadcastError`, log the others."""
        if (taker := _taker) is not None:
            taker(self, None, True)
            return
        failures = sending.send(self.event, self.parts, self.socket_id)
        sending.tell(self.event, failures)
        if not failures:
            return
        alias = next(iter(failures))
        exc = failures.pop(alias).exc
        sending.log(self.event, failures)
        if isinstance(exc, BroadcastError):
            raise exc
        raise BroadcastError(
            f"Event {self.event} was not sent through connection {alias!r}: {exc}"
        ) from exc

    def _leave(self) -> None:
        if self.debounce:
            self._wait_for_newer()
            return
        if self.debounce_id is not None and _debouncer:
            _debouncer.release(self._comes_after)
        self._go()

    def _wait_for_newer(self) -> None:
        key = self._key()
        # Where this process has held one, for want of a cache, this one must not overtake it.
        if not (
            self.queue is not None
            and key not in _debouncer
            and queues.enqueue_newest(
                self.event,
                self.parts,
                self.socket_id,
                queue=self.queue,
                key=key,
                seconds=self.debounce,
            )
        ):
            _debouncer.hold(key, self.debounce, self)

    def _go(self) -> None:
        """Queue or send; log every failure."""
        if self.queue is not None:
            queues.enqueue(self.event, self.parts, self.socket_id, queue=self.queue)
            return
        failures = sending.send(self.event, self.parts, self.socket_id)
        if failures:
            sending.tell(self.event, failures)
            sending.log(self.event, failures)

    def _replaced_by(self, newer: "Delivery") -> "Delivery":
        """Return `newer`, which leaves out nobody who has not heard of this one."""
        if newer.socket_id == self.socket_id:
            return newer
        return newer._replace(socket_id=None)

    def _comes_after(self, other: "Delivery") -> bool:
        """Tell whether `other`, of the same thing, must be there first."""
        return other.debounce_id == self.debounce_id and not set(self.channels).isdisjoint(
            other.channels
        )

    def _key(self) -> str:
        """Return what is the same for deliveries of which only the newest is to be sent."""
        # Two sites may share a cache, and have channels of one name.
        ways = [(alias, broadcasters[alias].app.key) for alias in self.parts]
        names = [self.event, self.channels, ways, self.queue, self.debounce_id]
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()


# Deliveries that this process holds.
_debouncer: Debouncer[Delivery] = Debouncer(Delivery._go, Delivery._replaced_by)


def flush_debounced() -> None:
    """Let everything leave at once that this process holds for newer events to replace it."""
    _debouncer.flush()


def settle(
    channels: tuple[str, ...],
    event: str,
    data: str,
    *,
    to_others: bool = False,
    via: str | Sequence[str] | None = None,
    instance: ShouldBroadcast | None = None,
) -> Delivery:
    """
    Return the delivery of an event whose names and data are known.

    Raises:
        BroadcastError: `event` cannot name one, or a channel of `channels` is encrypted
            and the connection's application has no key.
        ImproperlyConfigured: A connection of `via` does not exist or cannot be made, or
            nothing can be put into the event's queue.
    """
    if not is_event_name(event):
        raise BroadcastError(
            f"{event!r} cannot name an event. A name has 1 to {MAX_EVENT_LENGTH} characters and "
            f'does not begin with "pusher:" or "pusher_internal:".'
        )
    queue, debounce, debounce_id = _waiting(instance)
    if queue is not None:
        get_backend().check(queue)
    aliases = (via,) if isinstance(via, str) else tuple(via or (get_settings().default,))
    return Delivery(
        event="" + event,  # The text of a str that is an Enum.
        channels=channels,
        data=data,
        parts={alias: _parts(channels, data, broadcasters[alias].app) for alias in aliases},
        to_others=to_others,
        socket_id=current_socket_id() if to_others else None,
        instance=instance,
        queue=queue,
        debounce=debounce,
        debounce_id=debounce_id,
    )


# A delivery, the database whose commit it would wait for, and whether it would not wait.
Taker = Callable[[Delivery, str | None, bool], object]

_taker: Taker | None = None


@contextmanager
def taken_by(taker: Taker) -> Iterator[None]:
    """Hand every delivery of this process to `taker`, which sees no other one's meanwhile."""
    global _taker
    before, _taker = _taker, taker
    try:
        yield
    finally:
        _taker = before


def _parts(channels: tuple[str, ...], data: str, app: Application) -> tuple[Part, ...]:
    """Seal `data` for each encrypted channel; all others share one part, where the first stood."""
    plain = tuple(channel for channel in channels if not is_encrypted(channel))
    if plain == channels:
        return (Part(plain, data),)
    parts = []
    for channel in channels:
        if is_encrypted(channel):
            parts.append(Part((channel,), seal(app, channel, data)))
        elif channel == plain[0]:
            parts.append(Part(plain, data))
    return tuple(parts)


def _waiting(instance: ShouldBroadcast | None) -> tuple[str | None, float, str | None]:
    """Return the queue, the seconds and the id of an event that may wait."""
    options = get_settings().queue
    if instance is None:
        return options.name if options.all else None, 0, None
    if isinstance(instance, ShouldBroadcastNow):
        return None, 0, None
    name = type(instance).__name__
    queue: object = instance.broadcast_queue()
    if queue is None:
        queue = options.all
    if not isinstance(queue, str | bool) or queue == "":
        raise BroadcastError(
            f"{name}.broadcast_queue() returned {queue!r}; it must be a queue's name, True, False "
            f"or None."
        )
    seconds = instance.broadcast_debounce()
    if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
        raise BroadcastError(
            f"{name}.broadcast_debounce() returned {seconds!r}; it must be a number of seconds, "
            f"0 or more."
        )
    own_id = instance.broadcast_debounce_id()
    return (
        queue if isinstance(queue, str) else (options.name if queue else None),
        seconds,
        None if own_id is None else str(own_id),
    )
