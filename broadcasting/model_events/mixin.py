"""
Models that broadcast when their rows are created, updated or deleted.

1. Signals of Django report what happens to rows of a class with `BroadcastsModelEvents`.
   `changes` finds out which fields an update changed; `relations` watches relations to many.
2. A change fires a `ModelEvent`, a `ShouldBroadcast` like any other: listeners are called,
   it is prepared at once and sent when the transaction commits.
3. A deletion fires before the row is deleted, while its relations can still be read.

One change fires one event, of the class of the object that was saved. The deletion of a row
of several tables fires that of the most derived class.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ContextDecorator
from contextvars import ContextVar
from functools import partialmethod, wraps
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
    generated_attributes,
    is_remembered,
    known_values,
    remember,
    remember_loaded,
)
from .fields import spec_of

Change = Literal["created", "updated", "deleted"]
F = TypeVar("F", bound=Callable[..., Any])

# How many `without_broadcasting` the running code is inside of. A number and no token, since
# several threads or tasks may enter one object at a time.
_muted: ContextVar[int] = ContextVar("broadcasting.muted", default=0)

if TYPE_CHECKING:
    _Base = Model
else:  # A plain class has neither a table nor a Meta that a model would inherit.
    _Base = object


class BroadcastsModelEvents(_Base):
    """
    Mixin of models whose rows are broadcast when they are created, updated or deleted.

    Write it before ``models.Model``. Declare ``broadcast_fields``: they are sent, and a change
    of one of them is broadcast. Each method is called with ``"created"``, ``"updated"`` or
    ``"deleted"`` when the row is saved or deleted, and an exception that it raises is raised by
    `save` or `delete`.
    """

    def broadcast_on(self, event: Change) -> Channels:
        """Return the channel or channels to send to. An empty list sends to nobody."""
        return [PrivateChannel(self)]

    def broadcast_as(self, event: Change) -> str | None:
        """Return the event's name for clients; `None` for one such as ``ThingCreated``."""
        return None

    def broadcast_with(self, event: Change) -> Mapping[str, object] | None:
        """Return the data to send; `None` for the declared fields and the changed names."""
        return None

    def broadcast_when(self, event: Change) -> bool:
        """Return whether to send the event at all."""
        return True

    def broadcast_via(self, event: Change) -> str | Sequence[str]:
        """Return the alias or aliases to send through. Empty means the default connection."""
        return ()

    def broadcast_queue(self, event: Change) -> str | bool | None:
        """Return the queue in which the event waits, as `ShouldBroadcast` does."""
        return None

    def broadcast_debounce(self, event: Change) -> float:
        """Return for how many seconds newer events of the row replace this one."""
        return 0

    def broadcast_to_others(self, event: Change) -> bool:
        """Return whether to leave out the page whose request made the change."""
        return False

    @property
    def broadcast_changed(self) -> tuple[str, ...]:
        """The declared names that the current update changed; for use in the methods above."""
        changed: tuple[str, ...] = self._state.__dict__.get("broadcast_changed", ())
        return changed

    def broadcast_created(self) -> None:
        """Broadcast the row as if it had just been created."""
        _broadcast_by_hand(self, "created")

    def broadcast_updated(self, fields: Collection[str] | None = None) -> None:
        """Broadcast the row as if `fields`, by default all declared ones, had just changed."""
        if isinstance(fields, str):
            raise TypeError(f"broadcast_updated() takes a list of names. Write [{fields!r}].")
        changed = spec_of(type(self)).names if fields is None else tuple(fields)
        _broadcast_by_hand(self, "updated", changed)

    def broadcast_deleted(self) -> None:
        """Broadcast the row as if it were just being deleted. It must still have its key."""
        _broadcast_by_hand(self, "deleted")

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        """Make an instance of a row and remember its values."""
        instance: Self = super().from_db(*args, **kwargs)
        remember_loaded(instance)
        return instance

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        """Read the row again and remember what was read."""
        super().refresh_from_db(*args, **kwargs)
        fields = kwargs.get("fields", args[1] if len(args) > 1 else None)
        if is_remembered(self):
            remember(self, self._state.db or DEFAULT_DB_ALIAS, fields)


# Migrations name it among the bases of a model: by its public path.
BroadcastsModelEvents.__module__ = "broadcasting"


class ModelEvent(ShouldBroadcast):
    """
    The event that a row of a model was created, updated or deleted.

    How it is sent, the methods of the model say.

    Attributes:
        instance: The row as it is stored; before its deletion if it is being deleted.
        event: ``"created"``, ``"updated"`` or ``"deleted"``.
        changed: The declared names that an update changed.
    """

    def __init__(
        self, instance: BroadcastsModelEvents, event: Change, changed: Sequence[str] = ()
    ) -> None:
        self.instance = instance
        self.event = event
        self.changed = tuple(changed)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.broadcast_as()} {self.instance.pk}>"

    def _ask(self, name: str) -> Any:
        state = self.instance._state.__dict__
        state["broadcast_changed"] = self.changed
        try:
            return getattr(self.instance, name)(self.event)
        finally:
            del state["broadcast_changed"]

    broadcast_on: Any = partialmethod(_ask, "broadcast_on")
    broadcast_when: Any = partialmethod(_ask, "broadcast_when")
    broadcast_via: Any = partialmethod(_ask, "broadcast_via")
    broadcast_queue: Any = partialmethod(_ask, "broadcast_queue")
    broadcast_debounce: Any = partialmethod(_ask, "broadcast_debounce")
    broadcast_to_others: Any = partialmethod(_ask, "broadcast_to_others")

    def broadcast_as(self) -> str:
        """Return the name that the model gives, or one such as ``ThingCreated``."""
        return self._ask("broadcast_as") or f"{type(self.instance).__name__}{self.event.title()}"

    def broadcast_with(self) -> Mapping[str, object]:
        """Return the data that the model gives, or the row and the names that changed."""
        data: Mapping[str, object] | None = self._ask("broadcast_with")
        if data is not None:
            return data
        if self.event == "updated":
            return {"model": self.instance, "changed": self.changed}
        return {"model": self.instance}

    def broadcast_debounce_id(self) -> object:
        """Return what events of one row have in common."""
        return f"{self.instance._meta.label}.{self.instance.pk}"


class without_broadcasting(ContextDecorator):
    """
    Switch model events off: a context manager, and a decorator of sync and async functions.

    It holds for the code inside and what it calls, also in async code and in the threads
    that Django runs for it, but not in threads of your own. Other events are fired as ever.
    What changes meanwhile is not broadcast later.
    """

    def __enter__(self) -> Self:
        _muted.set(_muted.get() + 1)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _muted.set(max(0, _muted.get() - 1))

    def __call__(self, func: F) -> F:
        """Return `func` with model events switched off while it runs."""
        if not inspect.iscoroutinefunction(func):
            return super().__call__(func)

        @wraps(func)
        async def muted(*args: Any, **kwargs: Any) -> Any:
            with without_broadcasting():
                return await func(*args, **kwargs)

        return muted  # type: ignore[return-value]  # of the same signature


def is_muted() -> bool:
    """Whether model events are switched off here."""
    return _muted.get() > 0


def is_raw(instance: Model) -> bool:
    """Whether `instance` comes from a fixture, whose relations are set after it is saved."""
    return "broadcast_raw" in instance._state.__dict__


def fire_model_event(
    instance: Model, event: Change, using: str, changed: Sequence[str] = ()
) -> None:
    """Fire the event of a change that was made on the database `using`, unless muted."""
    if isinstance(instance, BroadcastsModelEvents) and not is_muted():
        fired = ModelEvent(instance, event, changed)
        # broadcast() would refuse to run in an event loop, as in a notebook. Whoever may write
        # to the database there may also send.
        fire(fired, fired.broadcast_to_others(), using=using)


def _broadcast_by_hand(
    instance: BroadcastsModelEvents, event: Change, changed: Sequence[str] = ()
) -> None:
    if not is_muted():
        fired = ModelEvent(instance, event, changed)
        broadcast(fired, to_others=fired.broadcast_to_others(), using=instance._state.db)


# Django's signals


def _connect(sender: type[Model], **kwargs: Any) -> None:
    # The models that migrations make have the same bases and do not broadcast.
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
    if raw:  # A fixture: rows that this one refers to may be missing yet.
        instance._state.__dict__["broadcast_raw"] = True
        return
    instance._state.__dict__.pop("broadcast_raw", None)
    generated = () if created else generated_attributes(sender)
    row = as_stored(instance, using, update_fields, generated)
    changed = changed_names(row, known_values(instance, using), update_fields)
    remember(instance, using, update_fields, row)
    if created:
        fire_model_event(row, "created", using)
    elif changed:
        fire_model_event(row, "updated", using, changed)


def _deleting(sender: type[Model], instance: Model, using: str, **kwargs: Any) -> None:
    if is_muted() or _has_derived_row(sender, instance, using):
        return
    row: Model | None = instance
    if instance._state.adding:  # Made from nothing but the key of the row to delete.
        row = sender._base_manager.using(using).filter(pk=instance.pk).first()
    if row is not None:
        fire_model_event(as_stored(row, using, only=()), "deleted", using)


def _has_derived_row(sender: type[Model], instance: Model, using: str) -> bool:
    """Whether a row of a derived class is deleted with `instance`, and fires the event."""
    return any(
        link.is_cached(instance)
        or link.related_model._base_manager.using(using).filter(pk=instance.pk).exists()
        for link in sender._meta.get_fields(include_hidden=True)
        if isinstance(link, OneToOneRel) and link.parent_link
    )


class_prepared.connect(_connect)
