"""What an event says about its own broadcast."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from ..channel import Channels


class ShouldBroadcast:
    """
    Mix into a class whose instances are sent to browsers when they are fired.

    Only `broadcast_on` must be written. Each method is asked once, when the event is
    fired; so what happens to the event afterwards does not alter what is sent. The
    class may be a plain one, a dataclass or an attrs class, frozen and slotted or not.

    The broadcast leaves when the transaction under way commits, and never if that is
    rolled back. A failure is logged and does not reach the code that fired the event.
    """

    __slots__ = ()

    def broadcast_on(self) -> Channels:
        """Return the channel or channels to send to; none to send to nobody."""
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
        """Tell whether to send at all."""
        return True

    def broadcast_via(self) -> str | Sequence[str]:
        """Return the alias or aliases to send through; none for the default connection."""
        return ()

    def broadcast_queue(self) -> str | bool | None:
        """
        Return the name of the queue in which to wait for a worker.

        `True` is the queue of the settings, `False` none: sent by whoever fired it. `None`
        is what ``BROADCASTING["QUEUE"]`` says.
        """
        return None

    def broadcast_debounce(self) -> float:
        """
        Return the seconds after which to send, 0 for at once.

        Of events that are the same one until then, only the newest is sent, so many
        seconds after the first.
        """
        return 0

    def broadcast_debounce_id(self) -> object:
        """Return what must be equal for two events to be the same, beside name and channels."""
        return None


class ShouldBroadcastNow(ShouldBroadcast):
    """
    A `ShouldBroadcast` that is sent at once and whose failure is raised.

    It does not wait for a commit, so clients may hear of what is rolled back later; nor
    for a worker, nor for others of its kind.
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

    These are the fields of a dataclass or attrs class, what was set on the instance,
    and its slots, base classes first. Names that begin with an underscore, attributes
    of the class, results of a cached property and the names of `ShouldBroadcast`'s own
    methods are none.
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
        # A field without a default that was never set is no error; it has no value.
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
