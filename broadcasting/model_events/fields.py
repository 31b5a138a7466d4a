"""What the declared names of a model stand for: columns, relations, or what is made of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

from django.db import models
from django.db.models import Field, ForeignKey, Model
from django.db.models.fields.related_descriptors import (
    ManyToManyDescriptor,
    ReverseManyToOneDescriptor,
    ReverseOneToOneDescriptor,
)
from django.dispatch import Signal

from ..events.payload import declaration_of, declared_names

# A plan was made, for the first time or since the model declares other names. `sender` is
# the model. Argument: plan.
plan_made = Signal()

# Fields whose values are never altered in place; a class derived from one may do as it likes.
_PLAIN: Final = frozenset(
    {
        *(models.AutoField, models.BigAutoField, models.SmallAutoField, models.BooleanField),
        *(models.IntegerField, models.BigIntegerField, models.SmallIntegerField),
        *(models.PositiveIntegerField, models.PositiveBigIntegerField),
        *(models.PositiveSmallIntegerField, models.FloatField, models.DecimalField),
        *(models.CharField, models.TextField, models.EmailField, models.SlugField),
        *(models.URLField, models.UUIDField, models.GenericIPAddressField),
        *(models.DateField, models.DateTimeField, models.TimeField, models.DurationField),
    }
)


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What the declared names of a model stand for.

    Attributes:
        names: All of them, in order.
        columns: Those that are a column, to the attribute that holds its value.
        computed: Those that are made of columns, such as properties.
        many: Many-to-many relations, both directions.
        tracked: The columns to remember, by attribute.
        fragile: Those whose values may be altered in place.
        values_in: Gives their values in the dictionary of an instance, in order.
    """

    names: tuple[str, ...]
    columns: Mapping[str, str]
    computed: tuple[str, ...]
    many: tuple[str, ...]
    tracked: "Mapping[str, Field[Any, Any]]"
    fragile: tuple[str, ...]
    values_in: Callable[[Mapping[str, object]], tuple[object, ...]]


def plan_of(model: type[Model]) -> Plan:
    """
    Return the plan of `model`, made on first use.

    Raises:
        UndeclaredModel: The model does not declare what may be sent.
        ImproperlyConfigured: What it declares is not a list of names.
    """
    names = declared_names(model, f"An instance of {model.__name__}")
    plan: Plan | None = model.__dict__.get("_broadcast_plan")
    if plan is None or plan.names != names:
        plan = _planned(model, names)
        plan_made.send(model, plan=plan)
        model._broadcast_plan = plan  # type: ignore[attr-defined]  # kept with the class
    return plan


def plan_if_declared(model: type[Model]) -> Plan | None:
    """Return `plan_of`, `None` for a model that declares nothing. For each row that is read."""
    plan: Plan | None = model.__dict__.get("_broadcast_plan")
    # What migrations make of a model has its bases and does not broadcast.
    if plan is None and model.__module__ != "__fake__" and declaration_of(model) is not None:
        plan = plan_of(model)
    return plan


def _planned(model: type[Model], names: tuple[str, ...]) -> Plan:
    fields = {field.attname: field for field in model._meta.concrete_fields}
    by_name = {field.name: field.attname for field in fields.values()}
    columns: dict[str, str] = {}
    computed, many = [], []
    for name in names:
        descriptor = getattr(model, name, None)
        attname = by_name.get(name, name)
        if name == "pk" and model._meta.pk is not None:
            attname = model._meta.pk.attname
        if attname in fields:
            columns[name] = attname
        elif isinstance(descriptor, ManyToManyDescriptor):
            many.append(name)
        elif not isinstance(descriptor, ReverseManyToOneDescriptor | ReverseOneToOneDescriptor):
            computed.append(name)
    keys = [field.attname for field in model._meta.pk_fields]
    tracked = fields if computed else {name: fields[name] for name in [*keys, *columns.values()]}
    fragile = tuple(name for name, field in tracked.items() if not _is_plain(field))
    values_in: Callable[[Mapping[str, object]], tuple[object, ...]] = itemgetter(*tracked)
    if len(tracked) == 1:
        (only,) = tracked
        values_in = lambda has: (has[only],)  # noqa: E731  # itemgetter gives no tuple of one.
    return Plan(names, columns, tuple(computed), tuple(many), tracked, fragile, values_in)


def _is_plain(field: "Field[Any, Any]") -> bool:
    """Tell whether the field is one of Django's own whose values are never altered in place."""
    while isinstance(field, ForeignKey):
        field = field.target_field
    return type(field) in _PLAIN
