"""
Firing events: listeners, then the commit, then a `Broadcaster`.

1. Listeners run where the event was fired. One that raises ends everything.
2. What will be sent is captured: the event is asked, its data encoded and the sender's
   socket id noted, so nothing that happens before the commit can alter it. What goes
   to an encrypted channel is sealed, with the key of that channel and of the
   connection's application, so no driver ever has it in the clear. Mistakes of the
   caller, such as a channel's name or a missing key, are raised here.
3. It is sent: on commit inside an atomic block, else at once. From here on a failure
   is logged, since what the request was about has been done; `ShouldBroadcastNow`
   sends at once and raises.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from asgiref.sync import async_to_sync, sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Model

from ..channel import Channel, Channels, channel_names
from ..conf import get_settings
from ..credentials import Application
from ..drivers import broadcasters
from ..drivers.base import Broadcaster
from ..encryption import seal
from ..exceptions import BroadcastError, InvalidUserId
from ..middleware import current_socket_id
from ..protocol.names import (
    MAX_CHANNEL_LENGTH,
    MAX_EVENT_LENGTH,
    is_encrypted,
    is_event_name,
    is_user_id,
)
from .base import ShouldBroadcast, ShouldBroadcastNow
from .payload import encode_payload

E = TypeVar("E")
R = TypeVar("R")

logger = logging.getLogger("broadcasting.events")

_listeners: dict[type, list[Callable[[Any], object]]] = {}


def event(instance: object) -> None:
    """
    Fire an event: call its listeners, then broadcast it if it is a `ShouldBroadcast`.

    Raises:
        BroadcastError: The event cannot be sent as it is, a `ShouldBroadcastNow` could
            not be sent, or the caller is async and must await `aevent`.
    """
    _refuse_in_loop("event")
    _fire(instance)


async def aevent(instance: object) -> None:
    """`event`, for async code. Sync listeners and the commit see its database connection."""
    await sync_to_async(_fire, thread_sensitive=True)(instance)


def listen(event_class: type[E]) -> Callable[[Callable[[E], R]], Callable[[E], R]]:
    """
    Register the decorated function, sync or async, for events of a class and its subclasses.

    An event's own listeners are called first, then those of its base classes, each in
    order of registration.

    Raises:
        TypeError: `event_class` is not a class.
    """
    if not isinstance(event_class, type):
        raise TypeError(f"listen() takes the class of an event, not {event_class!r}.")

    def register(listener: Callable[[E], R]) -> Callable[[E], R]:
        _listeners.setdefault(event_class, []).append(listener)
        return listener

    return register


def broadcast(
    instance: ShouldBroadcast,
    *,
    to_others: bool = False,
    via: str | None = None,
    using: str | None = None,
) -> None:
    """
    Fire an event with options.

    Args:
        instance: The event.
        to_others: Leave out the socket of the page that sent the current request.
        via: The connection to send through, in place of what the event says.
        using: The database whose commit is waited for.

    Raises:
        TypeError: `instance` is not a `ShouldBroadcast`.
        BroadcastError: As of `event`.
    """
    _refuse_in_loop("broadcast")
    _broadcast(instance, to_others, via, using)


async def abroadcast(
    instance: ShouldBroadcast,
    *,
    to_others: bool = False,
    via: str | None = None,
    using: str | None = None,
) -> None:
    """`broadcast`, for async code."""
    await sync_to_async(_broadcast, thread_sensitive=True)(instance, to_others, via, using)


def broadcast_to(
    channels: Channels,
    event: str,
    data: Mapping[str, object],
    *,
    to_others: bool = False,
    via: str | None = None,
    using: str | None = None,
) -> None:
    """
    Send an event that has no class; the options are those of `broadcast`.

    Raises:
        BroadcastError: The event cannot be sent as it is.
    """
    _refuse_in_loop("broadcast_to")
    _broadcast_to(channels, event, data, to_others, via, using)


async def abroadcast_to(
    channels: Channels,
    event: str,
    data: Mapping[str, object],
    *,
    to_others: bool = False,
    via: str | None = None,
    using: str | None = None,
) -> None:
    """`broadcast_to`, for async code."""
    send = sync_to_async(_broadcast_to, thread_sensitive=True)
    await send(channels, event, data, to_others, via, using)


def send_now(
    channel: Channel | str, event: str, data: Mapping[str, object], *, via: str | None = None
) -> None:
    """
    Send an event that has no class at once. Raise what `ShouldBroadcastNow` raises.

    For commands: who stands before one wants to know.
    """
    names = channel_names(channel)
    _settle(names, event, encode_payload(data, event), False, via).send_or_raise()


def terminate_user_connections(
    user: Model | str | int | UUID, *, via: str | None = None, using: str | None = None
) -> None:
    """
    Close every socket that is signed in as `user`, a user or its id, in all server processes.

    A client that was closed so does not come back by itself. Take away first what lets
    the user in: inside an atomic block this waits for the commit, as a broadcast does,
    and a failure is then logged.

    Args:
        user: A saved user, or the id that it signs in with.
        via: The connection whose servers and application are meant, in place of the
            default one.
        using: The database whose commit is waited for.

    Raises:
        InvalidUserId: Nobody can sign in with such an id.
        BroadcastError: The servers could not be told, or the caller is async.
    """
    _refuse_in_loop("terminate_user_connections")
    _terminate(user, via, using)


async def aterminate_user_connections(
    user: Model | str | int | UUID, *, via: str | None = None, using: str | None = None
) -> None:
    """`terminate_user_connections`, for async code."""
    await sync_to_async(_terminate, thread_sensitive=True)(user, via, using)


@dataclass(frozen=True, slots=True)
class _Part:
    """One call of a broadcaster: the same data for all these channels."""

    channels: tuple[str, ...]
    data: str

    @property
    def is_sealed(self) -> bool:
        return is_encrypted(self.channels[0])


@dataclass(frozen=True, slots=True)
class _Failure:
    """What stood in the way of a connection, and the channels that are without the event."""

    exc: Exception
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Delivery:
    """What is sent through which connection, settled when the event was fired."""

    broadcasters: Mapping[str, Broadcaster]
    parts: Mapping[str, tuple[_Part, ...]]
    event: str
    socket_id: str | None

    def send_or_log(self) -> None:
        """Send; log every failure."""
        self._log(self._send())

    def send_or_raise(self) -> None:
        """Send; raise the first failure as a `BroadcastError`, log the others."""
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

    def _send(self) -> dict[str, _Failure]:
        """Send through each connection. Return the failures by alias."""
        results = {
            alias: self._send_through(broadcaster, self.parts[alias])
            for alias, broadcaster in self.broadcasters.items()
        }
        return {alias: failure for alias, failure in results.items() if failure is not None}

    def _send_through(self, broadcaster: Broadcaster, parts: tuple[_Part, ...]) -> _Failure | None:
        sent = 0
        try:
            for part in parts:
                self._check_size(part, broadcaster.app)
            for part in parts:
                broadcaster.broadcast(
                    part.channels, self.event, part.data, socket_id=self.socket_id
                )
                sent += 1
        except Exception as exc:  # Whatever a driver raises; the callers log or raise it.
            # The rest is not tried: a bus that is away would take its time for each.
            unsent = (channel for part in parts[sent:] for channel in part.channels)
            return _Failure(exc, tuple(unsent))
        return None

    def _check_size(self, part: _Part, app: Application) -> None:
        size, limit = len(part.data.encode()), app.max_event_size
        if size > limit:
            sealed = f", sealed for {part.channels[0]}," if part.is_sealed else ""
            raise BroadcastError(
                f"The data of {self.event}{sealed} has {size} bytes and the limit is {limit}. "
                f"Send less, such as a key to fetch the rest by, or raise "
                f'BROADCASTING["APPS"][...]["MAX_EVENT_SIZE"] of application {app.id!r}'
            )

    def _log(self, failures: Mapping[str, _Failure]) -> None:
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


def _fire(
    instance: object, to_others: bool = False, via: str | None = None, using: str | None = None
) -> None:
    for listener in _listeners_of(type(instance)):
        result = listener(instance)
        # Also true for a partial, or an object, that is async.
        if inspect.isawaitable(result):
            async_to_sync(_wait_for)(result)
    if not isinstance(instance, ShouldBroadcast):
        return
    delivery = _capture(instance, to_others, via)
    if delivery is None:
        return
    if isinstance(instance, ShouldBroadcastNow):
        delivery.send_or_raise()
    else:
        _send_on_commit(delivery, using)


def _broadcast(
    instance: ShouldBroadcast, to_others: bool, via: str | None, using: str | None
) -> None:
    if not isinstance(instance, ShouldBroadcast):
        raise TypeError(f"broadcast() takes a ShouldBroadcast, not {instance!r}. Use event().")
    _fire(instance, to_others, via, using)


def _broadcast_to(
    channels: Channels,
    event: str,
    data: Mapping[str, object],
    to_others: bool,
    via: str | None,
    using: str | None,
) -> None:
    names = channel_names(channels)
    if names:
        delivery = _settle(names, event, encode_payload(data, event), to_others, via)
        _send_on_commit(delivery, using)


def _terminate(user: Model | str | int | UUID, via: str | None, using: str | None) -> None:
    user_id = _user_id(user)
    alias = get_settings().default if via is None else via
    broadcaster = broadcasters[alias]

    def terminate_or_log() -> None:
        try:
            broadcaster.terminate_user_connections(user_id)
        except Exception as exc:  # Whatever a driver raises: what was committed stays so.
            logger.error(
                "The sockets of user %s were not closed through connection %r: %s",
                user_id,
                alias,
                exc,
                exc_info=None if isinstance(exc, BroadcastError) else exc,
            )

    connection = connections[using or DEFAULT_DB_ALIAS]
    if connection.in_atomic_block:
        connection.on_commit(terminate_or_log)
    else:
        broadcaster.terminate_user_connections(user_id)


def _user_id(user: Model | str | int | UUID) -> str:
    value = user.pk if isinstance(user, Model) else user
    # The text of other objects, such as a guest, may look like an id.
    is_plain = isinstance(value, str | int | UUID) and not isinstance(value, bool)
    is_known = is_plain or (isinstance(user, Model) and value is not None)
    user_id = "" + value if isinstance(value, str) else str(value)
    if not (is_known and is_user_id(user_id)):
        raise InvalidUserId(
            f"{user!r} is not a user that can be signed in. Give a saved user or its id: 1 to "
            f"{MAX_CHANNEL_LENGTH} characters, letters and digits of ASCII and _ - = @ , . ;"
        )
    return user_id


def _listeners_of(event_class: type) -> Iterator[Callable[[Any], object]]:
    for cls in event_class.__mro__:
        yield from tuple(_listeners.get(cls, ()))


async def _wait_for(awaitable: Awaitable[object]) -> None:
    await awaitable


def _capture(instance: ShouldBroadcast, to_others: bool, via: str | None) -> _Delivery | None:
    if not instance.broadcast_when():
        return None
    names = channel_names(instance.broadcast_on())
    if not names:
        return None
    data = encode_payload(instance.broadcast_with(), type(instance).__name__)
    aliases = instance.broadcast_via() if via is None else via
    return _settle(names, instance.broadcast_as(), data, to_others, aliases)


def _settle(
    channels: tuple[str, ...],
    event: str,
    data: str,
    to_others: bool,
    via: str | Sequence[str] | None,
) -> _Delivery:
    if not is_event_name(event):
        raise BroadcastError(
            f"{event!r} cannot name an event. A name has 1 to {MAX_EVENT_LENGTH} characters and "
            f'does not begin with "pusher:" or "pusher_internal:".'
        )
    aliases = (via,) if isinstance(via, str) else tuple(via or (get_settings().default,))
    used = {alias: broadcasters[alias] for alias in aliases}
    return _Delivery(
        broadcasters=used,
        parts={alias: _parts(channels, data, used[alias].app) for alias in used},
        event="" + event,  # The text of a str that is an Enum.
        socket_id=current_socket_id() if to_others else None,
    )


def _parts(channels: tuple[str, ...], data: str, app: Application) -> tuple[_Part, ...]:
    """Seal `data` for each encrypted channel; all others share one part, where the first stood."""
    plain = tuple(channel for channel in channels if not is_encrypted(channel))
    parts = []
    for channel in channels:
        if is_encrypted(channel):
            parts.append(_Part((channel,), seal(app, channel, data)))
        elif channel == plain[0]:
            parts.append(_Part(plain, data))
    return tuple(parts)


def _send_on_commit(delivery: _Delivery, using: str | None) -> None:
    connection = connections[using or DEFAULT_DB_ALIAS]
    # Asked first because on_commit() raises outside an atomic block without autocommit.
    if connection.in_atomic_block:
        connection.on_commit(delivery.send_or_log)
    else:
        delivery.send_or_log()


def _refuse_in_loop(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise BroadcastError(
        f"{name}() was called in async code, whose event loop it would block. "
        f"Write: await a{name}(...)"
    )
