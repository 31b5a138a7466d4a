"""What the declared names of a model stand for: columns, relations or properties."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Field, Model
from django.db.models.fields.related_descriptors import (
    ManyToManyDescriptor,
    ReverseManyToOneDescriptor,
    ReverseOneToOneDescriptor,
)

from ..events.payload import declaration_of, declared_names


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
    """

    names: tuple[str, ...]
    columns: Mapping[str, str]
    computed: tuple[str, ...]
    many: tuple[str, ...]
    tracked: "Mapping[str, Field[Any, Any]]"


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
    return FieldSpec(names, columns, tuple(computed), tuple(many), tracked)
