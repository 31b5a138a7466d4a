"""The classes that an event derives from to be broadcast, and what its public fields are."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from ..channel import Channels


class ShouldBroadcast:
    """
    Base class of events that are sent to browsers when they are fired.

    Define `broadcast_on`; everything else has a default. Each method is called once, when
    the event is fired, so later changes to the event do not alter what is sent. The class
    may be a plain one, a dataclass or an attrs class, frozen and slotted or not.

    The event is sent when the current transaction commits, and never if that is rolled
    back. If it cannot be sent, that is logged and not raised.
    """

    __slots__ = ()

    def broadcast_on(self) -> Channels:
        """Return the channel or channels to send to. An empty list sends to nobody."""
        raise NotImplementedError(
            f"{type(self).__name__} does not say where it is sent. Define broadcast_on() and "
            f'return, for example, [PrivateChannel("news")].'
        )

    def broadcast_as(self) -> str:
        """Return the event's name for clients: the name of the class, unless overridden."""
        return type(self).__name__

    def broadcast_with(self) -> Mapping[str, object]:
        """Return the data to send: the public fields, unless overridden."""
        return public_fields(self)

    def broadcast_when(self) -> bool:
        """Return whether to send the event at all."""
        return True

    def broadcast_via(self) -> str | Sequence[str]:
        """Return the alias or aliases to send through. Empty means the default connection."""
        return ()

    def broadcast_queue(self) -> str | bool | None:
        """
        Return the name of the queue in which the event waits for a worker.

        `True` is the queue that the settings name. `False` sends without a queue. `None`
        leaves it to ``BROADCASTING["QUEUE"]``.
        """
        return None

    def broadcast_debounce(self) -> float:
        """
        Return for how many seconds newer events replace this one; 0 sends at once.

        The newest is sent so many seconds after the first was fired.
        """
        return 0

    def broadcast_debounce_id(self) -> object:
        """Return what, beside name and channels, must be equal for one to replace the other."""
        return None


class ShouldBroadcastNow(ShouldBroadcast):
    """
    A `ShouldBroadcast` that is sent at once and raises `BroadcastError` if it fails.

    It waits neither for a commit nor for a worker and is not debounced. Clients may so
    receive it although the transaction is rolled back later.
    """

    __slots__ = ()


class AnonymousEvent(ShouldBroadcast):
    """
    An event without a class of its own: what `broadcast_to` sends.

    Args:
        channels: As `ShouldBroadcast.broadcast_on` returns them.
        name: The name that clients listen for.
        data: The data to send.
    """

    __slots__ = ("_channels", "_data", "_name")

    def __init__(self, channels: Channels, name: str, data: Mapping[str, object]) -> None:
        self._channels = channels
        self._name = name
        self._data = data

    def broadcast_on(self) -> Channels:
        return self._channels

    def broadcast_as(self) -> str:
        return self._name

    def broadcast_with(self) -> Mapping[str, object]:
        return self._data


def public_fields(instance: object) -> dict[str, object]:
    """
    Return the fields of `instance` in order of declaration.

    These are the fields of a dataclass or attrs class, the attributes that were set on
    the instance, and its slots, base classes first. Left out are names that begin with an
    underscore, attributes of the class, results of cached properties and the names of
    `ShouldBroadcast`'s own methods.
    """
    hooks = vars(ShouldBroadcast)
    fields: dict[str, object] = {}
    for name, value in chain(_declared(instance), _assigned(instance), _slotted(instance)):
        if not name.startswith("_") and name not in hooks:
            fields.setdefault(name, value)
    return fields


def _declared(instance: object) -> Iterator[tuple[str, object]]:
    fields: Iterable[Any] = getattr(type(instance), "__attrs_attrs__", ())
    if dataclasses.is_dataclass(instance):
        fields = dataclasses.fields(instance)
    for field in fields:
        # A field without a default may never have been set.
        if hasattr(instance, field.name):
            yield field.name, getattr(instance, field.name)


def _assigned(instance: object) -> Iterator[tuple[str, object]]:
    for name, value in getattr(instance, "__dict__", {}).items():
        if not hasattr(_class_attribute(type(instance), name), "__get__"):
            yield name, value


def _class_attribute(cls: type, name: str) -> object:
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def _slotted(instance: object) -> Iterator[tuple[str, object]]:
    for base in reversed(type(instance).__mro__):
        # The slots of an attrs class are its fields, and its cached properties.
        if "__attrs_attrs__" in vars(base):
            continue
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("_") and hasattr(instance, name):
                yield name, getattr(instance, name)
