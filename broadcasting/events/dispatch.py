"""
Firing events: listeners, then the commit, then the driver.

1. Listeners run where the event was fired. One that raises ends everything.
2. `prepare` settles what will be sent and raises the mistakes of the caller.
3. The event is sent: on commit inside an atomic block, else at once. From here on a
   failure is logged, because what the request was about has been done;
   `ShouldBroadcastNow` sends at once and raises.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from asgiref.sync import async_to_sync, sync_to_async

from ..channel import Channel, Channels
from ..exceptions import BroadcastError
from .base import AnonymousEvent, ShouldBroadcast, ShouldBroadcastNow
from .outgoing import prepare

E = TypeVar("E")
R = TypeVar("R")

_listeners: dict[type, list[Callable[[Any], object]]] = {}


def event(instance: object) -> None:
    """
    Fire an event: call its listeners, then broadcast it if it is a `ShouldBroadcast`.

    Raises:
        BroadcastError: The event cannot be sent as it is, a `ShouldBroadcastNow` was not
            sent, or the caller is async and must await `aevent`.
    """
    refuse_in_loop("event")
    fire(instance)


async def aevent(instance: object) -> None:
    """Do what `event` does, in async code and with its database connection."""
    await sync_to_async(fire)(instance)


def listen(event_class: type[E]) -> Callable[[Callable[[E], R]], Callable[[E], R]]:
    """
    Decorate a function, sync or async, that is called with each event of a class.

    It is called for events of subclasses, too. An event's own listeners run first, then
    those of its base classes, each in order of registration.

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
        via: The connection to send through, instead of those that the event names.
        using: The database whose commit is waited for.

    Raises:
        TypeError: `instance` is not a `ShouldBroadcast`.
        BroadcastError: As in `event`.
    """
    refuse_in_loop("broadcast")
    _broadcast(instance, to_others, via, using)


async def abroadcast(
    instance: ShouldBroadcast,
    *,
    to_others: bool = False,
    via: str | None = None,
    using: str | None = None,
) -> None:
    """Do what `broadcast` does, in async code."""
    await sync_to_async(_broadcast)(instance, to_others, via, using)


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
    refuse_in_loop("broadcast_to")
    send(AnonymousEvent(channels, event, data), to_others, via, using)


async def abroadcast_to(
    channels: Channels,
    event: str,
    data: Mapping[str, object],
    *,
    to_others: bool = False,
    via: str | None = None,
    using: str | None = None,
) -> None:
    """Do what `broadcast_to` does, in async code."""
    await sync_to_async(send)(AnonymousEvent(channels, event, data), to_others, via, using)


def fire(
    instance: object, to_others: bool = False, via: str | None = None, using: str | None = None
) -> None:
    """
    Fire an event from any code, also from within an event loop, which waits meanwhile.

    The options are those of `broadcast`; an event that is not sent ignores them.

    Raises:
        TypeError: `instance` is a class.
    """
    if isinstance(instance, type):
        name = instance.__name__
        raise TypeError(f"An event is an object, not the class {name}. Write {name}(...).")
    for cls in type(instance).__mro__:
        for listener in tuple(_listeners.get(cls, ())):
            result = listener(instance)
            # Also true for a partial, or an object, that is async.
            if inspect.isawaitable(result):
                async_to_sync(_wait_for)(result)
    if isinstance(instance, ShouldBroadcast):
        send(instance, to_others, via, using)


def send(
    instance: ShouldBroadcast,
    to_others: bool = False,
    via: str | None = None,
    using: str | None = None,
) -> None:
    """Broadcast an event without calling listeners. Arguments as of `fire`."""
    outgoing = prepare(instance, to_others=to_others, via=via)
    if outgoing is None:
        return
    if isinstance(instance, ShouldBroadcastNow):
        outgoing.dispatch_now()
    else:
        outgoing.dispatch(using)


def send_now(
    channel: Channel | str, event: str, data: Mapping[str, object], *, via: str | None = None
) -> None:
    """Send an event that has no class at once. Raise what `ShouldBroadcastNow` raises."""
    outgoing = prepare(AnonymousEvent(channel, event, data), via=via)
    if outgoing is not None:
        outgoing.dispatch_now()


def refuse_in_loop(name: str, instead: str | None = None) -> None:
    """
    Raise `BroadcastError` if an event loop is running, which the function `name` would block.

    `instead` is what to write there, if not ``await`` and the async twin.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise BroadcastError(
        f"{name}() was called in async code, whose event loop it would block. "
        f"Write: {instead or f'await a{name}(...)'}"
    )


def _broadcast(
    instance: ShouldBroadcast, to_others: bool, via: str | None, using: str | None
) -> None:
    if not isinstance(instance, ShouldBroadcast):
        raise TypeError(
            f"broadcast() takes a ShouldBroadcast, not {instance!r}. Derive its class from "
            f"ShouldBroadcast; event() is for events that only listeners receive."
        )
    fire(instance, to_others, via, using)


async def _wait_for(awaitable: Awaitable[object]) -> None:
    await awaitable
