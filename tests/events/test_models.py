"""Which events the changes of a row make, and what their methods are asked."""

import pytest
from django.db import transaction

from broadcasting import without_broadcasting

from .recording import RecordingBroadcaster
from .shop.models import Thing

pytestmark = pytest.mark.django_db(
    transaction=True, databases=["default", "other"], available_apps=["tests.events.shop"]
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
