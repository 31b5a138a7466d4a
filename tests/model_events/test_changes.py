"""Which declared fields an update reports as changed."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from broadcasting import without_broadcasting
from tests.events.recording import RecordingBroadcaster as Recorder
from tests.model_events.shop.models import Moment, Owner, Person, Thing

pytestmark = pytest.mark.django_db(
    transaction=True, databases=["default", "other"], available_apps=["tests.model_events.shop"]
)


@pytest.fixture
def thing() -> Thing:
    """Return a row whose creation was not broadcast."""
    with without_broadcasting():
        return Thing.objects.create(name="a")


def changes(first: Recorder) -> list[Any]:
    """Return the changed names of each update, and clear them."""
    changed = [sent.data["changed"] for sent in first.sent]  # type: ignore[index]  # it is a dict
    first.sent.clear()
    return changed


def last(first: Recorder) -> Any:
    """Return the row as it was sent last."""
    return first.sent[-1].data["model"]  # type: ignore[index]  # it is a dict


def test_unchanged_row_is_silent(thing: Thing, first: Recorder) -> None:
    thing.save()
    loaded = Thing.objects.get()
    loaded.save()
    loaded.refresh_from_db()
    loaded.secret = "x"  # Not declared.
    loaded.save()
    assert first.sent == []


def test_each_save_reports_what_is_new(thing: Thing, first: Recorder) -> None:
    thing.name = "b"
    thing.save()
    thing.count = 1
    thing.save()
    thing.name = "a"
    thing.save()
    assert changes(first) == [["name"], ["count"], ["name"]]


def test_only_written_fields_count(thing: Thing, first: Recorder) -> None:
    thing.name, thing.count = "b", 1
    thing.save(update_fields=["count"])
    assert last(first)["name"] == "a"
    assert changes(first) == [["count"]]
    thing.save()
    assert changes(first) == [["name"]]


def test_refreshed_field_is_known(thing: Thing, first: Recorder) -> None:
    Thing.objects.update(name="z", count=5)
    thing.refresh_from_db(fields=["name"])
    thing.count = 5
    thing.save()
    assert changes(first) == [["count"]]


def test_deferred_field_is_known_once_loaded(thing: Thing, first: Recorder) -> None:
    """One that is set without being loaded counts as changed."""
    loaded = Thing.objects.only("count").get()
    loaded.save()
    assert loaded.name == "a"
    loaded.save()
    assert first.sent == []
    loaded = Thing.objects.only("count").get()
    loaded.name = "a"
    loaded.save()
    assert changes(first) == [["name"]]


def test_value_of_an_expression_is_sent(thing: Thing, first: Recorder) -> None:
    thing.count = F("count") + 5
    thing.save()
    assert last(first)["count"] == 5
    assert changes(first) == [["count"]]


@pytest.mark.parametrize(
    ("field", "value"), [("count", "0"), ("name", "a"), ("extra", {}), ("file", "")]
)
def test_value_is_compared_as_it_is_stored(
    field: str, value: object, thing: Thing, first: Recorder
) -> None:
    setattr(thing, field, value)
    thing.save()
    assert first.sent == []


def test_foreign_key_changes_by_key_and_by_object(thing: Thing, first: Recorder) -> None:
    one, two = (Owner.objects.create(name=name) for name in "12")
    thing.owner = one
    thing.save()
    assert last(first)["owner"] == {"name": "1"}
    thing.owner_id = two.pk
    thing.save()
    assert last(first)["owner"] == {"name": "2"}
    thing.save(update_fields=["owner"])
    assert changes(first) == [["owner"], ["owner"]]


def test_json_may_be_altered_in_place(thing: Thing, first: Recorder) -> None:
    for number in (1, 2):
        thing.extra["number"] = number
        thing.save()
    loaded = Thing.objects.get()
    loaded.extra["number"] = 3
    loaded.save()
    assert changes(first) == [["extra"]] * 3


def test_file_is_changed_by_its_name(thing: Thing, first: Recorder) -> None:
    thing.file = "a.txt"
    thing.save()
    loaded = Thing.objects.get()
    assert loaded.file.name == "a.txt"
    loaded.save()
    assert changes(first) == [["file"]]


def test_properties_are_compared_by_what_is_sent(first: Recorder) -> None:
    with without_broadcasting():
        ann = Person.objects.create(first="Ann", last="Li")
        bob = Person.objects.create(first="Bob", last="Li", boss=ann)
    bob.age = 7
    bob.save()
    assert first.sent == []
    bob.first = "Rob"
    bob.save()
    assert last(first)["upper"] == "ROB"
    assert changes(first) == [["full_name", "upper"]]
    bob = Person.objects.get(pk=bob.pk)
    bob.boss = None
    bob.save()
    assert changes(first) == [["boss_name"]]


def test_property_that_fails_on_the_old_row_has_changed(first: Recorder) -> None:
    with without_broadcasting():
        moment = Moment.objects.create(divisor=0)
    moment.divisor = 2
    moment.save()
    assert changes(first) == [["quotient"]]


def test_unknown_values_count_as_changed(thing: Thing, first: Recorder) -> None:
    Thing(pk=thing.pk, name="a").save()
    assert changes(first) == [["pk", "name", "count", "owner", "extra", "file"]]


def test_other_key_or_database_is_another_row(thing: Thing, first: Recorder) -> None:
    with without_broadcasting():
        other = Thing.objects.create(name="b", count=1)
        Thing(pk=thing.pk, name="z").save(using="other", force_insert=True)
    thing.save(using="other")
    thing.pk = other.pk
    thing.save(using="default")
    assert ["name" in changed for changed in changes(first)] == [True, True]


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))]
)
def test_copy_knows_the_values(
    copied: Callable[[Thing], Thing], thing: Thing, first: Recorder
) -> None:
    with transaction.atomic():
        thing.name = "b"
        thing.save()
        other = copied(thing)
    other.save()
    other.count = 1
    other.save()
    assert changes(first) == [["name"], ["count"]]


# Transactions


@pytest.mark.parametrize("copied", [lambda thing: thing, copy.copy, copy.deepcopy])
def test_rolled_back_values_are_unknown(
    copied: Callable[[Thing], Thing], thing: Thing, first: Recorder
) -> None:
    """To copies, too: Django copies what `setUpTestData` makes."""
    other = thing
    for _ in range(2):
        other.name = "b"
        with transaction.atomic():
            other.save()
            other = copied(other)
            other.count += 1
            other.save()
            transaction.set_rollback(True)
    assert first.sent == []
    other.save()
    assert changes(first) == [["name", "count"]]


def test_values_of_a_rolled_back_savepoint_are_unknown(thing: Thing, first: Recorder) -> None:
    with transaction.atomic():
        thing.name = "b"
        thing.save()
        with transaction.atomic():
            thing.count = 1
            thing.save()
            transaction.set_rollback(True)
        thing.save()
    assert changes(first) == [["name"], ["count"]]


def test_silent_save_adds_no_commit_hook(
    thing: Thing, django_capture_on_commit_callbacks: Any
) -> None:
    with transaction.atomic(), django_capture_on_commit_callbacks() as callbacks:
        thing.save()
    assert callbacks == []


def test_comparing_makes_no_query(thing: Thing) -> None:
    loaded = Thing.objects.select_related("owner").get()
    with CaptureQueriesContext(connection) as queries:
        loaded.secret = "x"
        loaded.save()
    assert len(queries) == 1
