"""Which events the changes of a row make, and what their methods are asked."""

import asyncio
from threading import Event, Thread
from typing import Any

import pytest
from django.core import serializers
from django.db import connection, transaction
from django.db.migrations.serializer import serializer_factory
from django.db.migrations.state import ModelState, ProjectState
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest_django import Settings

from broadcasting import (
    BroadcastError,
    BroadcastsModelEvents,
    ModelEvent,
    ShouldBroadcast,
    abroadcast,
    broadcast_to,
    listen,
    without_broadcasting,
)
from broadcasting.exceptions import UndeclaredModel
from broadcasting.middleware import SocketIdMiddleware
from broadcasting.model_events.mixin import is_muted
from tests.events.recording import RecordingBroadcaster
from tests.model_events.shop.models import (
    Concrete,
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


def test_life_of_a_row(first: RecordingBroadcaster) -> None:
    """It is created, updated and deleted, on a channel of its own."""
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


def test_rollback_takes_the_event_back(first: RecordingBroadcaster) -> None:
    """And what is saved afterwards is compared with what the row has."""
    thing = Thing.objects.create(name="a")
    thing.name = "b"
    with transaction.atomic():
        thing.save()
        transaction.set_rollback(True)
    assert first.names == ["ThingCreated"]
    thing.save()
    assert first.names == ["ThingCreated", "ThingUpdated"]


def test_nothing_is_sent_without_broadcasting(first: RecordingBroadcaster) -> None:
    """What changes meanwhile is not told later either."""
    with without_broadcasting():
        thing = Thing.objects.create(name="a")
        thing.name = "b"
        thing.save()
    thing.save()
    assert first.names == []
    thing.delete()
    assert first.names == ["ThingDeleted"]


def names_and_channels(first: RecordingBroadcaster) -> list[tuple[str, str]]:
    """Return event and channel of each broadcast, and forget it."""
    told = [(sent.event, sent.channels[0].removeprefix("private-shop.")) for sent in first.sent]
    first.sent.clear()
    return told


# One event for a change


def test_each_way_to_save_is_one_event(first: RecordingBroadcaster) -> None:
    """As many as there are in Django."""
    Thing.objects.get_or_create(name="a")
    Thing.objects.get_or_create(name="a")
    Thing.objects.update_or_create(name="a", defaults={"count": 1})
    Thing.objects.update_or_create(name="a", defaults={"count": 1})
    Thing.objects.update_or_create(name="b")
    assert first.names == ["ThingCreated", "ThingUpdated", "ThingCreated"]


async def test_async_methods_tell_as_well(first: RecordingBroadcaster) -> None:
    """Django runs them in a thread, where the sync functions are at home."""
    thing = await Thing.objects.acreate(name="a")
    thing.name = "b"
    await thing.asave()
    with without_broadcasting():
        thing.name = "c"
        await thing.asave()
    await thing.adelete()
    assert first.names == ["ThingCreated", "ThingUpdated", "ThingDeleted"]


async def test_loop_that_may_write_may_tell(
    first: RecordingBroadcaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook runs a loop, and its cells use the database in it."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    thing = Thing.objects.create(name="a")
    assert first.names == ["ThingCreated"]
    with pytest.raises(BroadcastError, match="await abroadcast"):
        thing.broadcast_updated()
    await abroadcast(ModelEvent(thing, "updated", ["name"]))
    assert first.names == ["ThingCreated", "ThingUpdated"]
    connection.close()  # The loop's own, which nobody else would close.


def test_row_of_several_tables_is_one_event(first: RecordingBroadcaster) -> None:
    """Of the class of the object that is saved; deleted as what it is."""
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
    place = Place.objects.create(name="e")
    place.delete()
    assert [name for name, _ in names_and_channels(first)] == ["PlaceCreated", "PlaceDeleted"]


def test_row_that_remains_of_several_tables_is_told_of_once(
    first: RecordingBroadcaster,
) -> None:
    """`keep_parents` deletes what is below."""
    pub = Pub.objects.create(name="a")
    first.sent.clear()
    pub.delete(keep_parents=True)
    assert [name for name, _ in names_and_channels(first)] == ["PubDeleted"]
    Place.objects.get().delete()
    assert [name for name, _ in names_and_channels(first)] == ["PlaceDeleted"]


def test_proxy_tells_under_its_own_name(first: RecordingBroadcaster) -> None:
    """Of a model that broadcasts, and of one that does not."""
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


def test_abstract_base_gives_its_children_what_it_has(first: RecordingBroadcaster) -> None:
    """A key that is made in Python is no update."""
    row = Concrete.objects.create(name="a")
    assert first.names == ["ConcreteCreated"]
    assert first.sent[0].channels == (f"private-shop.Concrete.{row.pk}",)


def test_fixture_is_silent(first: RecordingBroadcaster) -> None:
    """Its rows may come before those that they are related to."""
    for loaded in serializers.deserialize(
        "json", '[{"model": "shop.thing", "pk": 5, "fields": {}}]'
    ):
        loaded.save()
    assert first.sent == []
    thing = Thing.objects.get()
    thing.name = "a"
    thing.save()
    assert first.names == ["ThingUpdated"]


def test_model_of_a_migration_is_silent(first: RecordingBroadcaster) -> None:
    """It has the bases of the real one and none of its methods' surroundings."""
    state = ProjectState()
    state.add_model(ModelState.from_model(Owner))
    state.add_model(ModelState.from_model(OwnerProxy))
    old: Any = state.apps.get_model("shop", "OwnerProxy")
    assert issubclass(old, BroadcastsModelEvents)
    row = old.objects.create(name="a")
    old.objects.get().delete()
    assert row.pk
    assert first.sent == []


def test_migration_names_the_mixin_where_it_stays() -> None:
    """A project's migrations outlive the insides of a library."""
    text, imports = serializer_factory(BroadcastsModelEvents).serialize()
    assert (text, imports) == ("broadcasting.BroadcastsModelEvents", {"import broadcasting"})


# Deletion


def test_deletion_tells_the_row_as_it_was(first: RecordingBroadcaster) -> None:
    """With its relations, and without what was set and not saved."""
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


def test_object_that_was_not_loaded_is_read_before_it_is_deleted(
    first: RecordingBroadcaster,
) -> None:
    """Its key is all that is known of it."""
    key = Thing.objects.create(name="a").pk
    first.sent.clear()
    Thing(pk=key, name="draft").delete()
    data: Any = first.sent[0].data
    assert data["model"]["name"] == "a"
    Thing(pk=key).delete()
    assert len(first.sent) == 1


def test_cascade_and_queryset_tell_of_each_row(first: RecordingBroadcaster) -> None:
    """Those that hang on others first."""
    for name in "ab":
        Note.objects.create(thing=Thing.objects.create(name=name), text=name)
    first.sent.clear()
    Thing.objects.filter(name="a").delete()
    Thing.objects.get().delete()
    assert first.names == ["NoteDeleted", "ThingDeleted"] * 2
    data: Any = first.sent[0].data
    assert data["model"]["thing"]["name"] == "a"


def test_deletion_that_is_rolled_back_is_not_told(first: RecordingBroadcaster) -> None:
    """Nor one that is protected from the start."""
    thing = Thing.objects.create(name="a")
    first.sent.clear()
    with transaction.atomic():
        thing.delete()
        assert first.sent == []
        transaction.set_rollback(True)
    assert first.sent == []


# What a model says


def test_model_has_its_say(
    first: RecordingBroadcaster, second: RecordingBroadcaster, settings: Settings
) -> None:
    """Each method is asked with the name of the event."""
    opinion = Opinion.objects.create(text="a")
    opinion.text = "b"
    opinion.save()
    opinion.text = "silence"
    opinion.save()
    opinion.delete()
    assert first.sent == []
    assert [sent[:3] for sent in second.sent] == [
        (("opinions", "created"), "opinion:created", {"text": "a", "changed": []}),
        (("opinions", "updated"), "opinion:updated", {"text": "b", "changed": ["text"]}),
        (("opinions", "deleted"), "opinion:deleted", {"text": "silence", "changed": []}),
    ]


def test_page_that_made_the_change_is_left_out_where_asked(
    first: RecordingBroadcaster, second: RecordingBroadcaster
) -> None:
    """By default it hears of it: a tab that shows a list shows all of it."""

    def view(request: HttpRequest) -> HttpResponse:
        Thing.objects.create(name="a")
        Opinion.objects.create(text="a")
        return HttpResponse()

    SocketIdMiddleware(view)(RequestFactory().post("/", headers={"X-Socket-ID": "1.2"}))
    assert first.sent[0].socket_id is None
    assert second.sent[0].socket_id == "1.2"


def test_no_channel_means_nobody(first: RecordingBroadcaster) -> None:
    """An empty list, as with any event."""
    Opinion.objects.create(text="nowhere")
    assert first.sent == []


def test_method_that_fails_fails_the_save(first: RecordingBroadcaster) -> None:
    """It is a mistake in the program, and a transaction takes the row back."""

    def save() -> None:
        with transaction.atomic():
            Opinion.objects.create(text="mistake")

    with pytest.raises(ZeroDivisionError):
        save()
    assert not Opinion.objects.exists()


def test_failure_to_send_is_logged(
    caplog: pytest.LogCaptureFixture, settings: Settings, first: RecordingBroadcaster
) -> None:
    """The row is saved, which is what the request was about."""
    settings.BROADCASTING = settings.BROADCASTING | {"DEFAULT": "away"}
    Thing.objects.create(name="a")
    assert Thing.objects.exists()
    assert "Event ThingCreated on private-shop.Thing." in caplog.text


def test_model_without_declared_fields_says_what_to_write() -> None:
    """When it is first saved."""
    with pytest.raises(UndeclaredModel, match=r"shop\.Silent, .*Write broadcast_fields = "):
        Silent.objects.create()


def test_queue_and_debounce_are_the_models(first: RecordingBroadcaster) -> None:
    """Events of two rows are never the same, whatever channel they share."""
    one, two = Opinion.objects.create(text="a"), Opinion.objects.create(text="b")
    events = [ModelEvent(row, "updated") for row in (one, two)]
    assert [told.broadcast_queue() for told in events] == ["slow", "slow"]
    assert [told.broadcast_debounce() for told in events] == [0, 0]
    assert events[0].broadcast_debounce_id() != events[1].broadcast_debounce_id()
    thing = ModelEvent(Thing.objects.create(), "updated")
    assert (thing.broadcast_queue(), thing.broadcast_debounce()) == (None, 0)


def test_model_event_has_every_method_of_an_event() -> None:
    """A method that events get must be handed on to the model."""
    assert {name for name in vars(ShouldBroadcast) if name.startswith("broadcast_")} <= {
        *vars(ModelEvent)
    }


# Events as any others


def test_listeners_hear_of_models(first: RecordingBroadcaster) -> None:
    """Where the row is saved, before it is sent."""
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


def test_events_can_be_told_without_a_change(first: RecordingBroadcaster) -> None:
    """After a bulk change that was not told, for example."""
    with without_broadcasting():
        thing = Thing.objects.create(name="a")
        thing.broadcast_created()
    thing.broadcast_created()
    thing.broadcast_updated()
    thing.broadcast_updated(["name"])
    thing.broadcast_deleted()
    assert [sent.event for sent in first.sent] == [
        *("ThingCreated", "ThingUpdated", "ThingUpdated", "ThingDeleted"),
    ]
    changed: list[Any] = [sent.data for sent in first.sent[1:3]]
    assert changed[0]["changed"] == ["pk", "name", "count", "owner", "extra", "file", "labels"]
    assert changed[1]["changed"] == ["name"]


def test_a_name_is_no_list_of_names() -> None:
    """Else its letters would be told."""
    with pytest.raises(TypeError, match=r"Write \['name'\]"):
        Thing(name="a").broadcast_updated("name")


def test_commit_of_the_database_that_was_written_is_waited_for(
    first: RecordingBroadcaster,
) -> None:
    """And of no other."""
    with transaction.atomic():
        Thing(name="a").save(using="other")
        assert first.names == ["ThingCreated"]
    with transaction.atomic(using="other"):
        thing = Thing.objects.using("other").get()
        thing.delete()
        assert first.names == ["ThingCreated"]
    assert first.names == ["ThingCreated", "ThingDeleted"]


# Silence


@without_broadcasting()
def in_silence(name: str, depth: int = 1) -> Thing:
    """Make a row, and call itself."""
    return in_silence(name, depth - 1) if depth else Thing.objects.create(name=name)


@without_broadcasting()
async def in_silence_later(name: str) -> Thing:
    """Make a row in async code."""
    await asyncio.sleep(0)
    return await Thing.objects.acreate(name=name)


def test_function_can_be_silent(first: RecordingBroadcaster) -> None:
    """Each call of it, and calls within calls."""
    assert in_silence("a").name == "a"
    assert in_silence("b").name == "b"
    assert first.sent == []
    Thing.objects.create(name="c")
    assert first.names == ["ThingCreated"]


async def test_async_function_can_be_silent(first: RecordingBroadcaster) -> None:
    """While it runs, and not what runs beside it."""

    async def aloud() -> None:
        await Thing.objects.acreate(name="b")

    await asyncio.gather(in_silence_later("a"), aloud())
    assert [sent.data["model"]["name"] for sent in first.sent] == ["b"]  # type: ignore[index]


def test_silence_ends_with_an_exception(first: RecordingBroadcaster) -> None:
    """One object may be used again."""
    silence = without_broadcasting()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), silence:
            raise ZeroDivisionError
    with silence, silence:
        Thing.objects.create(name="a")
    assert first.sent == []
    Thing.objects.create(name="b")
    assert first.names == ["ThingCreated"]


def test_one_object_may_silence_several_threads(first: RecordingBroadcaster) -> None:
    """Whichever leaves first; none is silent afterwards."""
    silence = without_broadcasting()
    seen: list[bool] = []

    def enter_and_leave_later(entered: Event, leave: Event) -> None:
        with silence:
            entered.set()
            leave.wait(5)
            seen.append(is_muted())
        seen.append(is_muted())

    events = [(Event(), Event()), (Event(), Event())]
    threads = [Thread(target=enter_and_leave_later, args=pair) for pair in events]
    for thread, (entered, _) in zip(threads, events, strict=True):
        thread.start()
        assert entered.wait(5)
    for thread, (_, leave) in zip(threads, events, strict=True):
        leave.set()
        thread.join(5)
    assert seen == [True, False, True, False]


def test_other_events_are_not_silenced(first: RecordingBroadcaster) -> None:
    """What is fired by name is meant."""
    with without_broadcasting():
        broadcast_to("news", "Told", {})
    assert first.names == ["Told"]
