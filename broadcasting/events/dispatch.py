"""
Firing events: listeners, then the commit, then a `Broadcaster`.

1. Listeners run where the event was fired. One that raises ends everything.
2. What will be sent is captured: the event is asked, its data encoded and the sender's
   socket id noted, so nothing that happens before the commit can alter it. Mistakes of
   the caller, such as a channel's name or a missing key, are raised here.
3. It is sent: on commit inside an atomic block, else at once. From here on a failure
   is logged, since what the request was about has been done; `ShouldBroadcastNow`
   sends at once and raises.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

from asgiref.sync import async_to_sync, sync_to_async

from ..channel import Channel, Channels, channel_names
from .base import ShouldBroadcast, ShouldBroadcastNow
from .loops import refuse_in_loop
from .outgoing import Delivery, settle
from .payload import encode_payload

E = TypeVar("E")
R = TypeVar("R")

_listeners: dict[type, list[Callable[[Any], object]]] = {}


def event(instance: object) -> None:
    """
    Fire an event: call its listeners, then broadcast it if it is a `ShouldBroadcast`.

    Raises:
        BroadcastError: The event cannot be sent as it is, a `ShouldBroadcastNow` could
            not be sent, or the caller is async and must await `aevent`.
    """
    refuse_in_loop("event")
    fire(instance)


async def aevent(instance: object) -> None:
    """`event`, for async code. Sync listeners and the commit see its database connection."""
    await sync_to_async(fire, thread_sensitive=True)(instance)


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
    refuse_in_loop("broadcast")
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
    refuse_in_loop("broadcast_to")
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


def fire(
    instance: object, to_others: bool = False, via: str | None = None, using: str | None = None
) -> None:
    """
    Fire an event with options, wherever that is: also within an event loop, which waits.

    The options are those of `broadcast`; an event that is not sent has no use for them.

    Raises:
        TypeError: `instance` is a class.
    """
    if isinstance(instance, type):
        name = instance.__name__
        raise TypeError(f"An event is an object, not the class {name}. Write {name}(...).")
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
        delivery.dispatch_now()
    else:
        delivery.dispatch(using)


def send_now(
    channel: Channel | str, event: str, data: Mapping[str, object], *, via: str | None = None
) -> None:
    """
    Send an event that has no class at once. Raise what `ShouldBroadcastNow` raises.

    For commands: who stands before one wants to know.
    """
    names = channel_names(channel)
    settle(names, event, encode_payload(data, event), via=via).dispatch_now()


def _broadcast(
    instance: ShouldBroadcast, to_others: bool, via: str | None, using: str | None
) -> None:
    if not isinstance(instance, ShouldBroadcast):
        raise TypeError(
            f"broadcast() takes a ShouldBroadcast, not {instance!r}. Derive its class from "
            f"ShouldBroadcast; event() is for what only listeners hear."
        )
    fire(instance, to_others, via, using)


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
        data_text = encode_payload(data, event)
        settle(names, event, data_text, to_others=to_others, via=via).dispatch(using)


def _listeners_of(event_class: type) -> Iterator[Callable[[Any], object]]:
    for cls in event_class.__mro__:
        yield from tuple(_listeners.get(cls, ()))


async def _wait_for(awaitable: Awaitable[object]) -> None:
    await awaitable


def _capture(instance: ShouldBroadcast, to_others: bool, via: str | None) -> Delivery | None:
    if not instance.broadcast_when():
        return None
    names = channel_names(instance.broadcast_on())
    if not names:
        return None
    data = encode_payload(instance.broadcast_with(), type(instance).__name__)
    return settle(
        names,
        instance.broadcast_as(),
        data,
        to_others=to_others,
        via=instance.broadcast_via() if via is None else via,
        instance=instance,
    )
