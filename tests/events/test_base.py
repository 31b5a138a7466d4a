"""What an event says about itself when it says nothing, on every kind of class."""

from dataclasses import dataclass
from functools import cached_property

import attrs
import pytest

from broadcasting import Channel, ShouldBroadcast, ShouldBroadcastNow


class Plain(ShouldBroadcast):
    def __init__(self, room: int) -> None:
        self.room = room


class Slotted(ShouldBroadcast):
    __slots__ = ("room",)

    def __init__(self, room: int) -> None:
        self.room = room


@dataclass
class Data(ShouldBroadcast):
    room: int


@dataclass(frozen=True, slots=True)
class FrozenData(ShouldBroadcastNow):
    room: int


@attrs.frozen
class Attrs(ShouldBroadcast):
    room: int

    @cached_property
    def expensive(self) -> int:
        return self.room + 1


@attrs.define(slots=False)
class DictAttrs(ShouldBroadcastNow):
    room: int


@pytest.mark.parametrize("kind", [Plain, Slotted, Data, FrozenData, Attrs, DictAttrs])
def test_it_mixes_into_every_kind_of_class(kind: type[Data]) -> None:
    """The name is the class's, the data its fields, and the rest is the default."""
    event = kind(7)
    assert event.broadcast_as() == kind.__name__
    assert event.broadcast_with() == {"room": 7}
    assert event.broadcast_when() is True
    assert event.broadcast_via() == ()


def test_slots_stay_slots() -> None:
    """The base class does not bring a ``__dict__`` along."""
    assert not hasattr(FrozenData(1), "__dict__")
    assert not hasattr(Slotted(1), "__dict__")


def test_a_missing_broadcast_on_is_explained() -> None:
    """The error names the class and what to write."""
    with pytest.raises(NotImplementedError, match=r"Plain does not say .* Define broadcast_on\(\)"):
        Plain(1).broadcast_on()


def test_values_are_handed_out_as_they_are() -> None:
    """`broadcast_with` can be extended in Python; encoding comes later."""
    channel = Channel("x")
    event = Plain(1)
    event.room = channel  # type: ignore[assignment]  # any object will do
    assert event.broadcast_with() == {"room": channel}


def test_a_field_named_like_a_hook_is_not_sent() -> None:
    """How an event is sent is no part of what it says."""
    event = Plain(1)
    event.__dict__["broadcast_via"] = lambda: "second"

    @dataclass
    class Configured(ShouldBroadcast):
        room: int
        broadcast_as: str = "name"  # type: ignore[assignment]  # a mistake, but not a leak

    assert event.broadcast_with() == {"room": 1}
    assert Configured(1).broadcast_with() == {"room": 1}
