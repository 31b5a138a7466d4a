"""Many rows at once: nothing is told unless asked for, and then what changed."""

from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, NotSupportedError, connection, transaction
from django.db.models import Case, Count, F, Value, When
from django.test.utils import CaptureQueriesContext

from broadcasting import BroadcastsQuerySet, without_broadcasting
from broadcasting.model_events import querysets
from tests.events.recording import RecordingBroadcaster
from tests.model_events.shop.models import Concrete, Item, Label, Owner, Person, Pub

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["tests.model_events.shop"])


@pytest.fixture
def items() -> list[Item]:
    """Return three rows that nobody has heard of."""
    Item.objects.bulk_create([Item(name=name, count=1) for name in "abc"])
    return list(Item.objects.all())


def told(first: RecordingBroadcaster) -> list[Any]:
    """Return event, name of the row and what changed; forget it."""
    entries: list[Any] = [
        (sent.event, sent.data["model"]["name"], sent.data.get("changed"))  # type: ignore[index, attr-defined]
        for sent in first.sent
    ]
    first.sent.clear()
    return entries


def test_nothing_is_told_unless_asked_for(items: list[Item], first: RecordingBroadcaster) -> None:
    """Bulk methods are silent in Django."""
    Item.objects.update(count=2)
    Item.objects.bulk_update(items, ["count"])
    assert first.sent == []


def test_update_tells_of_each_row_that_it_changed(
    items: list[Item], first: RecordingBroadcaster
) -> None:
    """Also if no row is found any more by what it was found by."""
    Item.objects.filter(name="c").update(count=2)
    assert (
        Item.objects.with_broadcasting()
        .filter(count__gt=0)
        .exclude(name="b")
        .update(count=2, secret="x")
        == 2
    )
    assert told(first) == [("ItemUpdated", "a", ["count"])]
    assert Item.objects.with_broadcasting().filter(count=2).update(count=F("count") + 1) == 2
    assert told(first) == [("ItemUpdated", "a", ["count"]), ("ItemUpdated", "c", ["count"])]


def test_update_of_what_is_not_declared_is_the_one_query(items: list[Item]) -> None:
    """There is nothing to compare."""
    with CaptureQueriesContext(connection) as queries:
        Item.objects.with_broadcasting().update(secret="x")
    assert len(queries) == 1


def test_update_reads_rows_in_batches(
    items: list[Item], first: RecordingBroadcaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once before for all, and after for each batch; with BEGIN, UPDATE and COMMIT."""
    monkeypatch.setattr(querysets, "BATCH", 2)
    with CaptureQueriesContext(connection) as queries:
        Item.objects.with_broadcasting().update(count=5)
    assert len(queries) == 6
    assert len(first.sent) == 3


def test_update_through_annotations_and_relations(
    items: list[Item], first: RecordingBroadcaster
) -> None:
    """A queryset of any shape that Django updates; a row that is found twice is told once."""
    label, other = [Label.objects.create(name=name) for name in "xy"]
    items[0].labels.add(label, other)
    first.sent.clear()
    rows = Item.objects.with_broadcasting().filter(labels__isnull=False).order_by("-name")
    rows.update(count=7)
    Item.objects.with_broadcasting().annotate(n=Count("labels")).filter(n=0).update(count=8)
    assert told(first) == [
        ("ItemUpdated", "a", ["count"]),
        ("ItemUpdated", "b", ["count"]),
        ("ItemUpdated", "c", ["count"]),
    ]


def test_update_of_a_foreign_key_and_of_what_properties_are_made_of(
    items: list[Item], first: RecordingBroadcaster
) -> None:
    """Names as in broadcast_fields."""
    owner = Owner.objects.create(name="o")
    Item.objects.with_broadcasting().filter(name="a").update(owner=owner)
    assert told(first) == [("ItemUpdated", "a", ["owner"])]
    with without_broadcasting():
        Person.objects.create(first="Ann", last="Li")
    Person.objects.with_broadcasting().update(first="Sue", age=4)
    Person.objects.with_broadcasting().update(age=5)
    assert [sent.data["changed"] for sent in first.sent] == [["full_name", "upper"]]  # type: ignore[index]


def test_update_takes_part_in_the_transaction(
    items: list[Item], first: RecordingBroadcaster
) -> None:
    """A rollback takes the events back."""
    with transaction.atomic():
        Item.objects.with_broadcasting().update(count=9)
        assert first.sent == []
        transaction.set_rollback(True)
    with without_broadcasting():
        Item.objects.with_broadcasting().update(count=9)
    assert first.sent == []


def test_bulk_update_tells_what_is_in_the_row(
    items: list[Item], first: RecordingBroadcaster
) -> None:
    """And not what the objects have beside it; a later save is silent about it."""
    a, b, c = items
    a.count, b.count = 2, 1
    a.name = "draft"
    Item.objects.with_broadcasting().bulk_update([a, b, c], ["count"])
    assert told(first) == [("ItemUpdated", "a", ["count"])]
    a.save()
    assert told(first) == [("ItemUpdated", "draft", ["name"])]


def test_bulk_create_tells_of_each_row(first: RecordingBroadcaster) -> None:
    """With its key; a later save is silent about it."""
    rows = Item.objects.with_broadcasting().bulk_create(Item(name=name) for name in "ab")
    assert told(first) == [("ItemCreated", "a", None), ("ItemCreated", "b", None)]
    rows[0].save()
    assert told(first) == []


def test_bulk_create_that_ignores_conflicts_tells_of_new_rows(
    first: RecordingBroadcaster,
) -> None:
    """Where the keys are known before."""
    with without_broadcasting():
        Concrete.objects.create(pk=UUID(int=1), name="old")
    Concrete.objects.with_broadcasting().bulk_create(
        [Concrete(pk=str(UUID(int=key)), name="new") for key in (1, 2)], ignore_conflicts=True
    )
    assert told(first) == [("ConcreteCreated", "new", None)]


def test_bulk_create_that_updates_conflicts_tells_both(
    items: list[Item], first: RecordingBroadcaster
) -> None:
    """What is new, what was changed, and nothing of what was not."""
    Item.objects.with_broadcasting().bulk_create(
        [Item(name="a", count=5), Item(name="b", count=1), Item(name="z", count=1)],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["count"],
    )
    assert sorted(told(first)) == [
        ("ItemCreated", "z", None),
        ("ItemUpdated", "a", ["count"]),
    ]


def test_bulk_create_refuses_what_it_cannot_tell(first: RecordingBroadcaster) -> None:
    """Before anything is written."""
    rows = Item.objects.with_broadcasting()
    with pytest.raises(NotSupportedError, match="Set the keys"):
        rows.bulk_create([Item(name="a")], ignore_conflicts=True)
    with pytest.raises(NotSupportedError, match="without unique_fields"):
        rows.bulk_create([Item(name="a")], update_conflicts=True, update_fields=["count"])
    assert not Item.objects.exists()
    assert first.sent == []


def test_insertion_that_fails_tells_nothing(items: list[Item], first: RecordingBroadcaster) -> None:
    """It is one transaction."""
    with pytest.raises(IntegrityError):
        Item.objects.with_broadcasting().bulk_create([Item(name="y"), Item(name="a")])
    assert first.sent == []


def test_row_of_several_tables_is_updated(first: RecordingBroadcaster) -> None:
    """Of the class that is asked."""
    with without_broadcasting():
        Pub.objects.create(name="p", beers=1)
    Pub.objects.with_broadcasting().update(name="q", beers=2)
    assert told(first) == [("PubUpdated", "q", ["name", "beers"])]


async def test_async_twins_tell_as_well(first: RecordingBroadcaster) -> None:
    """They run the same in a thread."""
    await Item.objects.with_broadcasting().abulk_create([Item(name="a")])
    await Item.objects.with_broadcasting().aupdate(count=3)
    assert told(first) == [("ItemCreated", "a", None), ("ItemUpdated", "a", ["count"])]


def test_model_must_broadcast() -> None:
    """Otherwise the call would do nothing, in silence."""
    rows = BroadcastsQuerySet[Owner](Owner)
    with pytest.raises(TypeError, match=r"shop\.Owner does not broadcast"):
        rows.with_broadcasting()


def test_unknown_field_is_told_by_django(items: list[Item]) -> None:
    """With the error that is known from it."""
    with pytest.raises(Exception, match="has no field named 'nmae'"):
        Item.objects.with_broadcasting().update(nmae="x")  # type: ignore[misc]  # the mistake


def test_cases_of_an_update_are_told(items: list[Item], first: RecordingBroadcaster) -> None:
    """Each row is compared, so no expression is too clever."""
    case = Case(When(name="a", then=Value(1)), default=Value(4))
    Item.objects.with_broadcasting().update(count=case)
    assert [entry[1] for entry in told(first)] == ["b", "c"]
