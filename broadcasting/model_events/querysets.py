"""Updates and insertions of many rows at once, which no signal of Django reports."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, Self, TypeVar

from django.core.exceptions import FieldDoesNotExist
from django.db import NotSupportedError, connections, transaction
from django.db.models import Model, Q, QuerySet

from .changes import changed_names, generated_attributes, remember
from .fields import spec_of
from .mixin import BroadcastsModelEvents, fire_model_event, is_muted

M = TypeVar("M", bound=Model)

BATCH = 500  # Rows read by one query.
CONDITIONS = 100  # Of one query for several columns; SQLite allows few more.


class BroadcastsQuerySet(QuerySet[M, M]):
    """
    A queryset that can broadcast changes of many rows at once.

    Write ``objects = BroadcastsQuerySet.as_manager()`` in a model with
    `BroadcastsModelEvents`, and call `with_broadcasting` where changes are to be broadcast.
    """

    _broadcasts = False

    def with_broadcasting(self) -> Self:
        """
        Return a queryset whose ``update``, ``bulk_create`` and ``bulk_update`` broadcast.

        Each changed row fires an event of its own. The rows are read before and after the
        change, in one transaction with it: this is for hundreds of rows, not for millions.

        Raises:
            TypeError: The model does not broadcast.
        """
        if not issubclass(self.model, BroadcastsModelEvents):
            raise TypeError(
                f"{self.model._meta.label} does not broadcast. Write BroadcastsModelEvents "
                f"before models.Model among its bases."
            )
        clone = self.all()
        clone._broadcasts = True
        return clone

    def update(self, **kwargs: Any) -> int:
        """Update as Django does. Broadcast each row whose declared fields changed."""
        columns = self._columns(kwargs) if self._broadcasts and not is_muted() else set()
        if not columns:
            return super().update(**kwargs)
        self._for_write = True
        with transaction.atomic(using=self.db, savepoint=False):
            before = {row["pk"]: row for row in self.order_by().values("pk", *columns)}
            count = super().update(**kwargs)
            for row in self._stored(list(before)):
                self._fire_updated(row, before[row.pk], columns)
        return count

    def bulk_create(
        self,
        objs: Iterable[M],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[M]:
        """
        Insert as Django does. Broadcast each row that was created or updated.

        Raises:
            NotSupportedError: It cannot be found out what happens to each object. Objects
                have no key and the database does not return it, or conflicts are ignored;
                or conflicts are updated without `unique_fields`.
        """
        objs = list(objs)
        options = (batch_size, ignore_conflicts, update_conflicts, update_fields, unique_fields)
        if not self._broadcasts or is_muted():
            return super().bulk_create(objs, *options)
        self._for_write = True
        with transaction.atomic(using=self.db, savepoint=False):
            if update_conflicts:
                return self._merge(objs, options, update_fields or (), unique_fields or ())
            existing = self._existing(objs, ignore_conflicts)
            created = super().bulk_create(objs, *options)
            by_key = {self._key(obj): obj for obj in objs}
            for row in self._stored([key for key in by_key if key not in existing]):
                remember(by_key[row.pk], self.db, row=row)
                fire_model_event(row, "created", self.db)
        return created

    def bulk_update(
        self, objs: Iterable[M], fields: Iterable[str], batch_size: int | None = None
    ) -> int:
        """Update as Django does. Broadcast each row whose declared fields changed."""
        objs, fields = tuple(objs), tuple(fields)
        count = super().bulk_update(objs, fields, batch_size)  # It calls update().
        if self._broadcasts:
            for obj in objs:
                remember(obj, self.db, fields)
        return count

    def _clone(self) -> Self:
        clone: Self = super()._clone()  # type: ignore[misc]  # not in the stubs
        clone._broadcasts = self._broadcasts
        return clone

    def _merge(
        self,
        objs: Sequence[M],
        options: tuple[Any, ...],
        update_fields: Collection[str],
        unique_fields: Collection[str],
    ) -> list[M]:
        """Insert `objs` or update the rows they conflict with, and fire the event of each."""
        columns = self._columns(update_fields)
        before: dict[object, dict[str, object]] = {}
        for rows in self._conflicting(objs, unique_fields):
            before |= {row["pk"]: row for row in rows.values("pk", *columns)}
        merged = super().bulk_create(objs, *options)
        for rows in self._conflicting(objs, unique_fields):
            for row in rows:
                if row.pk in before:
                    self._fire_updated(row, before[row.pk], columns)
                else:
                    fire_model_event(row, "created", self.db)
        return merged

    def _conflicting(
        self, objs: Sequence[M], unique_fields: Collection[str]
    ) -> "Iterator[QuerySet[M, M]]":
        """Return the rows whose `unique_fields` equal those of one of `objs`, in batches."""
        if not unique_fields:
            raise NotSupportedError(
                "with_broadcasting() cannot find out which rows bulk_create() makes or updates "
                "without unique_fields. Name them, or save the objects one by one."
            )
        rows = self.model._base_manager.using(self.db)
        for start in range(0, len(objs), CONDITIONS):
            conditions = [
                Q(**{name: getattr(obj, name) for name in unique_fields})
                for obj in objs[start : start + CONDITIONS]
            ]
            yield rows.filter(reduce(or_, conditions))

    def _columns(self, names: Iterable[str]) -> set[str]:
        """Return the columns to compare if the fields `names` are written."""
        spec = spec_of(self.model)
        if spec.computed:
            return set(spec.tracked)
        try:
            fields = [self.model._meta.get_field(name) for name in names if name != "pk"]
        except FieldDoesNotExist:
            return set()  # Django raises an error of its own.
        written = {str(getattr(field, "attname", "")) for field in fields}
        return {*written, *generated_attributes(self.model)} & set(spec.tracked)

    def _stored(self, keys: Sequence[object]) -> Iterator[M]:
        """Yield the rows with these keys, read in batches."""
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            yield from self.model._base_manager.using(self.db).filter(pk__in=batch)

    def _existing(self, objs: Sequence[M], ignore_conflicts: bool) -> set[object]:
        """Return the keys of `objs` that exist already."""
        keys = [self._key(obj) for obj in objs]
        returns_keys = connections[self.db].features.can_return_rows_from_bulk_insert
        if None in keys and (ignore_conflicts or not returns_keys):
            raise NotSupportedError(
                f"with_broadcasting() cannot find out which rows bulk_create() makes: objects of "
                f"{self.model._meta.label} have no key, and this database does not return it, or "
                f"not if conflicts are ignored. Set the keys, or save the objects one by one."
            )
        return {row.pk for row in self._stored(keys)} if ignore_conflicts else set()

    def _key(self, obj: M) -> object:
        return None if obj.pk is None else self.model._meta.pk.to_python(obj.pk)

    def _fire_updated(self, row: M, before: Mapping[str, object], columns: set[str]) -> None:
        changed = changed_names(row, before, columns)
        if changed:
            fire_model_event(row, "updated", self.db, changed)
