"""Rows that are saved often: of their events the newest is sent."""

import pytest
from django.db import transaction

from broadcasting import flush_debounced
from tests.events.recording import RecordingBroadcaster
from tests.model_events.shop.models import Thing

pytestmark = pytest.mark.django_db(
    transaction=True, databases=["default", "other"], available_apps=["tests.model_events.shop"]
)


@pytest.fixture
def thing(monkeypatch: pytest.MonkeyPatch, first: RecordingBroadcaster) -> Thing:
    """Return a row whose updates may wait."""
    thing = Thing.objects.create(name="new")
    first.sent.clear()
    monkeypatch.setattr(
        Thing, "broadcast_debounce", lambda self, event: 60 if event == "updated" else 0
    )
    return thing


def names(first: RecordingBroadcaster) -> list[object]:
    """Return the names that things have in what was sent."""
    return [sent.data["model"]["name"] for sent in first.sent]  # type: ignore[index]


def test_thousand_saves_are_one_message(thing: Thing, first: RecordingBroadcaster) -> None:
    """It has the row as it was saved last."""
    with transaction.atomic():
        for number in range(1000):
            thing.name = str(number)
            thing.save()
    assert first.sent == []
    flush_debounced()
    assert names(first) == ["999"]


def test_rows_are_apart(thing: Thing, first: RecordingBroadcaster) -> None:
    """One does not take the place of another."""
    other = Thing.objects.create(name="other")
    for each in (thing, other, thing):
        each.name += "!"
        each.save()
    flush_debounced()
    assert names(first) == ["other", "new!!", "other!"]


def test_deletion_is_told_last(thing: Thing, first: RecordingBroadcaster) -> None:
    """The update that waits is sent before it, not after the row is gone."""
    thing.name = "changed"
    thing.save()
    thing.delete()
    assert first.names == ["ThingUpdated", "ThingDeleted"]
    flush_debounced()
    assert len(first.sent) == 2


def test_save_that_is_rolled_back_is_not_told(thing: Thing, first: RecordingBroadcaster) -> None:
    """Those that were committed are, as they were."""
    thing.name = "kept"
    thing.save()
    with transaction.atomic():
        thing.name = "lost"
        thing.save()
        transaction.set_rollback(True)
    flush_debounced()
    assert names(first) == ["kept"]
