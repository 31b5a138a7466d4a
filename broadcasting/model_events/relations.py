"""
Changes of declared many-to-many relations, as updates of the rows on both sides.

Signals of the table in between report such changes. What is removed is looked up before,
since the signal names what was asked for and not what was there. The rows on the far side
are read, in batches, if their model broadcasts and declares the relation.

One call is one change, though Django signals its parts: ``set()`` removes and adds, and a
symmetrical relation gets its second row after the signal. So the methods of the relation's
managers collect the parts and fire the events when they are done.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from django.apps import apps
from django.db.models import ForeignKey, ManyToManyField, ManyToManyRel, Model
from django.db.models.fields.related_descriptors import ManyToManyDescriptor
from django.db.models.signals import class_prepared, m2m_changed

from ..events.payload import declaration_of
from .changes import as_stored
from .fields import spec_of
from .mixin import BroadcastsModelEvents, fire_model_event, is_muted, is_raw

BATCH = 500  # Rows read at once.


def connect_relations() -> None:
    """
    Watch the many-to-many relations of all models that broadcast, and of those made later.

    Whether a relation is declared is looked up when it changes: ``ready()`` of a later app
    may declare it.
    """
    for model in apps.get_models():
        _watch(model)
    class_prepared.connect(_watch_when_registered)


def _watch_when_registered(sender: type[Model], **kwargs: Any) -> None:
    # Both sides of its relations are there once it is registered, which follows.
    options = sender._meta
    options.apps.lazy_model_operation(_watch, (options.app_label, str(options.model_name)))


def _watch(model: type[Model]) -> None:
    if not issubclass(model, BroadcastsModelEvents) or model.__module__ == "__fake__":
        return
    for relation in model._meta.get_fields(include_hidden=True):
        own = relation.field if isinstance(relation, ManyToManyRel) else relation
        # A model that does not exist is a name still; a check of Django reports it.
        if isinstance(own, ManyToManyField) and not isinstance(own.remote_field.model, str):
            for side in _both_sides(own):
                # More than once does no harm.
                m2m_changed.connect(_changed, sender=side.through)
                if not issubclass(side.related_manager_cls, _Collecting):
                    side.related_manager_cls = _collecting(side.related_manager_cls)


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
    relation: ManyToManyField[Any, Any] = (near or far)[0][1].field
    here, there = _keys(relation, sender, reverse)
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
        if keys:
            names = ([name for name, _ in near], [name for name, _ in far])
            _collect(
                RelationChange(
                    instance, *names, model, there.target_field.attname, using, dict.fromkeys(keys)
                )
            )


@dataclass(slots=True)
class RelationChange:
    """
    The rows that one row was related to, or ceased to be, by one relation.

    Attributes:
        instance: The row on the near side, whose manager was called.
        near: The names of the relation that its model declares.
        far: The names that `model` declares.
        model: The model on the far side.
        attname: Its attribute that holds `keys`.
        using: The database.
        keys: Those of the rows on the far side, each once.
    """

    instance: Model
    near: list[str]
    far: list[str]
    model: type[Model]
    attname: str
    using: str
    keys: dict[Any, None] = field(default_factory=dict)

    def is_part_of(self, other: "RelationChange") -> bool:
        """Whether both are of one object and one relation, seen from one side."""
        mine, its = (self.near, self.far, self.model), (other.near, other.far, other.model)
        return self.instance is other.instance and mine == its

    def fire(self) -> None:
        """Fire an update of each row whose model declares the relation."""
        if self.near:
            row = as_stored(self.instance, self.using, only=())
            fire_model_event(row, "updated", self.using, self.near)
        if self.far:
            for row in _rows(self.model, self.attname, list(self.keys), self.using):
                fire_model_event(row, "updated", self.using, self.far)


_collected: ContextVar[list[RelationChange] | None] = ContextVar(
    "broadcasting.relations", default=None
)


def _collect(change: RelationChange) -> None:
    changes = _collected.get()
    if changes is None:
        change.fire()
        return
    for earlier in changes:
        if change.is_part_of(earlier):
            earlier.keys |= change.keys
            return
    changes.append(change)


@contextmanager
def _collecting_changes() -> Iterator[None]:
    if _collected.get() is not None:
        yield
        return
    changes: list[RelationChange] = []
    token = _collected.set(changes)
    try:
        yield
    finally:
        _collected.reset(token)
    for change in changes:
        change.fire()


class _Collecting:
    """Marks a manager whose methods have been wrapped."""


def _collecting(manager: type) -> type:
    methods = {name: _wrapped(getattr(manager, name)) for name in ("add", "remove", "clear", "set")}
    return type(manager.__name__, (_Collecting, manager), methods)


def _wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def collected(*args: Any, **kwargs: Any) -> Any:
        with _collecting_changes():
            return method(*args, **kwargs)

    return collected


def _both_sides(
    relation: "ManyToManyField[Any, Any]",
) -> "Iterator[ManyToManyDescriptor[Any, Any]]":
    yield getattr(relation.model, relation.name)
    if not relation.remote_field.hidden:
        name = relation.remote_field.get_accessor_name()
        yield getattr(relation.remote_field.model, str(name))


Declared = list[tuple[str, "ManyToManyDescriptor[Any, Any]"]]


def _declared(model: type[Model], through: type[Model], reverse: bool) -> Declared:
    """Return the declared names of `model` for one side of a relation, with what they name."""
    if not issubclass(model, BroadcastsModelEvents) or declaration_of(model) is None:
        return []
    pairs = [(name, getattr(model, name)) for name in spec_of(model).many]
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
    relation: "ManyToManyField[Any, Any]", through: type[Model], reverse: bool
) -> "tuple[ForeignKey[Any, Any], ForeignKey[Any, Any]]":
    """Return the foreign keys to the near side and to the far side."""
    names = [relation.m2m_field_name(), relation.m2m_reverse_field_name()]
    here, there = (through._meta.get_field(name) for name in names)
    return (there, here) if reverse else (here, there)  # type: ignore[return-value]  # they are


def _rows(model: type[Model], attname: str, keys: list[Any], using: str) -> Iterator[Model]:
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        yield from model._base_manager.using(using).filter(**{f"{attname}__in": batch})
