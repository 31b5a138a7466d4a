"""
What a save changed: the declared fields of a row, compared with the values known of it.

1. When a row is loaded, refreshed or saved, its values are remembered: those of the columns
   that the declared names stand for, or of all columns if a name is a property.
2. `changed_names` compares. An unknown value counts as changed, such as that of an expression
   or of a row that was never loaded: one event too many does less harm than one too few.
3. Values that were saved in a transaction are known until it is rolled back. They are held by
   a mark that only the transaction's commit hooks refer to. A rollback, also one to a
   savepoint, drops the hooks, so the mark is gone and the values before it count again.
4. `as_stored` returns the row for hooks and payloads: the values of the database, never an
   expression or a value that was set and not saved.
"""

import copy
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property as python_cached_property
from typing import Any, Final, TypeVar
from uuid import UUID
from weakref import ReferenceType, ref

import django
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Field, Model
from django.db.models.fields.files import FieldFile
from django.utils.functional import cached_property

from ..events.payload import encode_payload
from ..exceptions import BroadcastError
from .fields import spec_if_declared, spec_of

M = TypeVar("M", bound=Model)

# From version 6 on, Django reads generated columns back when it updates a row.
_READS_GENERATED: Final = django.VERSION >= (6,)
# Values that are kept as they are. Others are copied, since they may be altered in place.
_IMMUTABLE: Final = frozenset(
    {str, int, float, bool, type(None), Decimal, datetime, date, time, timedelta, UUID, bytes}
)


class _Unknown:
    """Stands for a value that could not be kept. It differs from every value."""


_UNKNOWN: Final = _Unknown()


def remember(
    instance: Model, using: str, only: Collection[str] | None = None, row: Model | None = None
) -> None:
    """
    Remember the values of `instance`, which was just saved or refreshed.

    Args:
        instance: The object whose row it is.
        using: The database, whose transaction may still be rolled back.
        only: The names of the fields that were written or read; `None` for all.
        row: Another object to take the values from.
    """
    spec = spec_of(type(instance))
    keys = [field.attname for field in instance._meta.pk_fields]
    values = _values(row or instance, [*keys, *_among(spec.tracked, only)])
    known = _known(instance, using)
    if known is not None:
        values = known.values | values
        if values == known.values:
            return
    now_known = _Known(values, using)
    if connections[using].in_atomic_block:
        now_known.hold(known)
    instance._state.__dict__["broadcast_known"] = now_known


def remember_loaded(instance: Model) -> None:
    """Remember the values of a row that was just loaded. Fast: called for each row."""
    spec = spec_if_declared(type(instance))
    if spec is not None:  # Otherwise an error is raised when the row is to be sent.
        state = instance._state
        values = _values(instance, spec.tracked)
        state.__dict__["broadcast_known"] = _Known(values, state.db or DEFAULT_DB_ALIAS)


def is_remembered(instance: Model) -> bool:
    return "broadcast_known" in instance._state.__dict__


def known_values(instance: Model, using: str) -> Mapping[str, object]:
    """Return what is known of the row on the database `using`, by attribute."""
    known = _known(instance, using)
    return {} if known is None else known.values


def changed_names(
    instance: Model, before: Mapping[str, object], only: Collection[str] | None = None
) -> tuple[str, ...]:
    """
    Return the declared names whose values in `instance` differ from those in `before`.

    Args:
        instance: The row as it is stored.
        before: Values by attribute, as `known_values` returns them.
        only: The names of the fields that were written; `None` for all.
    """
    spec = spec_of(type(instance))
    changed = _differing(instance, before, _among(spec.tracked, only))
    if not changed:
        return ()
    recomputed = _recomputed(instance, before, spec.computed)
    return tuple(
        name for name in spec.names if spec.columns.get(name) in changed or name in recomputed
    )


def as_stored(
    instance: M,
    using: str,
    only: Collection[str] | None = None,
    generated: Collection[str] = (),
) -> M:
    """
    Return `instance`, or a copy with the values of the database where they differ.

    Args:
        instance: A saved row, or one that is about to be deleted.
        using: The database to read from if need be.
        only: The names of the fields that were written; `None` for all.
        generated: Attributes whose values the database may have changed by itself.
    """
    spec = spec_of(type(instance))
    before = known_values(instance, using)
    written = _among(spec.tracked, only)
    unwritten = {name: spec.tracked[name] for name in spec.tracked if name not in written}
    stored: dict[str, object] = {
        name: before.get(name, _UNKNOWN) for name in _differing(instance, before, unwritten)
    }
    has = vars(instance)
    to_read = [name for name, value in stored.items() if isinstance(value, _Unknown)]
    to_read += [
        name
        for name in written
        if name in has and (name in generated or hasattr(has[name], "resolve_expression"))
    ]
    if to_read:
        rows = type(instance)._base_manager.using(using).filter(pk=instance.pk)
        stored |= rows.values(*to_read).first() or {}
    return _replaced(instance, stored) if stored else instance


def generated_attributes(model: type[Model]) -> tuple[str, ...]:
    """Return the attributes of `model` that Django does not read back after an update."""
    if _READS_GENERATED:
        return ()
    return tuple(field.attname for field in model._meta.concrete_fields if field.generated)


# Known values


class _Known:
    """
    The values of a row at one time.

    Attributes:
        values: The values by attribute, never altered.
        using: The database of the row.
        before: What was known before the transaction under way.
        mark: Alive as long as that transaction is not rolled back; `None` without one.
    """

    __slots__ = ("before", "mark", "using", "values")

    def __init__(self, values: dict[str, object], using: str) -> None:
        self.values = values
        self.using = using
        self.before: _Known | None = None
        self.mark: ReferenceType[_Mark] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Known":
        return self  # A rollback concerns the copy, too.

    def __reduce__(self) -> Any:
        # Another process does not know the transaction.
        return _Known, (self.values, self.using)

    @property
    def counts(self) -> bool:
        """Whether the values were not rolled back."""
        return self.mark is None or self.mark() is not None

    def hold(self, before: "_Known | None") -> None:
        """Fall back on `before` if the transaction under way is rolled back."""
        mark = _Mark(self)
        self.before, self.mark = before, ref(mark)
        connections[self.using].on_commit(mark)


class _Mark:
    """A commit hook that nothing but its transaction refers to."""

    __slots__ = ("__weakref__", "_known")

    def __init__(self, known: _Known) -> None:
        self._known = known

    def __call__(self) -> None:
        self._known.before = self._known.mark = None


def _known(instance: Model, using: str) -> _Known | None:
    known: _Known | None = instance._state.__dict__.get("broadcast_known")
    while known is not None and not known.counts:
        known = known.before
    if known is None or known.using != using or not _is_of(known, instance):
        return None
    return known


def _is_of(known: _Known, instance: Model) -> bool:
    """Whether the row has the key that the instance has now."""
    has = vars(instance)
    return all(
        known.values.get(field.attname, _UNKNOWN) == has.get(field.attname)
        for field in instance._meta.pk_fields
    )


def _values(instance: Model, fields: Iterable[str]) -> dict[str, object]:
    has = vars(instance)
    return {
        name: value if type(value := has[name]) in _IMMUTABLE else _kept(value)
        for name in fields
        if name in has
    }


def _kept(value: object) -> object:
    if isinstance(value, FieldFile):
        return value.name or ""
    if hasattr(value, "resolve_expression"):
        return _UNKNOWN
    try:
        return _copied(value)
    except Exception:  # Any class of a project may be copied here.
        return _UNKNOWN


def _copied(value: object) -> object:
    # What JSON is made of takes a third of the time that deepcopy() needs.
    if type(value) in _IMMUTABLE:
        return value
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    if type(value) is list:
        return [_copied(item) for item in value]
    return copy.deepcopy(value)


# Comparing


def _among(
    tracked: "Mapping[str, Field[Any, Any]]", only: Collection[str] | None
) -> "Mapping[str, Field[Any, Any]]":
    if only is None:
        return tracked
    return {
        attname: field
        for attname, field in tracked.items()
        if attname in only or field.name in only or (field.primary_key and "pk" in only)
    }


def _differing(
    instance: Model, before: Mapping[str, object], fields: "Mapping[str, Field[Any, Any]]"
) -> set[str]:
    has = vars(instance)
    return {
        name
        for name, field in fields.items()
        # A deferred field is neither written nor sent.
        if name in has and _differs(field, before.get(name, _UNKNOWN), has[name])
    }


def _differs(field: "Field[Any, Any]", old: object, new: object) -> bool:
    if isinstance(new, FieldFile):
        new = new.name or ""
    if isinstance(old, _Unknown) or hasattr(new, "resolve_expression"):
        return True
    if old == new:
        return False
    try:
        return bool(field.to_python(new) != old)  # "5" of a form is 5 of the row.
    except Exception:  # Any class of a field may be asked here.
        return True


def _recomputed(instance: Model, before: Mapping[str, object], names: tuple[str, ...]) -> set[str]:
    if not names:
        return set()
    if any(isinstance(before.get(name, _UNKNOWN), _Unknown) for name in _loaded(instance)):
        return set(names)
    was = _replaced(instance, before)
    return {name for name in names if _reading(was, name) != _reading(instance, name)}


def _loaded(instance: Model) -> list[str]:
    has = vars(instance)
    return [field.attname for field in instance._meta.concrete_fields if field.attname in has]


def _reading(instance: Model, name: str) -> object:
    # As clients would receive it: two querysets are never equal.
    try:
        return encode_payload({"": getattr(instance, name)}, f"{type(instance).__name__}.{name}")
    except (BroadcastError, AttributeError, ArithmeticError, LookupError, TypeError, ValueError):
        return object()


def _replaced(instance: M, values: Mapping[str, object]) -> M:
    clone = type(instance).__new__(type(instance))
    has = vars(clone)
    has.update(Model.__getstate__(instance))  # Copies the state and the cache of relations.
    for name in [name for name in has if _is_cached_property(type(clone), name)]:
        del has[name]
    for field in clone._meta.concrete_fields:
        if field.attname in values and has.get(field.attname) != values[field.attname]:
            has[field.attname] = values[field.attname]
            clone._state.fields_cache.pop(field.name, None)
    return clone


def _is_cached_property(model: type[Model], name: str) -> bool:
    return isinstance(getattr(model, name, None), cached_property | python_cached_property)
