"""
An event on its way: what is sent, settled when the event is fired, and how it leaves.

`prepare` asks an event about itself and finds every mistake of the caller. The result, an
`OutgoingEvent`, is plain text and names: nothing that happens before the commit can alter
it, and another process can send it. Data for an encrypted channel is sealed here, with the
key of that channel, so no driver sees it in the clear.

An event leaves at once, or when its transaction commits. Then it is sent, or it waits for a
newer one or for a worker. What waits is kept by `broadcasting.queueing`, which this module
knows by the interface `Queueing` alone.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import NamedTuple, Protocol, cast
from uuid import uuid4

from django.db import DEFAULT_DB_ALIAS, connections

from ..applications import Application
from ..channel import channel_names
from ..conf import QUEUEING, get_settings
from ..drivers.circuit_breaker import breakers
from ..drivers.registry import broadcasters
from ..encryption import seal
from ..exceptions import BroadcastError, ChannelsRefused, CircuitOpen, PayloadError
from ..middleware import current_socket_id
from ..protocol.names import MAX_EVENT_LENGTH, is_encrypted, is_event_name
from ..signals import broadcast_failed, broadcast_sent
from .base import AnonymousEvent, ShouldBroadcast, ShouldBroadcastNow
from .payload import encode_payload

logger = logging.getLogger("broadcasting.events")


class Part(NamedTuple):
    """One call of a broadcaster: the same data for all these channels."""

    channels: tuple[str, ...]
    data: str


class Failure(NamedTuple):
    """Why a connection did not send an event, and the parts that it did not send."""

    exc: Exception
    parts: tuple[Part, ...]

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that are without the event."""
        return _channels_of(self.parts)

    @property
    def is_final(self) -> bool:
        """Whether another attempt would fail as well."""
        return isinstance(self.exc, PayloadError)


# No frozen dataclass: it takes three times as long to make, and each event makes one.
class OutgoingEvent(NamedTuple):
    """
    One event on its way.

    Attributes:
        event: The name that clients listen for.
        channels: Full names, each once.
        parts: What each connection, by its alias, sends.
        data: JSON text as the event gave it, not sealed; empty in a worker.
        id: The event's own, the same for any number of tries.
        to_others: Whether the page that sent the current request is left out.
        socket_id: That page's socket, `None` if there is none.
        instance: The event itself, `None` for one without a class.
        queue: The queue in which it waits for a worker, `None` for none.
        debounce: Seconds for which a newer event may replace it; 0 for none.
        debounce_id: What such events have in common, beside event, channels and connections.
    """

    event: str
    channels: tuple[str, ...]
    parts: Mapping[str, tuple[Part, ...]]
    data: str
    id: str
    to_others: bool = False
    socket_id: str | None = None
    instance: ShouldBroadcast | None = None
    queue: str | None = None
    debounce: float = 0
    debounce_id: str | None = None

    def dispatch(self, using: str | None = None) -> None:
        """Leave when the transaction under way on `using` commits, at once without one."""
        if (interceptor := _interceptor) is not None:
            interceptor(self, using, False)
            return
        connection = connections[using or DEFAULT_DB_ALIAS]
        # Asked first because on_commit() raises outside an atomic block without autocommit.
        if connection.in_atomic_block:
            connection.on_commit(self._leave)
        else:
            self._leave()

    def dispatch_now(self) -> None:
        """Send at once. Raise the first failure as a `BroadcastError`, log the others."""
        if (interceptor := _interceptor) is not None:
            interceptor(self, None, True)
            return
        failures = self.send()
        if not failures:
            return
        self._signal(failures)
        alias = next(iter(failures))
        exc = failures.pop(alias).exc
        self._log(failures)
        if isinstance(exc, BroadcastError):
            raise exc
        raise BroadcastError(
            f"Event {self.event} was not sent through connection {alias!r}: {exc}"
        ) from exc

    def release(self) -> None:
        """Queue the event, or send it if it is not for a queue. Failures are reported."""
        if self.queue is not None:
            get_queueing().enqueue(self)
        else:
            self.report(self.send())

    def send(self) -> dict[str, Failure]:
        """Send through each connection. Return the failures by alias; never raise."""
        failures = {}
        for alias, parts in self.parts.items():
            failure = self._send_through(alias, parts)
            if failure is not None:
                failures[alias] = failure
        return failures

    def report(self, failures: Mapping[str, Failure]) -> None:
        """Send `broadcast_failed` for each connection that failed for good, and log it."""
        if failures:
            self._signal(failures)
            self._log(failures)

    def fail(self, exc: Exception) -> None:
        """Report that `exc` keeps the event from every connection."""
        self.report({alias: Failure(exc, parts) for alias, parts in self.parts.items()})

    def _leave(self) -> None:
        if self.debounce:
            get_queueing().debounce(self)
            return
        if self.debounce_id is not None:
            get_queueing().release_earlier(self)
        self.release()

    def _send_through(self, alias: str, parts: tuple[Part, ...]) -> Failure | None:
        sent: list[str] = []
        failed: list[Part] = []
        error: Exception | None = None
        for number, (channels, data) in enumerate(parts):
            try:
                breakers[alias].call(
                    broadcasters[alias].broadcast,
                    channels,
                    self.event,
                    data,
                    socket_id=self.socket_id,
                    message_id=self.id,
                )
                sent += channels
            except ChannelsRefused as exc:
                error = error or exc
                sent += (channel for channel in channels if channel not in exc.refused)
                failed.append(Part(tuple(exc.refused), data))
            except Exception as exc:  # Whatever a driver raises; the callers log or raise it.
                error = error or exc
                # The rest is not tried: a bus that is away would take its time for each.
                failed += parts[number:]
                break
        if sent and broadcast_sent.has_listeners():
            broadcast_sent.send_robust(
                None, event=self.event, channels=tuple(sent), connection=alias
            )
        return None if error is None else Failure(error, tuple(failed))

    def _signal(self, failures: Mapping[str, Failure]) -> None:
        if broadcast_failed.has_listeners():
            for alias, failure in failures.items():
                broadcast_failed.send_robust(
                    None,
                    event=self.event,
                    channels=failure.channels,
                    connection=alias,
                    exception=failure.exc,
                )

    def _log(self, failures: Mapping[str, Failure]) -> None:
        for alias, failure in failures.items():
            exc = failure.exc
            if isinstance(exc, CircuitOpen):
                continue  # The circuit breaker counts and logs these.
            logger.error(
                "Event %s on %s was not sent through connection %r: %s",
                self.event,
                ", ".join(failure.channels),
                alias,
                exc,
                # A driver foresaw its own errors: there the traceback adds nothing.
                exc_info=None if isinstance(exc, BroadcastError) else exc,
            )


def prepare(
    instance: ShouldBroadcast, *, to_others: bool = False, via: str | None = None
) -> OutgoingEvent | None:
    """
    Ask `instance` what to send. Return `None` if it is not to be sent at all.

    Each method of the event is called once at most. Every mistake of the caller is found
    here, so that it is raised where the event was fired.

    Args:
        instance: The event.
        to_others: Leave out the socket of the page that sent the current request.
        via: The connection to send through, in place of what the event says.

    Raises:
        PayloadError: The data cannot be sent, or a connection's application does not allow
            so much of it.
        BroadcastError: A name cannot name a channel or an event, or a method of the event
            returned what it may not.
        ImproperlyConfigured: A connection does not exist, nothing can be put into the
            event's queue, or a channel is encrypted and there is no key.
    """
    if not instance.broadcast_when():
        return None
    channels = channel_names(instance.broadcast_on())
    if not channels:
        return None
    is_anonymous = isinstance(instance, AnonymousEvent)
    values = instance.broadcast_with()
    event = instance.broadcast_as()
    data = encode_payload(values, event if is_anonymous else type(instance).__name__)
    if not is_event_name(event):
        raise BroadcastError(
            f"{event!r} cannot name an event. A name has 1 to {MAX_EVENT_LENGTH} characters and "
            f'does not begin with "pusher:" or "pusher_internal:".'
        )
    settings = get_settings()
    aliases = instance.broadcast_via() if via is None else via
    if isinstance(aliases, str):
        aliases = (aliases,)
    queue, debounce, debounce_id = _waiting(instance)
    return OutgoingEvent(
        event="" + event,  # The text of a str that is an Enum.
        channels=channels,
        parts={
            alias: _parts(event, channels, data, settings.connection(alias).app)
            for alias in aliases or (settings.default,)
        },
        data=data,
        id=uuid4().hex,
        to_others=to_others,
        socket_id=current_socket_id() if to_others else None,
        instance=None if is_anonymous else instance,
        queue=queue,
        debounce=debounce,
        debounce_id=debounce_id,
    )


class Queueing(Protocol):
    """What keeps events that wait: the module that `conf.QUEUEING` names."""

    def check(self, queue: str) -> None:
        """Raise `ImproperlyConfigured` if no event can be put into `queue`."""

    def enqueue(self, outgoing: OutgoingEvent) -> None:
        """Put the event into its queue. Report what fails; never raise."""

    def debounce(self, outgoing: OutgoingEvent) -> None:
        """Release the event, or the newest of its kind, when its time has come."""

    def release_earlier(self, outgoing: OutgoingEvent) -> None:
        """Release debounced events that must be sent before this one of the same id."""


@cache
def get_queueing() -> Queueing:
    """Return what keeps events that wait, imported on first use."""
    return cast(Queueing, import_module(QUEUEING))


# An event, the database whose commit it would wait for, and whether it would not wait.
Interceptor = Callable[[OutgoingEvent, str | None, bool], object]

_interceptor: Interceptor | None = None


@contextmanager
def intercept(interceptor: Interceptor) -> Iterator[None]:
    """Pass every event of this process to `interceptor` instead of to the drivers."""
    global _interceptor
    before, _interceptor = _interceptor, interceptor
    try:
        yield
    finally:
        _interceptor = before


def _parts(event: str, channels: tuple[str, ...], data: str, app: Application) -> tuple[Part, ...]:
    """Seal `data` for each encrypted channel; all others share one part, where the first stood."""
    plain = tuple(channel for channel in channels if not is_encrypted(channel))
    if plain == channels:
        parts = [Part(plain, data)]
    else:
        parts = []
        for channel in channels:
            if is_encrypted(channel):
                parts.append(Part((channel,), seal(app, channel, data)))
            elif channel == plain[0]:
                parts.append(Part(plain, data))
    for part in parts:
        size = len(part.data.encode())
        if size > app.max_event_size:
            sealed = "" if part.data is data else f", sealed for {part.channels[0]},"
            raise PayloadError(
                f"The data of {event}{sealed} has {size} bytes and the limit is "
                f"{app.max_event_size}. Send less, such as a key to fetch the rest by, or raise "
                f'BROADCASTING["APPS"][...]["MAX_EVENT_SIZE"] of application {app.id!r}.'
            )
    return tuple(parts)


def _channels_of(parts: tuple[Part, ...]) -> tuple[str, ...]:
    return tuple(channel for part in parts for channel in part.channels)


def _waiting(instance: ShouldBroadcast) -> tuple[str | None, float, str | None]:
    """Return the queue, the seconds and the id of an event that may wait."""
    if isinstance(instance, ShouldBroadcastNow):
        return None, 0, None
    options = get_settings().queue
    name = type(instance).__name__
    queue: object = instance.broadcast_queue()
    if queue is None:
        queue = options.all
    if not isinstance(queue, str | bool) or queue == "":
        raise BroadcastError(
            f"{name}.broadcast_queue() returned {queue!r}; it must be a queue's name, True, False "
            f"or None."
        )
    queue = queue if isinstance(queue, str) else (options.name if queue else None)
    if queue is not None:
        get_queueing().check(queue)
    seconds = instance.broadcast_debounce()
    if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
        raise BroadcastError(
            f"{name}.broadcast_debounce() returned {seconds!r}; it must be a number of seconds, "
            f"0 or more."
        )
    own_id = instance.broadcast_debounce_id()
    return queue, seconds, None if own_id is None else str(own_id)
