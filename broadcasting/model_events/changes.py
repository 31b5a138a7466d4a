"""
What a save changed: the declared fields of a row, compared with what is known of it.

1. A row that is loaded, refreshed or saved leaves the values it had: `remember`. Only
   the columns that declared names stand for are kept; if one of these is a property,
   all columns are, since it may be made of any.
2. `changed_names` compares. What is not known, such as a row that was never loaded or an
   expression, counts as changed: an event too many does less harm than one too few.
3. What was saved in a transaction is known for as long as the transaction has a chance.
   The transaction alone holds the mark of it, among its commit hooks; a rollback, also
   that of a savepoint, lets the mark go, and what was known before counts again.
4. `as_stored` gives the row that hooks and payloads see: what the database has, never an
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
from .fields import plan_if_declared, plan_of

M = TypeVar("M", bound=Model)

# From version 6 on, Django reads what the database has made of a row that it updates.
_READS_GENERATED: Final = django.VERSION >= (6,)
# Kept as they are; all else is copied, since it may be altered in place.
_FIXED: Final = frozenset(
    {str, int, float, bool, type(None), Decimal, datetime, date, time, timedelta, UUID, bytes}
)


class _Unknown:
    """A value that could not be kept; no value is like it."""


_UNKNOWN: Final = _Unknown()


def remember(
    instance: Model, using: str, only: Collection[str] | None = None, row: Model | None = None
) -> None:
    """
    Take the values of `instance` for those of its row.

    Args:
        instance: It has just been saved or refreshed.
        using: The database it was saved to, whose transaction may still be rolled back.
        only: The names of the fields that were written or read; `None` for all.
        row: Where `instance` does not have the values itself: what has them.
    """
    plan = plan_of(type(instance))
    keys = [field.attname for field in instance._meta.pk_fields]
    values = _values(row or instance, [*keys, *_among(plan.tracked, only)])
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
    """`remember`, for each row that is read: this takes no longer than it must."""
    plan = plan_if_declared(type(instance))
    if plan is None:
        return  # Where something is to be sent, an error says so.
    has = instance.__dict__
    state = instance._state
    try:
        values = dict(zip(plan.tracked, plan.values_in(has), strict=True))
    except KeyError:  # Some are deferred.
        values = _values(instance, plan.tracked)
    else:
        for name in plan.fragile:
            values[name] = _kept(values[name])
    state.__dict__["broadcast_known"] = _Known(values, state.db or DEFAULT_DB_ALIAS)


def is_remembered(instance: Model) -> bool:
    """Tell whether anything was remembered of the row."""
    return "broadcast_known" in instance._state.__dict__


def known_values(instance: Model, using: str) -> Mapping[str, object]:
    """Return what is known of the row on the database `using`, by attribute."""
    known = _known(instance, using)
    return {} if known is None else known.values


def changed_names(
    instance: Model, before: Mapping[str, object], only: Collection[str] | None = None
) -> tuple[str, ...]:
    """
    Return the declared names whose values in `instance` are not those of `before`.

    Args:
        instance: As it is stored.
        before: Values by attribute, as `known_values` gives them.
        only: The names of the fields that were written; `None` for all.
    """
    plan = plan_of(type(instance))
    changed = _differing(instance, before, _among(plan.tracked, only))
    if not changed:
        return ()
    made_anew = _recomputed(instance, before, plan.computed)
    return tuple(
        name for name in plan.names if plan.columns.get(name) in changed or name in made_anew
    )


def as_stored(
    instance: M,
    using: str,
    only: Collection[str] | None = None,
    suspects: Collection[str] = (),
) -> M:
    """
    Return `instance`, or a copy of it with what the database has in place of what it has not.

    Args:
        instance: A saved row, or one that is about to be deleted.
        using: The database to read from, where that is needed.
        only: The names of the fields that were written; `None` for all.
        suspects: Attributes whose values the database may have made by itself.
    """
    plan = plan_of(type(instance))
    before = known_values(instance, using)
    written = _among(plan.tracked, only)
    unwritten = {name: plan.tracked[name] for name in plan.tracked if name not in written}
    stored: dict[str, object] = {
        name: before.get(name, _UNKNOWN) for name in _differing(instance, before, unwritten)
    }
    has = vars(instance)
    to_read = [name for name, value in stored.items() if isinstance(value, _Unknown)]
    to_read += [
        name
        for name in written
        if name in has and (name in suspects or hasattr(has[name], "resolve_expression"))
    ]
    if to_read:
        rows = type(instance)._base_manager.using(using).filter(pk=instance.pk)
        stored |= rows.values(*to_read).first() or {}
    return _replaced(instance, stored) if stored else instance


def made_by_database(model: type[Model]) -> tuple[str, ...]:
    """Return the attributes of `model` that an update leaves behind what the database has."""
    if _READS_GENERATED:
        return ()
    return tuple(field.attname for field in model._meta.concrete_fields if field.generated)


# What is known of a row


class _Known:
    """
    Values of a row, as they were at one time.

    Attributes:
        values: The values by attribute, never altered.
        using: The database that has the row.
        before: What was known before a transaction that is not over.
    """

    __slots__ = ("_mark", "before", "using", "values")

    def __init__(self, values: dict[str, object], using: str) -> None:
        self.values = values
        self.using = using
        self.before: _Known | None = None
        self._mark: ReferenceType[_Mark] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Known":
        return self  # A rollback is one for the copy, too.

    def __reduce__(self) -> Any:
        # Another process does not know the transaction.
        return _Known, (self.values, self.using)

    @property
    def counts(self) -> bool:
        """Whether nothing has taken the values back."""
        return self._mark is None or self._mark() is not None

    def hold(self, before: "_Known | None") -> None:
        """Know what was known `before` again if the transaction under way is rolled back."""
        mark = _Mark(self)
        self.before, self._mark = before, ref(mark)
        connections[self.using].on_commit(mark)

    def confirm(self) -> None:
        """Keep the values whatever comes."""
        self.before = self._mark = None


class _Mark:
    """Held by the commit hooks of a transaction and by nobody else."""

    __slots__ = ("__weakref__", "_known")

    def __init__(self, known: _Known) -> None:
        self._known = known

    def __call__(self) -> None:
        self._known.confirm()


def _known(instance: Model, using: str) -> _Known | None:
    known: _Known | None = instance._state.__dict__.get("broadcast_known")
    while known is not None and not known.counts:
        known = known.before
    if known is None or known.using != using or not _is_of(known, instance):
        return None
    return known


def _is_of(known: _Known, instance: Model) -> bool:
    """Tell whether the row has the key that the instance has now."""
    has = vars(instance)
    return all(
        known.values.get(field.attname, _UNKNOWN) == has.get(field.attname)
        for field in instance._meta.pk_fields
    )


def _values(instance: Model, fields: Iterable[str]) -> dict[str, object]:
    has = vars(instance)
    return {
        name: _kept(value) for name in fields if (value := has.get(name, _UNKNOWN)) is not _UNKNOWN
    }


def _kept(value: object) -> object:
    if type(value) in _FIXED:
        return value
    if isinstance(value, FieldFile):
        return value.name or ""
    if hasattr(value, "resolve_expression"):
        return _UNKNOWN
    try:
        return _copied(value)
    except Exception:  # Whatever a class of the project raises.
        return _UNKNOWN


def _copied(value: object) -> object:
    # What JSON is made of takes a third of the time that deepcopy() needs.
    if type(value) in _FIXED:
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
        # What is not there is deferred, and is neither written nor sent from here.
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
    except Exception:  # As the field's class likes; saving was its business.
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
    # As clients would see it: two querysets are never equal.
    try:
        return encode_payload({"": getattr(instance, name)}, f"{type(instance).__name__}.{name}")
    except (BroadcastError, AttributeError, ArithmeticError, LookupError, TypeError, ValueError):
        return object()


def _replaced(instance: M, values: Mapping[str, object]) -> M:
    clone = type(instance).__new__(type(instance))
    has = vars(clone)
    has.update(Model.__getstate__(instance))  # With a state and a cache of its own.
    for name in [name for name in has if _is_cached_property(type(clone), name)]:
        del has[name]
    for field in clone._meta.concrete_fields:
        if field.attname in values and has.get(field.attname) != values[field.attname]:
            has[field.attname] = values[field.attname]
            clone._state.fields_cache.pop(field.name, None)
    return clone


def _is_cached_property(model: type[Model], name: str) -> bool:
    return isinstance(getattr(model, name, None), cached_property | python_cached_property)
