"""
Changes of declared many-to-many relations, as updates of the rows on both sides.

Django tells of them by signals of the table in between. What is about to be removed is
looked up before, since the signal names what was asked for and not what was there. The
rows on the far side are read, in batches, if their model broadcasts and declares the
relation.
"""

from collections.abc import Collection, Iterator
from typing import Any

from django.apps import apps
from django.db.models import ForeignKey, ManyToManyField, Model
from django.db.models.fields.related_descriptors import ManyToManyDescriptor
from django.db.models.signals import m2m_changed

from .changes import as_stored, plan_of
from .models import BroadcastsModelEvents, is_muted, is_raw, tell
from .payload import declaration_of

BATCH = 500  # Rows read at once.


def connect_relations() -> None:
    """Connect the relations that models declare, once all of them are loaded."""
    for model in apps.get_models():
        if issubclass(model, BroadcastsModelEvents) and declaration_of(model) is not None:
            plan_of(model)


def connect_many(model: type[Model], names: Collection[str]) -> None:
    """Connect the many-to-many relations `names` of `model`; it may be done before."""
    for name in names:
        m2m_changed.connect(_changed, sender=getattr(model, name).through)


def _changed(
    sender: type[Model],
    instance: Model,
    action: str,
    reverse: bool,
    model: type[Model],
    pk_set: Collection[Any] | None,
    using: str,
    **kwargs: Any,
) -> None:
    near = _declared(type(instance), sender, reverse)
    far = _declared(model, sender, not reverse) or _symmetrical(model, sender)
    if not (near or far) or is_muted() or is_raw(instance):
        return
    field: ManyToManyField[Any, Any] = (near or far)[0][1].field
    here, there = _keys(field, sender, reverse)
    waiting: dict[Any, list[Any]] = instance._state.__dict__.setdefault("broadcast_many", {})
    if action in {"pre_remove", "pre_clear"}:
        rows = sender._base_manager.using(using).filter(
            **{here.attname: here.get_foreign_related_value(instance)[0]}
        )
        if pk_set is not None:
            rows = rows.filter(**{f"{there.attname}__in": pk_set})
        waiting[sender] = list(rows.values_list(there.attname, flat=True))
    elif action.startswith("post_"):
        keys = waiting.pop(sender, []) if action != "post_add" else list(pk_set or ())
        if keys and near:
            row = as_stored(instance, using, only=())
            tell(row, "updated", using, [name for name, _ in near])
        if keys and far:
            names = [name for name, _ in far]
            for row in _rows(model, there.target_field.attname, keys, using):
                tell(row, "updated", using, names)


Declared = list[tuple[str, "ManyToManyDescriptor[Any, Any]"]]


def _declared(model: type[Model], through: type[Model], reverse: bool) -> Declared:
    if not issubclass(model, BroadcastsModelEvents):
        return []
    pairs = [(name, getattr(model, name)) for name in plan_of(model).many]
    return [
        (name, descriptor)
        for name, descriptor in pairs
        if descriptor.through is through and descriptor.reverse == reverse
    ]


def _symmetrical(model: type[Model], through: type[Model]) -> Declared:
    # Both rows have such a relation under one name.
    pairs = _declared(model, through, reverse=False)
    return [pair for pair in pairs if pair[1].rel.symmetrical]


def _keys(
    field: "ManyToManyField[Any, Any]", through: type[Model], reverse: bool
) -> "tuple[ForeignKey[Any, Any], ForeignKey[Any, Any]]":
    """Return the foreign keys to the row at hand, and to those on the far side."""
    names = [field.m2m_field_name(), field.m2m_reverse_field_name()]
    here, there = (through._meta.get_field(name) for name in names)
    return (there, here) if reverse else (here, there)  # type: ignore[return-value]  # they are


def _rows(model: type[Model], attname: str, keys: list[Any], using: str) -> Iterator[Model]:
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        yield from model._base_manager.using(using).filter(**{f"{attname}__in": batch})
