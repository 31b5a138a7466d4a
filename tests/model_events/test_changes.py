"""Which declared fields an update is said to have changed."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from broadcasting import without_broadcasting
from tests.events.recording import RecordingBroadcaster
from tests.model_events.shop.models import Moment, Owner, Person, Thing

pytestmark = pytest.mark.django_db(
    transaction=True, databases=["default", "other"], available_apps=["tests.model_events.shop"]
)


@pytest.fixture
def thing() -> Thing:
    """Return a row that nobody has heard of."""
    with without_broadcasting():
        return Thing.objects.create(name="a")


def changes(first: RecordingBroadcaster) -> list[Any]:
    """Return what each update says it has changed, and forget it."""
    changed = [sent.data["changed"] for sent in first.sent]  # type: ignore[index]  # it is a dict
    first.sent.clear()
    return changed


def last(first: RecordingBroadcaster) -> Any:
    """Return the row as it was sent last."""
    return first.sent[-1].data["model"]  # type: ignore[index]  # it is a dict


def test_save_that_changes_nothing_is_silent(thing: Thing, first: RecordingBroadcaster) -> None:
    """Of an object that was made, saved, loaded or refreshed."""
    thing.save()
    loaded = Thing.objects.get()
    loaded.save()
    loaded.refresh_from_db()
    loaded.save()
    assert first.sent == []


def test_second_save_of_an_object_tells_what_is_new(
    thing: Thing, first: RecordingBroadcaster
) -> None:
    """And not again what the first has told."""
    thing.name = "b"
    thing.save()
    thing.count = 1
    thing.save()
    thing.name = "a"
    thing.save()
    assert changes(first) == [["name"], ["count"], ["name"]]


def test_field_that_is_not_declared_is_nobodys_business(
    thing: Thing, first: RecordingBroadcaster
) -> None:
    """Its change is silent."""
    thing.secret = "x"
    thing.save()
    assert first.sent == []


def test_only_what_is_written_counts(thing: Thing, first: RecordingBroadcaster) -> None:
    """The rest waits for its own save, and is not sent before."""
    thing.name, thing.count = "b", 1
    thing.save(update_fields=["count"])
    assert last(first)["name"] == "a"
    assert changes(first) == [["count"]]
    thing.save()
    assert changes(first) == [["name"]]


def test_refreshed_field_is_known(thing: Thing, first: RecordingBroadcaster) -> None:
    """What another request wrote is no change of this one."""
    Thing.objects.update(name="z", count=5)
    thing.refresh_from_db(fields=["name"])
    thing.count = 5
    thing.save()
    assert changes(first) == [["count"]]


def test_deferred_field_that_is_loaded_is_known(thing: Thing, first: RecordingBroadcaster) -> None:
    """One that is set without being loaded is not, and counts as changed."""
    loaded = Thing.objects.only("count").get()
    loaded.save()
    assert loaded.name == "a"
    loaded.save()
    assert first.sent == []
    loaded = Thing.objects.only("count").get()
    loaded.name = "a"
    loaded.save()
    assert changes(first) == [["name"]]


def test_expression_counts_and_its_value_is_sent(thing: Thing, first: RecordingBroadcaster) -> None:
    """The object keeps what Django leaves in it."""
    thing.count = F("count") + 5
    thing.save()
    assert last(first)["count"] == 5
    assert changes(first) == [["count"]]


@pytest.mark.parametrize(
    ("field", "value"), [("count", "0"), ("name", "a"), ("extra", {}), ("file", "")]
)
def test_other_spelling_of_a_value_is_none(
    field: str, value: object, thing: Thing, first: RecordingBroadcaster
) -> None:
    """What a form or a request has put there is compared as what it is stored as."""
    setattr(thing, field, value)
    thing.save()
    assert first.sent == []


def test_foreign_key_changes_by_key_and_by_object(
    thing: Thing, first: RecordingBroadcaster
) -> None:
    """And is sent as the object either way."""
    one, two = (Owner.objects.create(name=name) for name in "12")
    thing.owner = one
    thing.save()
    assert last(first)["owner"] == {"name": "1"}
    thing.owner_id = two.pk
    thing.save()
    assert last(first)["owner"] == {"name": "2"}
    thing.save(update_fields=["owner"])
    assert changes(first) == [["owner"], ["owner"]]


def test_json_that_is_altered_in_place_is_changed(
    thing: Thing, first: RecordingBroadcaster
) -> None:
    """Of a loaded object, and again after its save."""
    for number in (1, 2):
        thing.extra["number"] = number
        thing.save()
    loaded = Thing.objects.get()
    loaded.extra["number"] = 3
    loaded.save()
    assert changes(first) == [["extra"]] * 3


def test_file_is_changed_by_its_name(thing: Thing, first: RecordingBroadcaster) -> None:
    """To look at it is no change."""
    thing.file = "a.txt"
    thing.save()
    loaded = Thing.objects.get()
    assert loaded.file.name == "a.txt"
    loaded.save()
    assert changes(first) == [["file"]]


def test_properties_are_compared_by_what_is_sent(first: RecordingBroadcaster) -> None:
    """Also those that are made of other rows, and what the database computes."""
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


def test_property_that_fails_on_the_old_row_has_changed(first: RecordingBroadcaster) -> None:
    """The new row alone must be one that can be sent."""
    with without_broadcasting():
        moment = Moment.objects.create(divisor=0)
    moment.divisor = 2
    moment.save()
    assert changes(first) == [["quotient"]]


def test_all_counts_as_changed_where_nothing_is_known(
    thing: Thing, first: RecordingBroadcaster
) -> None:
    """An object with the key of a row was never loaded."""
    Thing(pk=thing.pk, name="a").save()
    assert changes(first) == [["pk", "name", "count", "owner", "extra", "file"]]


def test_key_of_another_row_is_another_row(thing: Thing, first: RecordingBroadcaster) -> None:
    """What is known of the one says nothing of the other."""
    with without_broadcasting():
        other = Thing.objects.create(name="b", count=1)
    thing.pk = other.pk
    thing.save()
    assert "name" in changes(first)[0]


def test_row_of_another_database_is_another_row(thing: Thing, first: RecordingBroadcaster) -> None:
    """It may have any values."""
    with without_broadcasting():
        Thing(pk=thing.pk, name="z").save(using="other", force_insert=True)
    thing.save(using="other")
    assert "name" in changes(first)[0]


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))]
)
def test_copy_knows_what_the_object_knew(
    copied: Callable[[Thing], Thing], thing: Thing, first: RecordingBroadcaster
) -> None:
    """From a cache, for example; also in the middle of a transaction."""
    with transaction.atomic():
        thing.name = "b"
        thing.save()
        other = copied(thing)
    other.save()
    other.count = 1
    other.save()
    assert changes(first) == [["name"], ["count"]]


# Transactions


def test_within_a_transaction_each_save_tells_what_is_new(
    thing: Thing, first: RecordingBroadcaster
) -> None:
    """As outside of one."""
    with transaction.atomic():
        thing.name = "b"
        thing.save()
        thing.count = 1
        thing.save()
        thing.save()
    thing.save()
    assert changes(first) == [["name"], ["count"]]


def test_rolled_back_values_are_not_known(thing: Thing, first: RecordingBroadcaster) -> None:
    """The next save writes them, and tells of them."""
    for _ in range(2):
        thing.name = "b"
        with transaction.atomic():
            thing.save()
            thing.count += 1
            thing.save()
            transaction.set_rollback(True)
    assert first.sent == []
    thing.save()
    assert changes(first) == [["name", "count"]]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copy_does_not_know_what_was_rolled_back(
    copied: Callable[[Thing], Thing], thing: Thing, first: RecordingBroadcaster
) -> None:
    """As Django copies what `setUpTestData` has made."""
    with transaction.atomic():
        thing.name = "b"
        thing.save()
        other = copied(thing)
        transaction.set_rollback(True)
    other.save()
    assert changes(first) == [["name"]]


def test_rolled_back_savepoint_is_not_known(thing: Thing, first: RecordingBroadcaster) -> None:
    """What was saved around it is."""
    with transaction.atomic():
        thing.name = "b"
        thing.save()
        with transaction.atomic():
            thing.count = 1
            thing.save()
            transaction.set_rollback(True)
        thing.save()
    assert changes(first) == [["name"], ["count"]]


def test_exception_rolls_back_too(thing: Thing, first: RecordingBroadcaster) -> None:
    """Whoever catches it may save again."""
    thing.name = "b"

    def save_and_fail() -> None:
        with transaction.atomic():
            thing.save()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        save_and_fail()
    thing.save()
    assert changes(first) == [["name"]]


def test_silent_save_leaves_nothing_in_the_transaction(
    thing: Thing, django_capture_on_commit_callbacks: Any
) -> None:
    """A test that counts commit hooks finds its own."""
    with transaction.atomic(), django_capture_on_commit_callbacks() as callbacks:
        thing.save()
    assert callbacks == []


# Cost


def test_nothing_is_read_to_compare(thing: Thing) -> None:
    """A save that changes columns makes the one query that it makes without us."""
    loaded = Thing.objects.select_related("owner").get()
    with CaptureQueriesContext(connection) as queries:
        loaded.secret = "x"
        loaded.save()
    assert len(queries) == 1
