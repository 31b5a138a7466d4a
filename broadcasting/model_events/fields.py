"""What the declared names of a model stand for: columns, relations or properties."""

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

from ..events.payload import declaration_of, declared_names

# Fields whose values cannot be altered in place. Those of a subclass may be.
_IMMUTABLE: Final = frozenset(
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
class FieldSpec:
    """
    What the declared names of a model stand for.

    Attributes:
        names: All of them, in order.
        columns: Names of columns, to the attribute that holds the value.
        computed: Names of what is made of columns, such as properties.
        many: Names of many-to-many relations, in both directions.
        tracked: The columns whose values are remembered, by attribute. These are all
            columns if anything is computed.
        mutable: Attributes of `tracked` whose values may be altered in place.
        values_in: Returns the values of `tracked` in the dictionary of an instance.
    """

    names: tuple[str, ...]
    columns: Mapping[str, str]
    computed: tuple[str, ...]
    many: tuple[str, ...]
    tracked: "Mapping[str, Field[Any, Any]]"
    mutable: tuple[str, ...]
    values_in: Callable[[Mapping[str, object]], tuple[object, ...]]


def spec_of(model: type[Model]) -> FieldSpec:
    """
    Return the spec of `model`, made on first use and when the model declares other names.

    Raises:
        UndeclaredModel: The model does not declare what may be sent.
        ImproperlyConfigured: What it declares is not a list of names.
    """
    names = declared_names(model, f"An instance of {model.__name__}")
    spec: FieldSpec | None = model.__dict__.get("_broadcast_spec")
    if spec is None or spec.names != names:
        spec = _make_spec(model, names)
        model._broadcast_spec = spec  # type: ignore[attr-defined]  # kept with the class
    return spec


def spec_if_declared(model: type[Model]) -> FieldSpec | None:
    """Return the spec of `model`, `None` if it declares nothing. Fast: called for each row."""
    spec: FieldSpec | None = model.__dict__.get("_broadcast_spec")
    # The models that migrations make have the same bases and do not broadcast.
    if spec is None and model.__module__ != "__fake__" and declaration_of(model) is not None:
        spec = spec_of(model)
    return spec


def _make_spec(model: type[Model], names: tuple[str, ...]) -> FieldSpec:
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
    mutable = tuple(name for name, field in tracked.items() if not _is_immutable(field))
    values_in: Callable[[Mapping[str, object]], tuple[object, ...]] = itemgetter(*tracked)
    if len(tracked) == 1:
        (only,) = tracked
        values_in = lambda has: (has[only],)  # noqa: E731  # itemgetter returns no tuple of one.
    return FieldSpec(names, columns, tuple(computed), tuple(many), tracked, mutable, values_in)


def _is_immutable(field: "Field[Any, Any]") -> bool:
    while isinstance(field, ForeignKey):
        field = field.target_field
    return type(field) in _IMMUTABLE
