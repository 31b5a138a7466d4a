"""Changes of many-to-many relations, and the updates that they fire."""

from typing import Any

import pytest
from django.core import serializers
from django.db import connection, models, transaction
from django.test.utils import isolate_apps

from broadcasting import BroadcastsModelEvents, register_broadcast_fields, without_broadcasting
from tests.events.recording import RecordingBroadcaster as Recorder
from tests.model_events.shop.models import Item, Label, Member, Tag, Thing

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["tests.model_events.shop"])


@pytest.fixture
def thing() -> Thing:
    """Return a row whose creation was not broadcast."""
    with without_broadcasting():
        return Thing.objects.create(name="a")


@pytest.fixture
def labels() -> list[Label]:
    """Return two rows of a model that does not broadcast."""
    return [Label.objects.create(name=name) for name in "xy"]


@pytest.fixture
def tags() -> list[Tag]:
    """Return two rows of a model that declares the far side of a relation."""
    with without_broadcasting():
        return [Tag.objects.create(name=name) for name in "pq"]


def updates(first: Recorder, relation: str) -> list[Any]:
    """Return channel, changed names and the relation of each update, and clear them."""
    found: list[Any] = [
        (
            sent.channels[0].removeprefix("private-shop."),
            sent.data["changed"],  # type: ignore[index]  # it is a dict
            [row["name"] for row in sent.data["model"][relation]],  # type: ignore[index]
        )
        for sent in first.sent
    ]
    first.sent.clear()
    return found


def test_add_remove_and_clear_are_updates(
    thing: Thing, labels: list[Label], first: Recorder
) -> None:
    x, y = labels
    name = f"Thing.{thing.pk}"
    thing.labels.add(x, y)
    thing.labels.remove(x)
    thing.labels.clear()
    assert updates(first, "labels") == [
        (name, ["labels"], ["x", "y"]),
        (name, ["labels"], ["y"]),
        (name, ["labels"], []),
    ]


def test_far_side_may_change_the_relation(
    thing: Thing, labels: list[Label], first: Recorder
) -> None:
    x, y = labels
    name = f"Thing.{thing.pk}"
    x.things.add(thing.pk)
    y.things.set([thing])
    x.things.remove(thing)
    y.things.clear()
    assert updates(first, "labels") == [
        (name, ["labels"], ["x"]),
        (name, ["labels"], ["x", "y"]),
        (name, ["labels"], ["y"]),
        (name, ["labels"], []),
    ]


def test_unchanged_relation_is_silent(thing: Thing, labels: list[Label], first: Recorder) -> None:
    x, y = labels
    thing.labels.add(x)
    first.sent.clear()
    thing.labels.add(x)
    thing.labels.add()
    thing.labels.remove(y)
    thing.labels.set([x])
    y.things.clear()
    thing.save()
    assert first.sent == []


def test_set_is_one_update(thing: Thing, labels: list[Label], first: Recorder) -> None:
    x, y = labels
    with without_broadcasting():
        other = Thing.objects.create(name="b")
        thing.labels.add(x)
    thing.labels.set([y])
    assert updates(first, "labels") == [(f"Thing.{thing.pk}", ["labels"], ["y"])]
    y.things.set([other])
    assert sorted(updates(first, "labels")) == [
        (f"Thing.{thing.pk}", ["labels"], []),
        (f"Thing.{other.pk}", ["labels"], ["y"]),
    ]
    thing.labels.set([x, y], clear=True)
    assert updates(first, "labels") == [(f"Thing.{thing.pk}", ["labels"], ["x", "y"])]


async def test_async_set_is_one_update(first: Recorder) -> None:
    with without_broadcasting():
        thing = await Thing.objects.acreate(name="a")
        x, y = [await Label.objects.acreate(name=name) for name in "xy"]
        await thing.labels.aadd(x)
    await thing.labels.aset([y])
    assert updates(first, "labels") == [(f"Thing.{thing.pk}", ["labels"], ["y"])]


def test_side_that_declares_the_relation_is_updated(
    thing: Thing, tags: list[Tag], first: Recorder
) -> None:
    p, q = tags
    thing.tags.add(p, q)
    assert updates(first, "thing_set") == [
        (f"Tag.{p.pk}", ["thing_set"], ["a"]),
        (f"Tag.{q.pk}", ["thing_set"], ["a"]),
    ]
    thing.tags.clear()
    assert updates(first, "thing_set") == [
        (f"Tag.{p.pk}", ["thing_set"], []),
        (f"Tag.{q.pk}", ["thing_set"], []),
    ]
    p.thing_set.add(thing)
    assert updates(first, "thing_set") == [(f"Tag.{p.pk}", ["thing_set"], ["a"])]


def test_relation_to_the_same_model_updates_both_rows(first: Recorder) -> None:
    with without_broadcasting():
        ann, bob = [Member.objects.create(name=name) for name in ("ann", "bob")]
    one, two = f"Member.{ann.pk}", f"Member.{bob.pk}"
    ann.friends.add(bob)
    assert updates(first, "friends") == [(one, ["friends"], ["bob"]), (two, ["friends"], ["ann"])]
    bob.friends.clear()
    assert sorted(updates(first, "friends")) == [(one, ["friends"], []), (two, ["friends"], [])]
    ann.follows.add(bob)  # Not symmetrical: each side has a name of its own.
    assert updates(first, "follows") == [(one, ["follows"], ["bob"]), (two, ["followers"], [])]


def test_unsaved_value_is_not_sent(thing: Thing, labels: list[Label], first: Recorder) -> None:
    thing.name = "secret draft"
    thing.labels.add(labels[0])
    assert first.sent[0].data["model"]["name"] == "a"  # type: ignore[index]  # it is a dict
    assert thing.name == "secret draft"


def test_relation_can_be_rolled_back_or_muted(
    thing: Thing, labels: list[Label], first: Recorder
) -> None:
    with transaction.atomic():
        thing.labels.add(labels[0])
        transaction.set_rollback(True)
    with without_broadcasting():
        thing.labels.set(labels)
    assert first.sent == []


def test_fixture_is_silent(thing: Thing, labels: list[Label], first: Recorder) -> None:
    with without_broadcasting():
        thing.labels.set(labels)
    fixture = serializers.serialize("json", [thing])
    with without_broadcasting():
        thing.labels.clear()
    for loaded in serializers.deserialize("json", fixture):
        loaded.save()
    assert thing.labels.count() == 2
    assert first.sent == []


def test_relation_that_is_declared_later_is_watched(labels: list[Label], first: Recorder) -> None:
    """As ``ready()`` of a later app may."""
    item = Item.objects.create(name="a")
    first.sent.clear()
    item.labels.set(labels)
    assert first.sent == []
    register_broadcast_fields(Item, ["name", "labels"])
    item.labels.clear()
    assert first.names == ["ItemUpdated"]


@isolate_apps("tests.model_events.shop")
def test_relation_of_a_model_that_is_made_later_is_watched(first: Recorder) -> None:
    class Mate(models.Model):
        broadcast_fields = ("pk",)

        class Meta:
            app_label = "shop"

    class Late(BroadcastsModelEvents, models.Model):
        mates = models.ManyToManyField(Mate)
        broadcast_fields = ("pk", "mates")

        class Meta:
            app_label = "shop"

    made: list[Any] = [Mate, Late]
    with connection.schema_editor() as editor:
        for model in made:
            editor.create_model(model)
    try:
        one, two = [made[0].objects.create() for _ in "ab"]
        late = made[1].objects.create()
        late.mates.add(one)
        late.mates.set([two])
        two.late_set.clear()
    finally:
        with connection.schema_editor() as editor:
            for model in reversed(made):
                editor.delete_model(model)
    assert first.names == ["LateCreated"] + ["LateUpdated"] * 3
