"""Updates and insertions of many rows at once, for which Django sends no signals."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, Self, TypeVar

from django.core.exceptions import FieldDoesNotExist
from django.db import NotSupportedError, connections, transaction
from django.db.models import Model, Q, QuerySet

from .changes import changed_names, made_by_database, remember
from .fields import plan_of
from .mixin import BroadcastsModelEvents, is_muted, tell

M = TypeVar("M", bound=Model)

BATCH = 500  # Rows read by one query.
CONDITIONS = 100  # Of rows that are found by several columns; SQLite takes not many more.


class BroadcastsQuerySet(QuerySet[M, M]):
    """
    A queryset that can broadcast what it does to many rows at once.

    Write ``objects = BroadcastsQuerySet.as_manager()`` in a model that has
    `BroadcastsModelEvents`. Nothing is different until `with_broadcasting` is called.
    """

    _tells = False

    def with_broadcasting(self) -> Self:
        """
        Let ``update``, ``bulk_create`` and ``bulk_update`` broadcast each row they change.

        Each such row becomes an event of its own. The rows are read before and after, in
        one transaction with the change: this is for hundreds of rows, not for millions.

        Raises:
            TypeError: The model does not broadcast.
        """
        if not issubclass(self.model, BroadcastsModelEvents):
            raise TypeError(
                f"{self.model._meta.label} does not broadcast. Write BroadcastsModelEvents "
                f"before models.Model among its bases."
            )
        clone = self.all()
        clone._tells = True
        return clone

    def update(self, **kwargs: Any) -> int:
        """Update as Django does; tell of each row whose declared fields changed."""
        columns = self._columns(kwargs) if self._tells and not is_muted() else set()
        if not columns:
            return super().update(**kwargs)
        self._for_write = True
        with transaction.atomic(using=self.db, savepoint=False):
            before = {row["pk"]: row for row in self.order_by().values("pk", *columns)}
            count = super().update(**kwargs)
            for row in self._stored(list(before)):
                self._tell_updated(row, before[row.pk], columns)
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
        Insert as Django does; tell of each row that was created or, where asked for, updated.

        Raises:
            NotSupportedError: What becomes of each object could not be found out: objects
                without a key where the database does not return it or conflicts are
                ignored, or updates of conflicts without `unique_fields`.
        """
        objs = list(objs)
        options = (batch_size, ignore_conflicts, update_conflicts, update_fields, unique_fields)
        if not self._tells or is_muted():
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
                tell(row, "created", self.db)
        return created

    def bulk_update(
        self, objs: Iterable[M], fields: Iterable[str], batch_size: int | None = None
    ) -> int:
        """Update as Django does; tell of each row whose declared fields changed."""
        objs, fields = tuple(objs), tuple(fields)
        count = super().bulk_update(objs, fields, batch_size)  # It calls update().
        if self._tells:
            for obj in objs:
                remember(obj, self.db, fields)
        return count

    def _clone(self) -> Self:
        clone: Self = super()._clone()  # type: ignore[misc]  # not in the stubs
        clone._tells = self._tells
        return clone

    def _merge(
        self,
        objs: Sequence[M],
        options: tuple[Any, ...],
        update_fields: Collection[str],
        unique_fields: Collection[str],
    ) -> list[M]:
        """Insert `objs`, or update what is in their way, and tell which was done."""
        columns = self._columns(update_fields)
        before: dict[object, dict[str, object]] = {}
        for rows in self._conflicting(objs, unique_fields):
            before |= {row["pk"]: row for row in rows.values("pk", *columns)}
        merged = super().bulk_create(objs, *options)
        for rows in self._conflicting(objs, unique_fields):
            for row in rows:
                if row.pk in before:
                    self._tell_updated(row, before[row.pk], columns)
                else:
                    tell(row, "created", self.db)
        return merged

    def _conflicting(
        self, objs: Sequence[M], unique_fields: Collection[str]
    ) -> "Iterator[QuerySet[M, M]]":
        """Return the rows that have in `unique_fields` what one of `objs` has, in batches."""
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
        """Return the columns to compare where those of `names` are written."""
        plan = plan_of(self.model)
        if plan.computed:
            return set(plan.tracked)
        try:
            fields = [self.model._meta.get_field(name) for name in names if name != "pk"]
        except FieldDoesNotExist:
            return set()  # Django says what it is about.
        written = {str(getattr(field, "attname", "")) for field in fields}
        return {*written, *made_by_database(self.model)} & set(plan.tracked)

    def _stored(self, keys: Sequence[object]) -> Iterator[M]:
        """Read the rows that have these keys, in batches."""
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            yield from self.model._base_manager.using(self.db).filter(pk__in=batch)

    def _existing(self, objs: Sequence[M], ignore_conflicts: bool) -> set[object]:
        """Return the keys of `objs` that there are rows of already."""
        keys = [self._key(obj) for obj in objs]
        returns_keys = connections[self.db].features.can_return_rows_from_bulk_insert
        if None in keys and (ignore_conflicts or not returns_keys):
            raise NotSupportedError(
                f"with_broadcasting() cannot find out which rows bulk_create() makes: there are "
                f"objects of {self.model._meta.label} without a key, and it is not returned by "
                f"this database, or not where conflicts are ignored. Set the keys, or save the "
                f"objects one by one."
            )
        return {row.pk for row in self._stored(keys)} if ignore_conflicts else set()

    def _key(self, obj: M) -> object:
        return None if obj.pk is None else self.model._meta.pk.to_python(obj.pk)

    def _tell_updated(self, row: M, before: Mapping[str, object], columns: set[str]) -> None:
        changed = changed_names(row, before, columns)
        if changed:
            tell(row, "updated", self.db, changed)
