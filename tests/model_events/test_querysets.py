"""Changes of many rows at once, which are broadcast only if asked for."""

from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, NotSupportedError, connection, transaction
from django.db.models import Count, F
from django.test.utils import CaptureQueriesContext

from broadcasting import BroadcastsQuerySet, without_broadcasting
from broadcasting.model_events import querysets
from tests.events.recording import RecordingBroadcaster as Recorder
from tests.model_events.shop.models import Concrete, Item, Label, Owner, Person, Pub

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["tests.model_events.shop"])


@pytest.fixture
def items() -> list[Item]:
    """Return three rows."""
    Item.objects.bulk_create([Item(name=name, count=1) for name in "abc"])
    return list(Item.objects.all())


def sent(first: Recorder) -> list[Any]:
    """Return event, name of the row and changed names of each broadcast, and clear them."""
    entries: list[Any] = [
        (each.event, each.data["model"]["name"], each.data.get("changed"))  # type: ignore[index, attr-defined]
        for each in first.sent
    ]
    first.sent.clear()
    return entries


def test_bulk_methods_are_silent_by_default(items: list[Item], first: Recorder) -> None:
    Item.objects.update(count=2)
    Item.objects.bulk_update(items, ["count"])
    assert first.sent == []


def test_update_fires_for_each_changed_row(items: list[Item], first: Recorder) -> None:
    Item.objects.filter(name="c").update(count=2)
    rows = Item.objects.with_broadcasting().filter(count__gt=0).exclude(name="b")
    assert rows.update(count=2, secret="x") == 2
    assert sent(first) == [("ItemUpdated", "a", ["count"])]
    assert Item.objects.with_broadcasting().filter(count=2).update(count=F("count") + 1) == 2
    assert sent(first) == [("ItemUpdated", "a", ["count"]), ("ItemUpdated", "c", ["count"])]


def test_update_of_undeclared_fields_makes_one_query(items: list[Item]) -> None:
    with CaptureQueriesContext(connection) as queries:
        Item.objects.with_broadcasting().update(secret="x")
    assert len(queries) == 1


def test_update_reads_rows_in_batches(
    items: list[Item], first: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BEGIN, one read before, UPDATE, one read for each batch after, COMMIT."""
    monkeypatch.setattr(querysets, "BATCH", 2)
    with CaptureQueriesContext(connection) as queries:
        Item.objects.with_broadcasting().update(count=5)
    assert len(queries) == 6
    assert len(first.sent) == 3


def test_update_through_annotations_and_relations(items: list[Item], first: Recorder) -> None:
    label, other = [Label.objects.create(name=name) for name in "xy"]
    items[0].labels.add(label, other)
    first.sent.clear()
    rows = Item.objects.with_broadcasting().filter(labels__isnull=False).order_by("-name")
    rows.update(count=7)
    Item.objects.with_broadcasting().annotate(n=Count("labels")).filter(n=0).update(count=8)
    assert sent(first) == [
        ("ItemUpdated", "a", ["count"]),
        ("ItemUpdated", "b", ["count"]),
        ("ItemUpdated", "c", ["count"]),
    ]


def test_update_of_foreign_keys_and_properties(items: list[Item], first: Recorder) -> None:
    owner = Owner.objects.create(name="o")
    Item.objects.with_broadcasting().filter(name="a").update(owner=owner)
    assert sent(first) == [("ItemUpdated", "a", ["owner"])]
    with without_broadcasting():
        Person.objects.create(first="Ann", last="Li")
        Pub.objects.create(name="p", beers=1)
    Person.objects.with_broadcasting().update(first="Sue", age=4)
    Person.objects.with_broadcasting().update(age=5)
    assert [each.data["changed"] for each in first.sent] == [["full_name", "upper"]]  # type: ignore[index]
    first.sent.clear()
    Pub.objects.with_broadcasting().update(name="q", beers=2)  # Of two tables.
    assert sent(first) == [("PubUpdated", "q", ["name", "beers"])]


def test_update_can_be_rolled_back_or_muted(items: list[Item], first: Recorder) -> None:
    with transaction.atomic():
        Item.objects.with_broadcasting().update(count=9)
        assert first.sent == []
        transaction.set_rollback(True)
    with without_broadcasting():
        Item.objects.with_broadcasting().update(count=9)
    assert first.sent == []


def test_bulk_update_sends_the_stored_row(items: list[Item], first: Recorder) -> None:
    a, b, c = items
    a.count, b.count = 2, 1
    a.name = "draft"
    Item.objects.with_broadcasting().bulk_update([a, b, c], ["count"])
    assert sent(first) == [("ItemUpdated", "a", ["count"])]
    a.save()
    assert sent(first) == [("ItemUpdated", "draft", ["name"])]


def test_bulk_create_fires_for_each_row(first: Recorder) -> None:
    rows = Item.objects.with_broadcasting().bulk_create(Item(name=name) for name in "ab")
    assert sent(first) == [("ItemCreated", "a", None), ("ItemCreated", "b", None)]
    rows[0].save()
    assert sent(first) == []


def test_bulk_create_may_ignore_conflicts(
    first: Recorder,
) -> None:
    with without_broadcasting():
        Concrete.objects.create(pk=UUID(int=1), name="old")
    Concrete.objects.with_broadcasting().bulk_create(
        [Concrete(pk=str(UUID(int=key)), name="new") for key in (1, 2)], ignore_conflicts=True
    )
    assert sent(first) == [("ConcreteCreated", "new", None)]


def test_bulk_create_may_update_conflicts(items: list[Item], first: Recorder) -> None:
    Item.objects.with_broadcasting().bulk_create(
        [Item(name="a", count=5), Item(name="b", count=1), Item(name="z", count=1)],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["count"],
    )
    assert sorted(sent(first)) == [
        ("ItemCreated", "z", None),
        ("ItemUpdated", "a", ["count"]),
    ]


def test_bulk_create_refuses_unknowable_rows(first: Recorder) -> None:
    rows = Item.objects.with_broadcasting()
    with pytest.raises(NotSupportedError, match="Set the keys"):
        rows.bulk_create([Item(name="a")], ignore_conflicts=True)
    with pytest.raises(NotSupportedError, match="without unique_fields"):
        rows.bulk_create([Item(name="a")], update_conflicts=True, update_fields=["count"])
    assert not Item.objects.exists()
    assert first.sent == []


def test_failed_insertion_is_silent(items: list[Item], first: Recorder) -> None:
    with pytest.raises(IntegrityError):
        Item.objects.with_broadcasting().bulk_create([Item(name="y"), Item(name="a")])
    assert first.sent == []


async def test_async_methods_fire_as_well(first: Recorder) -> None:
    await Item.objects.with_broadcasting().abulk_create([Item(name="a")])
    await Item.objects.with_broadcasting().aupdate(count=3)
    assert sent(first) == [("ItemCreated", "a", None), ("ItemUpdated", "a", ["count"])]


def test_model_must_broadcast() -> None:
    rows = BroadcastsQuerySet[Owner](Owner)
    with pytest.raises(TypeError, match=r"shop\.Owner does not broadcast"):
        rows.with_broadcasting()


def test_django_reports_an_unknown_field(items: list[Item]) -> None:
    with pytest.raises(Exception, match="has no field named 'nmae'"):
        Item.objects.with_broadcasting().update(nmae="x")  # type: ignore[misc]  # the mistake
