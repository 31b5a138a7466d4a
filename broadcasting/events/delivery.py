"""
What will be sent, settled when an event is fired, and its way to a `Broadcaster`.

A `Delivery` is plain text and names: nothing that happens before the commit can alter
it. What goes to an encrypted channel is sealed here, with the key of that channel and of
the connection's application, so no driver ever has it in the clear.

Whoever calls `taken_by` gets every delivery in place of the drivers: so tests look at
what would be sent.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import DEFAULT_DB_ALIAS, connections

from ..conf import get_settings
from ..credentials import Application
from ..drivers import broadcasters
from ..encryption import seal
from ..exceptions import BroadcastError
from ..middleware import current_socket_id
from ..protocol.names import MAX_EVENT_LENGTH, is_encrypted, is_event_name
from ..signals import broadcast_failed, broadcast_sent
from .base import ShouldBroadcast

logger = logging.getLogger("broadcasting.events")


@dataclass(frozen=True, slots=True)
class Part:
    """One call of a broadcaster: the same data for all these channels."""

    channels: tuple[str, ...]
    data: str

    @property
    def is_sealed(self) -> bool:
        """Whether nobody but the subscribers of its one channel can read the data."""
        return is_encrypted(self.channels[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
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
    """

    event: str
    channels: tuple[str, ...]
    data: str
    parts: Mapping[str, tuple[Part, ...]]
    to_others: bool = False
    socket_id: str | None = None
    instance: ShouldBroadcast | None = None

    def dispatch(self, using: str | None = None) -> None:
        """Send when the transaction under way on `using` commits, at once outside of one."""
        if _taker is not None:
            _taker(self, using, False)
            return
        connection = connections[using or DEFAULT_DB_ALIAS]
        # Asked first because on_commit() raises outside an atomic block without autocommit.
        if connection.in_atomic_block:
            connection.on_commit(self.send_or_log)
        else:
            self.send_or_log()

    def dispatch_now(self) -> None:
        """Send at once. Raise the first failure as a `BroadcastError`, log the others."""
        if _taker is not None:
            _taker(self, None, True)
            return
        failures = self._send()
        if not failures:
            return
        alias = next(iter(failures))
        exc = failures.pop(alias).exc
        self._log(failures)
        if isinstance(exc, BroadcastError):
            raise exc
        raise BroadcastError(
            f"Event {self.event} was not sent through connection {alias!r}: {exc}"
        ) from exc

    def send_or_log(self) -> None:
        """Send; log every failure."""
        self._log(self._send())

    def _send(self) -> "dict[str, _Failure]":
        """Send through each connection. Return the failures by alias."""
        results = {alias: self._send_through(alias, parts) for alias, parts in self.parts.items()}
        return {alias: failure for alias, failure in results.items() if failure is not None}

    def _send_through(self, alias: str, parts: tuple[Part, ...]) -> "_Failure | None":
        sent = 0
        failure = None
        try:
            broadcaster = broadcasters[alias]
            for part in parts:
                self._check_size(part, broadcaster.app)
            for part in parts:
                broadcaster.broadcast(
                    part.channels, self.event, part.data, socket_id=self.socket_id
                )
                sent += 1
        except Exception as exc:  # Whatever a driver raises; the callers log or raise it.
            # The rest is not tried: a bus that is away would take its time for each.
            failure = _Failure(exc, _channels(parts[sent:]))
        self._tell(alias, _channels(parts[:sent]), failure)
        return failure

    def _check_size(self, part: Part, app: Application) -> None:
        size, limit = len(part.data.encode()), app.max_event_size
        if size > limit:
            sealed = f", sealed for {part.channels[0]}," if part.is_sealed else ""
            raise BroadcastError(
                f"The data of {self.event}{sealed} has {size} bytes and the limit is {limit}. "
                f"Send less, such as a key to fetch the rest by, or raise "
                f'BROADCASTING["APPS"][...]["MAX_EVENT_SIZE"] of application {app.id!r}'
            )

    def _tell(self, alias: str, channels: tuple[str, ...], failure: "_Failure | None") -> None:
        told = {"event": self.event, "connection": alias}
        if channels and broadcast_sent.has_listeners():
            broadcast_sent.send_robust(None, channels=channels, **told)
        if failure is not None and broadcast_failed.has_listeners():
            broadcast_failed.send_robust(
                None, channels=failure.channels, exception=failure.exc, **told
            )

    def _log(self, failures: "Mapping[str, _Failure]") -> None:
        for alias, failure in failures.items():
            exc = failure.exc
            logger.error(
                "Event %s on %s was not sent through connection %r: %s",
                self.event,
                ", ".join(failure.channels),
                alias,
                exc,
                # A driver foresaw its own errors: there the traceback adds nothing.
                exc_info=None if isinstance(exc, BroadcastError) else exc,
            )


@dataclass(frozen=True, slots=True)
class _Failure:
    """What stood in the way of a connection, and the channels that are without the event."""

    exc: Exception
    channels: tuple[str, ...]


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
        ImproperlyConfigured: A connection of `via` does not exist or cannot be made.
    """
    if not is_event_name(event):
        raise BroadcastError(
            f"{event!r} cannot name an event. A name has 1 to {MAX_EVENT_LENGTH} characters and "
            f'does not begin with "pusher:" or "pusher_internal:".'
        )
    aliases = (via,) if isinstance(via, str) else tuple(via or (get_settings().default,))
    return Delivery(
        event="" + event,  # The text of a str that is an Enum.
        channels=channels,
        data=data,
        parts={alias: _parts(channels, data, broadcasters[alias].app) for alias in aliases},
        to_others=to_others,
        socket_id=current_socket_id() if to_others else None,
        instance=instance,
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
    parts = []
    for channel in channels:
        if is_encrypted(channel):
            parts.append(Part((channel,), seal(app, channel, data)))
        elif channel == plain[0]:
            parts.append(Part(plain, data))
    return tuple(parts)


def _channels(parts: tuple[Part, ...]) -> tuple[str, ...]:
    return tuple(channel for part in parts for channel in part.channels)
