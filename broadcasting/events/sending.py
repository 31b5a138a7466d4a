"""
Calling the drivers: what each connection is handed, and what becomes of it.

Everything here is plain text and names, so it may be done later and elsewhere.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..applications import Application
from ..drivers.circuit_breaker import breakers
from ..drivers.registry import broadcasters
from ..exceptions import BroadcastError, CircuitOpen, PayloadError
from ..protocol.names import is_encrypted
from ..signals import broadcast_failed, broadcast_sent

logger = logging.getLogger("broadcasting.events")


class Part(NamedTuple):
    """One call of a broadcaster: the same data for all these channels."""

    channels: tuple[str, ...]
    data: str

    @property
    def is_sealed(self) -> bool:
        """Whether nobody but the subscribers of its one channel can read the data."""
        return is_encrypted(self.channels[0])


# What each connection, by its alias, is handed.
Parts = Mapping[str, tuple[Part, ...]]


@dataclass(frozen=True, slots=True)
class Failure:
    """What stood in the way of a connection, and what it has not taken."""

    exc: Exception
    parts: tuple[Part, ...]

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that are without the event."""
        return _channels(self.parts)

    @property
    def is_final(self) -> bool:
        """Whether another attempt would fail as well."""
        return isinstance(self.exc, PayloadError)


Failures = Mapping[str, Failure]


def send(event: str, parts: Parts, socket_id: str | None) -> dict[str, Failure]:
    """Send through each connection. Return the failures by alias; never raise."""
    failures = {}
    for alias, its_parts in parts.items():
        failure = _send_through(alias, event, its_parts, socket_id)
        if failure is not None:
            failures[alias] = failure
    return failures


def too_large(event: str, parts: Parts) -> dict[str, Failure]:
    """Return the failures, by alias, of connections whose application forbids so much data."""
    failures = {}
    for alias, its_parts in parts.items():
        try:
            _check_sizes(event, its_parts, broadcasters[alias].app)
        except PayloadError as exc:
            failures[alias] = Failure(exc, its_parts)
    return failures


def tell(event: str, failures: Failures) -> None:
    """Send `broadcast_failed` for each connection."""
    if failures and broadcast_failed.has_listeners():
        for alias, failure in failures.items():
            broadcast_failed.send_robust(
                None,
                event=event,
                channels=failure.channels,
                connection=alias,
                exception=failure.exc,
            )


def log(event: str, failures: Failures) -> None:
    """Log each failure, but for those that a breaker counts."""
    for alias, failure in failures.items():
        exc = failure.exc
        if isinstance(exc, CircuitOpen):
            continue
        logger.error(
            "Event %s on %s was not sent through connection %r: %s",
            event,
            ", ".join(failure.channels),
            alias,
            exc,
            # A driver foresaw its own errors: there the traceback adds nothing.
            exc_info=None if isinstance(exc, BroadcastError) else exc,
        )


def _send_through(
    alias: str, event: str, parts: tuple[Part, ...], socket_id: str | None
) -> Failure | None:
    sent = 0
    failure = None
    try:
        broadcaster, breaker = broadcasters[alias], breakers[alias]
        _check_sizes(event, parts, broadcaster.app)
        for part in parts:
            breaker.call(
                broadcaster.broadcast, part.channels, event, part.data, socket_id=socket_id
            )
            sent += 1
    except Exception as exc:  # Whatever a driver raises; the callers log or raise it.
        # The rest is not tried: a bus that is away would take its time for each.
        failure = Failure(exc, parts[sent:])
    if sent and broadcast_sent.has_listeners():
        broadcast_sent.send_robust(
            None, event=event, channels=_channels(parts[:sent]), connection=alias
        )
    return failure


def _check_sizes(event: str, parts: tuple[Part, ...], app: Application) -> None:
    for part in parts:
        size, limit = len(part.data.encode()), app.max_event_size
        if size > limit:
            sealed = f", sealed for {part.channels[0]}," if part.is_sealed else ""
            raise PayloadError(
                f"The data of {event}{sealed} has {size} bytes and the limit is {limit}. "
                f"Send less, such as a key to fetch the rest by, or raise "
                f'BROADCASTING["APPS"][...]["MAX_EVENT_SIZE"] of application {app.id!r}'
            )


def _channels(parts: tuple[Part, ...]) -> tuple[str, ...]:
    return tuple(channel for part in parts for channel in part.channels)
