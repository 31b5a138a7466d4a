"""What an event says about itself when it says nothing, on every kind of class."""

from dataclasses import InitVar, dataclass, field
from functools import cached_property
from typing import ClassVar

import attrs
import pytest

from broadcasting import Channel, ShouldBroadcast, ShouldBroadcastNow
from broadcasting.events.base import public_fields


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


class TestPublicFields:
    def test_a_plain_object_has_what_was_set_on_it(self) -> None:
        """In order, without underscores, class attributes, properties and methods."""

        class Plain:
            constant = 1

            def __init__(self) -> None:
                self.b, self.a, self._private, self.__mangled = 1, 2, 3, 4

            @property
            def computed(self) -> int:
                return 1

            def method(self) -> None: ...

        assert list(public_fields(Plain()).items()) == [("b", 1), ("a", 2)]

    def test_a_cached_property_stays_inside(self) -> None:
        """Having been read does not make a property a field."""

        class Plain:
            @cached_property
            def cached(self) -> int:
                return 1

        instance = Plain()
        assert instance.cached == 1
        assert public_fields(instance) == {}

    def test_a_name_of_the_metaclass_is_an_ordinary_field(self) -> None:
        """``type.mro`` has nothing to do with instances."""

        class Plain:
            def __init__(self) -> None:
                self.mro = 1

        assert public_fields(Plain()) == {"mro": 1}

    def test_slots_count_through_the_bases(self) -> None:
        """Base classes come first; a slot without a value has nothing to say."""

        class Base:
            __slots__ = ("z", "_hidden", "unset")  # noqa: RUF023 - the order is what is tested

        class Derived(Base):
            __slots__ = "a"

        instance = Derived()
        instance.z, instance.a, instance._hidden = 1, 2, 3  # type: ignore[attr-defined]
        assert list(public_fields(instance).items()) == [("z", 1), ("a", 2)]

    def test_a_dataclass_has_its_fields_then_the_rest(self) -> None:
        """Declared fields count whether ``__init__`` takes them or not."""

        @dataclass
        class Data:
            b: int
            start: InitVar[int]
            shared: ClassVar[int] = 5
            a: int = field(default=7, init=False)
            unset: int = field(init=False)

            def __post_init__(self, start: int) -> None:
                self.extra = start

        assert list(public_fields(Data(1, 2)).items()) == [("b", 1), ("a", 7), ("extra", 2)]

    def test_an_attrs_class_has_its_fields(self) -> None:
        """A cached property of a slotted attrs class is a slot, but no field."""

        @attrs.define
        class Data:
            b: int
            _hidden: int

            @cached_property
            def cached(self) -> int:
                return 1

        class Derived(Data):
            def __init__(self) -> None:
                super().__init__(1, 2)
                self.extra = 3

        instance = Derived()
        assert instance.cached == 1
        assert public_fields(instance) == {"b": 1, "extra": 3}
