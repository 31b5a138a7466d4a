"""The events of changes to rows, and what the methods of a model decide."""

import asyncio
from typing import Any

import pytest
from django.core import serializers
from django.db import connection, transaction
from django.db.migrations.serializer import serializer_factory
from django.db.migrations.state import ModelState, ProjectState
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from broadcasting import (
    BroadcastError,
    BroadcastsModelEvents,
    ModelEvent,
    abroadcast,
    broadcast_to,
    listen,
    without_broadcasting,
)
from broadcasting.exceptions import UndeclaredModel
from broadcasting.middleware import SocketIdMiddleware
from tests.events.recording import RecordingBroadcaster as Recorder
from tests.model_events.shop.models import (
    Label,
    Note,
    Opinion,
    Owner,
    OwnerProxy,
    Place,
    PlaceProxy,
    Pub,
    Silent,
    Thing,
)

pytestmark = pytest.mark.django_db(
    transaction=True, databases=["default", "other"], available_apps=["tests.model_events.shop"]
)


def test_a_row_is_created_updated_and_deleted(first: Recorder) -> None:
    thing = Thing.objects.create(name="a")
    channel = (f"private-shop.Thing.{thing.pk}",)
    row: dict[str, object] = {
        **{"pk": thing.pk, "name": "a", "count": 0, "owner": None},
        **{"extra": {}, "file": None, "labels": []},
    }
    thing.name = "b"
    thing.save()
    thing.delete()
    assert [sent[:3] for sent in first.sent] == [
        (channel, "ThingCreated", {"model": row}),
        (channel, "ThingUpdated", {"model": row | {"name": "b"}, "changed": ["name"]}),
        (channel, "ThingDeleted", {"model": row | {"name": "b"}}),
    ]


def test_nothing_is_sent_without_broadcasting(first: Recorder) -> None:
    """Changes meanwhile are not broadcast later, and other events are."""
    with without_broadcasting():
        thing = create_muted("a")
        thing.name = "b"
        thing.save()
        broadcast_to("news", "Said", {})
    thing.save()
    assert first.names == ["Said"]
    thing.delete()
    assert first.names == ["Said", "ThingDeleted"]


def names_and_channels(first: Recorder) -> list[tuple[str, str]]:
    """Return event and channel of each broadcast, and clear them."""
    sent = [(sent.event, sent.channels[0].removeprefix("private-shop.")) for sent in first.sent]
    first.sent.clear()
    return sent


# One event for a change


def test_each_way_to_save_is_one_event(first: Recorder) -> None:
    Thing.objects.get_or_create(name="a")
    Thing.objects.get_or_create(name="a")
    Thing.objects.update_or_create(name="a", defaults={"count": 1})
    Thing.objects.update_or_create(name="a", defaults={"count": 1})
    Thing.objects.update_or_create(name="b")
    assert first.names == ["ThingCreated", "ThingUpdated", "ThingCreated"]


async def test_event_loop_that_may_write_may_send(
    first: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook, whose cells use the database within a loop."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    thing = Thing.objects.create(name="a")
    assert first.names == ["ThingCreated"]
    with pytest.raises(BroadcastError, match="await abroadcast"):
        thing.broadcast_updated()
    await abroadcast(ModelEvent(thing, "updated", ["name"]))
    assert first.names == ["ThingCreated", "ThingUpdated"]
    connection.close()  # The loop's own, which nobody else would close.


def test_row_of_several_tables_fires_one_event(first: Recorder) -> None:
    pub = Pub.objects.create(name="a", beers=1)
    pub.name = "b"
    pub.save()
    place = Place.objects.get()
    place.name = "c"
    place.save()
    channel = f"Pub.{pub.pk}"
    assert names_and_channels(first) == [
        ("PubCreated", channel),
        ("PubUpdated", channel),
        ("PlaceUpdated", f"Place.{pub.pk}"),
    ]
    pub.delete()
    assert names_and_channels(first) == [("PubDeleted", channel)]
    pub = Pub.objects.create(name="d")
    Place.objects.get().delete()
    assert names_and_channels(first)[1:] == [("PubDeleted", f"Pub.{pub.pk}")]
    Pub.objects.create(name="e").delete(keep_parents=True)
    Place.objects.get().delete()
    assert first.names == ["PubCreated", "PubDeleted", "PlaceDeleted"]


def test_proxy_fires_under_its_own_name(first: Recorder) -> None:
    owner = OwnerProxy.objects.create(name="a")
    Owner.objects.get().save()
    owner.name = "b"
    owner.save()
    place = PlaceProxy.objects.create(name="a")
    place.delete()
    owner.delete()
    assert first.names == [
        *("OwnerProxyCreated", "OwnerProxyUpdated"),
        *("PlaceProxyCreated", "PlaceProxyDeleted", "OwnerProxyDeleted"),
    ]


def test_fixture_is_silent(first: Recorder) -> None:
    for loaded in serializers.deserialize(
        "json", '[{"model": "shop.thing", "pk": 5, "fields": {}}]'
    ):
        loaded.save()
    assert first.sent == []
    thing = Thing.objects.get()
    thing.name = "a"
    thing.save()
    assert first.names == ["ThingUpdated"]


def test_model_of_a_migration_is_silent(first: Recorder) -> None:
    """It has the same bases."""
    state = ProjectState()
    state.add_model(ModelState.from_model(Owner))
    state.add_model(ModelState.from_model(OwnerProxy))
    old: Any = state.apps.get_model("shop", "OwnerProxy")
    assert issubclass(old, BroadcastsModelEvents)
    row = old.objects.create(name="a")
    old.objects.get().delete()
    assert row.pk
    assert first.sent == []


def test_migration_names_the_mixin_by_its_public_path() -> None:
    text, imports = serializer_factory(BroadcastsModelEvents).serialize()
    assert (text, imports) == ("broadcasting.BroadcastsModelEvents", {"import broadcasting"})


# Deletion


def test_deletion_sends_the_row_as_it_was(first: Recorder) -> None:
    owner = Owner.objects.create(name="o")
    thing = Thing.objects.create(name="a", owner=owner)
    thing.labels.add(Label.objects.create(name="x"))
    first.sent.clear()
    thing.name = "draft"
    thing.delete()
    (sent,) = first.sent
    assert sent.event == "ThingDeleted"
    data: Any = sent.data
    assert data["model"]["name"] == "a"
    assert data["model"]["owner"] == {"name": "o"}
    assert data["model"]["labels"] == [{"name": "x"}]
    assert "changed" not in data


def test_unloaded_row_is_read_before_its_deletion(
    first: Recorder,
) -> None:
    key = Thing.objects.create(name="a").pk
    first.sent.clear()
    Thing(pk=key, name="draft").delete()
    data: Any = first.sent[0].data
    assert data["model"]["name"] == "a"
    Thing(pk=key).delete()
    assert len(first.sent) == 1


def test_cascade_fires_for_each_row(first: Recorder) -> None:
    for name in "ab":
        Note.objects.create(thing=Thing.objects.create(name=name), text=name)
    first.sent.clear()
    Thing.objects.filter(name="a").delete()
    Thing.objects.get().delete()
    assert first.names == ["NoteDeleted", "ThingDeleted"] * 2
    data: Any = first.sent[0].data
    assert data["model"]["thing"]["name"] == "a"


# Methods of the model


def test_methods_of_the_model_decide(first: Recorder, second: Recorder) -> None:
    opinion = Opinion.objects.create(text="a")
    opinion.text = "b"
    opinion.save()
    opinion.text = "silence"
    opinion.save()
    opinion.delete()
    Opinion.objects.create(text="nowhere")  # Its list of channels is empty.
    assert first.sent == []
    assert [sent[:3] for sent in second.sent] == [
        (("opinions", "created"), "opinion:created", {"text": "a", "changed": []}),
        (("opinions", "updated"), "opinion:updated", {"text": "b", "changed": ["text"]}),
        (("opinions", "deleted"), "opinion:deleted", {"text": "silence", "changed": []}),
    ]


def test_page_that_made_the_change_may_be_left_out(first: Recorder, second: Recorder) -> None:

    def view(request: HttpRequest) -> HttpResponse:
        Thing.objects.create(name="a")
        Opinion.objects.create(text="a")
        return HttpResponse()

    SocketIdMiddleware(view)(RequestFactory().post("/", headers={"X-Socket-ID": "1.2"}))
    assert first.sent[0].socket_id is None
    assert second.sent[0].socket_id == "1.2"


def test_method_that_fails_fails_the_save(first: Recorder) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Opinion.objects.create(text="mistake")
    assert not Opinion.objects.exists()


def test_model_without_declared_fields_says_what_to_write() -> None:
    with pytest.raises(UndeclaredModel, match=r"shop\.Silent, .*Write broadcast_fields = "):
        Silent.objects.create()


def test_model_decides_on_queue_and_debounce(first: Recorder) -> None:
    """Events of two rows do not replace each other, whatever channel they share."""
    one, two = Opinion.objects.create(text="a"), Opinion.objects.create(text="b")
    events = [ModelEvent(row, "updated") for row in (one, two)]
    assert [told.broadcast_queue() for told in events] == ["slow", "slow"]
    assert [told.broadcast_debounce() for told in events] == [0, 0]
    assert events[0].broadcast_debounce_id() != events[1].broadcast_debounce_id()
    thing = ModelEvent(Thing.objects.create(), "updated")
    assert (thing.broadcast_queue(), thing.broadcast_debounce()) == (None, 0)


# Events like any others


def test_listeners_are_called(first: Recorder) -> None:
    heard: list[tuple[str, str, tuple[str, ...]]] = []

    @listen(ModelEvent)
    def hear(told: ModelEvent) -> None:
        heard.append((repr(told), told.event, told.changed))

    thing = Thing.objects.create(name="a")
    thing.name = "b"
    thing.save()
    thing.save()
    key = thing.pk
    thing.delete()
    assert heard == [
        (f"<ModelEvent ThingCreated {key}>", "created", ()),
        (f"<ModelEvent ThingUpdated {key}>", "updated", ("name",)),
        (f"<ModelEvent ThingDeleted {key}>", "deleted", ()),
    ]


def test_events_can_be_fired_by_hand(first: Recorder) -> None:
    with without_broadcasting():
        thing = Thing.objects.create(name="a")
        thing.broadcast_created()
    thing.broadcast_created()
    thing.broadcast_updated()
    thing.broadcast_updated(["name"])
    thing.broadcast_deleted()
    with pytest.raises(TypeError, match=r"Write \['name'\]"):
        thing.broadcast_updated("name")
    assert [sent.event for sent in first.sent] == [
        *("ThingCreated", "ThingUpdated", "ThingUpdated", "ThingDeleted")
    ]
    changed: list[Any] = [sent.data for sent in first.sent[1:3]]
    assert changed[0]["changed"] == ["pk", "name", "count", "owner", "extra", "file", "labels"]
    assert changed[1]["changed"] == ["name"]


def test_event_waits_for_the_database_that_was_written(
    first: Recorder,
) -> None:
    with transaction.atomic():
        Thing(name="a").save(using="other")
        assert first.names == ["ThingCreated"]
    with transaction.atomic(using="other"):
        thing = Thing.objects.using("other").get()
        thing.delete()
        assert first.names == ["ThingCreated"]
    assert first.names == ["ThingCreated", "ThingDeleted"]


# without_broadcasting


@without_broadcasting()
def create_muted(name: str, depth: int = 1) -> Thing:
    """Make a row, and call itself."""
    return create_muted(name, depth - 1) if depth else Thing.objects.create(name=name)


@without_broadcasting()
async def acreate_muted(name: str) -> Thing:
    """Make a row in async code."""
    await asyncio.sleep(0)
    return await Thing.objects.acreate(name=name)


async def test_async_function_can_be_muted(first: Recorder) -> None:
    """While it runs, and not what runs beside it."""
    await asyncio.gather(acreate_muted("a"), Thing.objects.acreate(name="b"))
    assert [sent.data["model"]["name"] for sent in first.sent] == ["b"]  # type: ignore[index]


def test_exception_ends_without_broadcasting(first: Recorder) -> None:
    muted = without_broadcasting()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), muted:
            raise ZeroDivisionError
    with muted, muted:
        Thing.objects.create(name="a")
    assert first.sent == []
    Thing.objects.create(name="b")
    assert first.names == ["ThingCreated"]
