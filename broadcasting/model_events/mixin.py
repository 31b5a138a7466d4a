"""
Models that broadcast: rows that are created, updated and deleted, as events.

1. `BroadcastsModelEvents` connects Django's signals for each class that has it. What a
   save changed is told in `changes`; relations to many are in `relations`.
2. A change becomes a `ModelEvent`, a `ShouldBroadcast` like any other: listeners hear
   it, it is captured at once and sent when the transaction commits.
3. A deletion is captured before the row is gone, while its relations can be read.

Exactly one event tells of a change, of the class of the object that was saved. A row of
several tables is deleted as what it is: the class furthest down.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ContextDecorator
from contextvars import ContextVar
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model, OneToOneRel
from django.db.models.signals import class_prepared, post_save, pre_delete

from ..channel import Channels, PrivateChannel
from ..events.base import ShouldBroadcast
from ..events.dispatch import broadcast, fire
from .changes import (
    as_stored,
    changed_names,
    is_remembered,
    known_values,
    made_by_database,
    remember,
    remember_loaded,
)
from .fields import plan_of

Change = Literal["created", "updated", "deleted"]
F = TypeVar("F", bound=Callable[..., Any])

# How many `without_broadcasting` are around the code that runs. Counted, since one object may
# be entered by several threads or tasks at a time, and no token may be used by another one.
_silences: ContextVar[int] = ContextVar("broadcasting.silences", default=0)

if TYPE_CHECKING:
    _Base = Model
else:  # A plain class: no table, and nothing of a Meta for a model to inherit.
    _Base = object


class BroadcastsModelEvents(_Base):
    """
    Mix into a model whose rows are broadcast when they are created, updated or deleted.

    Write it before ``models.Model`` and declare ``broadcast_fields``: what is sent, and
    the change of which is told. Each method is asked with ``"created"``, ``"updated"`` or
    ``"deleted"``, where the row is saved or deleted; what it raises, `save` raises.
    """

    def broadcast_on(self, event: Change) -> Channels:
        """Return the channel or channels to send to; none to send to nobody."""
        return [PrivateChannel(self)]

    def broadcast_as(self, event: Change) -> str | None:
        """Return the event's name for clients; `None` for one such as ``ThingCreated``."""
        return None

    def broadcast_with(self, event: Change) -> Mapping[str, object] | None:
        """Return the data to send; `None` for the declared fields and the changed names."""
        return None

    def broadcast_when(self, event: Change) -> bool:
        """Tell whether to send at all."""
        return True

    def broadcast_via(self, event: Change) -> str | Sequence[str]:
        """Return the alias or aliases to send through; none for the default connection."""
        return ()

    def broadcast_queue(self, event: Change) -> str | bool | None:
        """Return the queue in which to wait for a worker, as `ShouldBroadcast` does."""
        return None

    def broadcast_debounce(self, event: Change) -> float:
        """Return the seconds for which a newer event of the row may take this one's place."""
        return 0

    def broadcast_to_others(self, event: Change) -> bool:
        """Tell whether the page whose request made the change is left out."""
        return False

    @property
    def broadcast_changed(self) -> tuple[str, ...]:
        """The declared names that the update under way has changed; for the methods above."""
        changed: tuple[str, ...] = self._state.__dict__.get("broadcast_changed", ())
        return changed

    def broadcast_created(self) -> None:
        """Tell of the row as if it had been created just now."""
        _tell_by_hand(self, "created")

    def broadcast_updated(self, fields: Collection[str] | None = None) -> None:
        """Tell of the row as if `fields` had been updated just now; all that are declared."""
        if isinstance(fields, str):
            raise TypeError(f"broadcast_updated() takes a list of names. Write [{fields!r}].")
        changed = plan_of(type(self)).names if fields is None else tuple(fields)
        _tell_by_hand(self, "updated", changed)

    def broadcast_deleted(self) -> None:
        """Tell of the row as if it were deleted just now. It must still have its key."""
        _tell_by_hand(self, "deleted")

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        """Make an instance of a row, and remember what it was."""
        instance: Self = super().from_db(*args, **kwargs)
        remember_loaded(instance)
        return instance

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        """Read the row again, and remember what was read."""
        super().refresh_from_db(*args, **kwargs)
        fields = kwargs.get("fields", args[1] if len(args) > 1 else None)
        if is_remembered(self):
            remember(self, self._state.db or DEFAULT_DB_ALIAS, fields)


# Where a migration names it as a base of a model, it names what stays.
BroadcastsModelEvents.__module__ = "broadcasting"


class ModelEvent(ShouldBroadcast):
    """
    A row of a model that broadcasts was created, updated or deleted.

    Attributes:
        instance: The row as it is stored; as it was, if it is being deleted.
        event: ``"created"``, ``"updated"`` or ``"deleted"``.
        changed: The declared names that an update has changed.
    """

    def __init__(
        self, instance: BroadcastsModelEvents, event: Change, changed: Sequence[str] = ()
    ) -> None:
        self.instance = instance
        self.event = event
        self.changed = tuple(changed)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.broadcast_as()} {self.instance.pk}>"

    def broadcast_on(self) -> Channels:
        """Return the channels that the model says."""
        channels: Channels = self._ask("broadcast_on")
        return channels

    def broadcast_as(self) -> str:
        """Return the name that the model says, or one such as ``ThingCreated``."""
        return self._ask("broadcast_as") or f"{type(self.instance).__name__}{self.event.title()}"

    def broadcast_with(self) -> Mapping[str, object]:
        """Return the data that the model says, or the row and what has changed of it."""
        data: Mapping[str, object] | None = self._ask("broadcast_with")
        if data is not None:
            return data
        if self.event == "updated":
            return {"model": self.instance, "changed": self.changed}
        return {"model": self.instance}

    def broadcast_when(self) -> bool:
        """Tell whether the model wants it sent."""
        return bool(self._ask("broadcast_when"))

    def broadcast_via(self) -> str | Sequence[str]:
        """Return the connections that the model says."""
        aliases: str | Sequence[str] = self._ask("broadcast_via")
        return aliases

    def broadcast_queue(self) -> str | bool | None:
        """Return the queue that the model says."""
        queue: str | bool | None = self._ask("broadcast_queue")
        return queue

    def broadcast_debounce(self) -> float:
        """Return the seconds that the model says."""
        seconds: float = self._ask("broadcast_debounce")
        return seconds

    def broadcast_debounce_id(self) -> object:
        """Return what only events of this row have in common."""
        return f"{self.instance._meta.label}.{self.instance.pk}"

    def broadcast_to_others(self) -> bool:
        """Tell whether the page whose request made the change is left out."""
        return bool(self._ask("broadcast_to_others"))

    def _ask(self, name: str) -> Any:
        state = self.instance._state.__dict__
        state["broadcast_changed"] = self.changed
        try:
            return getattr(self.instance, name)(self.event)
        finally:
            del state["broadcast_changed"]


class without_broadcasting(ContextDecorator):
    """
    Keep models silent: a context manager, and a decorator of sync and async functions.

    Holds for the code inside and what it calls, also in async code and in the threads
    that Django runs for it; not for threads of your own, nor for events that are fired
    otherwise. What changes meanwhile is not told later.
    """

    def __enter__(self) -> Self:
        _silences.set(_silences.get() + 1)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _silences.set(max(0, _silences.get() - 1))

    def __call__(self, func: F) -> F:
        """Return `func`, which is silent while it runs."""
        if not inspect.iscoroutinefunction(func):
            return super().__call__(func)

        @wraps(func)
        async def silent(*args: Any, **kwargs: Any) -> Any:
            with without_broadcasting():
                return await func(*args, **kwargs)

        return silent  # type: ignore[return-value]  # of the same signature


def is_muted() -> bool:
    """Tell whether models are silent here."""
    return _silences.get() > 0


def is_raw(instance: Model) -> bool:
    """Tell whether `instance` comes from a fixture; its relations are set after it is saved."""
    return "broadcast_raw" in instance._state.__dict__


def tell(instance: Model, event: Change, using: str, changed: Sequence[str] = ()) -> None:
    """Fire the event of a change that has been made on the database `using`."""
    if isinstance(instance, BroadcastsModelEvents) and not is_muted():
        told = ModelEvent(instance, event, changed)
        # Not broadcast(), which refuses to run in an event loop: where that was allowed to
        # write to the database, as in notebooks, it may send, too.
        fire(told, told.broadcast_to_others(), using=using)


def _tell_by_hand(
    instance: BroadcastsModelEvents, event: Change, changed: Sequence[str] = ()
) -> None:
    if not is_muted():
        told = ModelEvent(instance, event, changed)
        broadcast(told, to_others=told.broadcast_to_others(), using=instance._state.db)


# Django's signals


def _connect(sender: type[Model], **kwargs: Any) -> None:
    # The models that migrations make have the bases of ours, and are not ours.
    if issubclass(sender, BroadcastsModelEvents) and sender.__module__ != "__fake__":
        post_save.connect(_saved, sender=sender)
        pre_delete.connect(_deleting, sender=sender)


def _saved(
    sender: type[Model],
    instance: Model,
    created: bool,
    raw: bool,
    using: str,
    update_fields: Collection[str] | None,
    **kwargs: Any,
) -> None:
    if raw:  # A fixture, whose other rows may not be there yet.
        instance._state.__dict__["broadcast_raw"] = True
        return
    instance._state.__dict__.pop("broadcast_raw", None)
    suspects = () if created else made_by_database(sender)
    row = as_stored(instance, using, update_fields, suspects)
    changed = changed_names(row, known_values(instance, using), update_fields)
    remember(instance, using, update_fields, row)
    if created:
        tell(row, "created", using)
    elif changed:
        tell(row, "updated", using, changed)


def _deleting(sender: type[Model], instance: Model, using: str, **kwargs: Any) -> None:
    if is_muted() or _is_told_below(sender, instance, using):
        return
    row: Model | None = instance
    if instance._state.adding:  # Made with the key of a row, in order to delete that.
        row = sender._base_manager.using(using).filter(pk=instance.pk).first()
    if row is not None:
        tell(as_stored(row, using, only=()), "deleted", using)


def _is_told_below(sender: type[Model], instance: Model, using: str) -> bool:
    """Tell whether the row is part of one of a class further down, which goes with it."""
    return any(
        link.is_cached(instance) or below._base_manager.using(using).filter(pk=instance.pk).exists()
        for link, below in _links_below(sender)
    )


def _links_below(model: type[Model]) -> Iterator[tuple[OneToOneRel, type[Model]]]:
    for relation in model._meta.get_fields(include_hidden=True):
        if isinstance(relation, OneToOneRel) and relation.parent_link:
            yield relation, relation.related_model


class_prepared.connect(_connect)
