"""Which fields leave, how values are spelled, and what is refused."""

import json
from collections import OrderedDict, UserDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from functools import partial
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import attrs
import pytest
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy, override
from hypothesis import given
from hypothesis import strategies as st

from broadcasting import register_broadcast_fields
from broadcasting.events.payload import MAX_DEPTH, encode_payload
from broadcasting.exceptions import PayloadError, UndeclaredModel


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Status(models.TextChoices):
    OPEN = "open", gettext_lazy("Open")


@dataclass
class Point:
    x: object
    y: object = None


@attrs.define
class Size:
    width: int


@dataclass
class Nothing:
    pass


class Author(models.Model):
    name = models.CharField(max_length=10)
    broadcast_fields = ("pk", "name", "shout", "profile")

    class Meta:
        app_label = "tests_events"
        managed = False

    @property
    def shout(self) -> str:
        return self.name.upper()

    def method(self) -> str:
        return self.name


class Profile(models.Model):
    author = models.OneToOneField(Author, models.CASCADE)

    class Meta:
        app_label = "tests_events"
        managed = False


class Article(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, null=True)
    file = models.FileField()
    status = models.CharField(max_length=10, choices=Status)
    previous = models.ForeignKey("self", models.CASCADE, null=True)

    class Meta:
        app_label = "tests_events"
        managed = False

    def method(self) -> str:
        return "method"


class Mixin:
    broadcast_fields = ["status"]


class Story(Mixin, Article):
    class Meta:
        app_label = "tests_events"
        proxy = True


def sent(value: object) -> Any:
    """Return `value` as a client parses it."""
    return json.loads(encode_payload({"v": value}, "Event"))["v"]


def refusal(value: object) -> str:
    """Return why `value` is refused."""
    with pytest.raises(PayloadError) as caught:
        encode_payload({"v": value}, "Event")
    return str(caught.value)


SPELLINGS: list[tuple[object, object]] = [
    (None, None),
    (True, True),
    (3, 3),
    (0.5, 0.5),
    ("방", "방"),
    (mark_safe("<b>"), "<b>"),
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    (Status.OPEN, "open"),
    (gettext_lazy("Yes"), "Yes"),
    (datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2))), "2026-03-01T10:00:00.000000Z"),
    (datetime(2026, 3, 1, 12, 0, 0, 5), "2026-03-01T12:00:00.000005"),
    (date(2026, 3, 1), "2026-03-01"),
    (time(9, 5), "09:05:00.000000"),
    (timedelta(days=1, seconds=2), "P1DT00H00M02S"),
    (Decimal("1.10"), "1.10"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (PurePosixPath("a/b"), "a/b"),
    ({"a": [1, (2, 3)]}, {"a": [1, [2, 3]]}),
    (deque([1, 2]), [1, 2]),
    (range(3), [0, 1, 2]),
    (OrderedDict(b=1, a=2).keys(), ["b", "a"]),
    ({"b": 1}.values(), [1]),
    ({"b": 1}.items(), [["b", 1]]),
    (UserDict({"a": 1}), {"a": 1}),
    ({3, 10, 2}, [2, 3, 10]),
    (frozenset({"b", 1, "a", None}), ["a", "b", 1, None]),
    ({Level.HIGH: 1, UUID(int=1): 2, date(2026, 3, 1): 3, 7: 4, Colour.RED: 5},
     {"3": 1, "00000000-0000-0000-0000-000000000001": 2, "2026-03-01": 3, "7": 4, "red": 5}),
    (Point(1, Size(2)), {"x": 1, "y": {"width": 2}}),
    (Nothing(), {}),
    (SimpleLazyObject(lambda: "text"), "text"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), SPELLINGS)
def test_a_value_is_spelled_for_clients(value: object, expected: object) -> None:
    """Every type has one spelling, whatever the value."""
    assert sent(value) == expected


def test_a_translation_is_in_the_language_of_the_moment() -> None:
    """A lazy string is evaluated when the event is fired."""
    with override("de"):
        assert sent(gettext_lazy("Yes")) == "Ja"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
)  # fmt: skip


@given(st.dictionaries(st.text(), JSON))
def test_json_passes_unchanged(data: dict[str, object]) -> None:
    """What is JSON already arrives as it was."""
    assert json.loads(encode_payload(data, "Event")) == data


class NotASequence:
    def __getitem__(self, index: int) -> int:
        raise IndexError


def _generator() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), ["Event.v", "nan is not JSON"]),
        (float("-inf"), ["-inf is not JSON"]),
        (Decimal("NaN"), ["NaN"]),
        (Decimal("Infinity"), ["Infinity"]),
        (time(9, tzinfo=UTC), ["time zone"]),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), ["Event.v"]),
        (b"a", ["type bytes", "base64"]),
        (bytearray(b"a"), ["base64"]),
        (memoryview(b"a"), ["base64"]),
        (_generator(), ["generator", "list(...)"]),
        (map(str, [1]), ["list(...)"]),
        (len, ["pass what it returns"]),
        (lambda: 1, ["pass what it returns"]),
        (partial(int, "1"), ["pass what it returns"]),
        (Point, ["pass what it returns"]),
        (object(), ["Event.v is of type object, which cannot be sent"]),
        (NotASequence(), ["test_payload.NotASequence"]),
        (AnonymousUser(), ["AnonymousUser"]),
        (SimpleLazyObject(AnonymousUser), ["django.contrib.auth.models.AnonymousUser"]),
        ("\ud800", ["lone surrogate"]),
        (PurePosixPath("\udcff"), ["lone surrogate"]),
        ({"\ud800": 1}, ["A key of Event.v", "lone surrogate"]),
        ({None: 1}, ["Event.v has the key None of type NoneType"]),
        ({True: 1}, ["the key True"]),
        ({(1, 2): 1}, ["the key (1, 2)"]),
        ({1: "a", "1": "b"}, ["two keys that are both sent as '1'"]),
        (10**5000, ["Event", "digits"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_json_is_refused(value: object, words: list[str]) -> None:
    """The error tells where the value is and what to do."""
    message = refusal(value)
    assert all(word in message for word in words)


def test_a_path_leads_to_the_value() -> None:
    """Fields, indexes, keys and set items are told apart."""
    assert "Event.v.x[1].a['b c'][0] is" in refusal(Point([0, {"a": {"b c": {b"x"}}}]))


@pytest.mark.parametrize("data", [None, [1], "text", Point(1)])
def test_data_must_be_a_mapping(data: object) -> None:
    """Clients receive an object, and a forgotten ``return`` is noticed."""
    with pytest.raises(PayloadError, match=r"data of Event .* must be a dictionary"):
        encode_payload(data, "Event")


def test_a_cycle_is_refused() -> None:
    """An object may appear twice, but not within itself."""
    shared = [1]
    assert sent([shared, shared]) == [[1], [1]]
    loop: list[object] = []
    loop.append({"a": loop})
    assert "Event.v[0].a leads back" in refusal(loop)


def test_bottomless_data_is_refused() -> None:
    """Depth has a limit that sensible data does not meet."""
    value: object = 1
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert sent(value)
    assert f"more than {MAX_DEPTH} levels" in refusal([value])


class TestModels:
    def test_an_undeclared_model_is_refused(self) -> None:
        """The error names model, event and path, and the line to write."""
        with pytest.raises(UndeclaredModel) as caught:
            encode_payload({"user": User(username="ada")}, "NewUserCreated")
        message = str(caught.value)
        assert message.startswith("NewUserCreated.user is of the model auth.User")
        assert 'broadcast_fields = ("pk", ...) in class User' in message
        assert 'register_broadcast_fields(User, ["pk", ...])' in message

    @pytest.mark.parametrize("wrap", [lambda user: [user], lambda user: Point({"a": user})])
    def test_no_way_round_lets_an_undeclared_user_leave(
        self, wrap: Callable[[User], object]
    ) -> None:
        """Lists, dictionaries and dataclasses do not open the door."""
        user = User(username="ada", password="a-hash")
        with pytest.raises(UndeclaredModel):
            encode_payload({"v": wrap(user)}, "Event")

    def test_request_user_is_treated_as_the_user_it_is(self) -> None:
        """A lazy object neither hides the model nor lets it out."""
        lazy = SimpleLazyObject(lambda: User(pk=3, username="ada"))
        with pytest.raises(UndeclaredModel):
            encode_payload({"user": lazy}, "Event")
        register_broadcast_fields(User, ["pk"])
        assert sent(lazy) == {"pk": 3}

    def test_only_declared_fields_leave(self) -> None:
        """The hash of a password stays where it is."""
        register_broadcast_fields(User, ["id", "username", "is_active"])
        user = User(pk=3, username="ada")
        user.set_password("secret")
        text = encode_payload({"user": user}, "Event")
        assert json.loads(text) == {"user": {"id": 3, "username": "ada", "is_active": True}}
        assert user.password not in text

    def test_properties_and_relations_may_be_declared(self) -> None:
        """The far side of a one-to-one relation that is not there is null."""
        assert sent(Author(name="ada")) == {
            "pk": None, "name": "ada", "shout": "ADA", "profile": None,
        }  # fmt: skip

    def test_a_foreign_key_needs_a_declaration_of_its_own(self) -> None:
        """Naming a relation does not say which fields of the other model may leave."""
        register_broadcast_fields(Article, ["author"])
        assert sent(Article()) == {"author": None}
        assert sent(Article(author=Author(name="ada")))["author"]["name"] == "ada"
        register_broadcast_fields(Article, ["previous"])
        register_broadcast_fields(Group, ["name"])
        profile = Profile(author=Author(name="ada"))
        assert refusal(profile).startswith("Event.v is of the model tests_events.Profile")

    def test_a_file_is_its_address(self) -> None:
        """A file that is not there is null."""
        register_broadcast_fields(Article, ["file", "status"])
        assert sent(Article(status=Status.OPEN)) == {"file": None, "status": "open"}
        assert sent(Article(file="a b.txt"))["file"].endswith("/a%20b.txt")

    def test_a_declaration_is_inherited(self) -> None:
        """A mixin's declaration counts; registration of the class goes before it."""
        assert sent(Story(status="open")) == {"status": "open"}
        register_broadcast_fields(Article, ["pk"])
        assert sent(Story(status="open")) == {"status": "open"}
        register_broadcast_fields(Story, ["file"])
        assert sent(Story(status="open")) == {"file": None}

    def test_a_proxy_inherits_a_registration(self) -> None:
        """A subclass is at least as private as its base."""

        class Member(User):
            class Meta:
                app_label = "tests_events"
                proxy = True

        register_broadcast_fields(User, ["username"])
        assert sent(Member(username="ada")) == {"username": "ada"}

    def test_an_empty_declaration_sends_nothing(self) -> None:
        """No fields is an answer, too."""
        register_broadcast_fields(User, [])
        assert sent(User()) == {}

    def test_rows_that_name_each_other_are_a_cycle(self) -> None:
        """Two objects of the same row count as one."""
        register_broadcast_fields(Article, ["previous"])
        article = Article(pk=1, previous=Article(pk=2, previous=Article(pk=1)))
        assert "Event.v.previous.previous leads back" in refusal(article)

    @pytest.mark.parametrize("fields", ["pk", None, {"pk"}, [1]])
    def test_a_declaration_is_a_list_of_names(
        self, fields: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A string would otherwise be taken letter by letter."""
        with pytest.raises(ImproperlyConfigured, match="list or tuple of names"):
            register_broadcast_fields(User, fields)
        monkeypatch.setattr(Author, "broadcast_fields", fields)
        with pytest.raises(ImproperlyConfigured, match=r"tests_events\.Author"):
            sent(Author())

    @pytest.mark.parametrize(
        ("name", "reason"), [("pasword", "does not have"), ("get_full_name", "is a method")]
    )
    def test_registering_looks_at_each_name(self, name: str, reason: str) -> None:
        """A spelling mistake is found when the site starts."""
        with pytest.raises(ImproperlyConfigured, match=f"User, .*{name}.*{reason}"):
            register_broadcast_fields(User, ["pk", name])
        with pytest.raises(UndeclaredModel):
            encode_payload({"v": User()}, "Event")

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("nmae", r"Event\.v is of the model tests_events\.Author, .*'nmae'"),
            ("method", r"Event\.v\.method is of type method; pass what it returns"),
        ],
    )
    def test_a_wrong_name_in_the_class_is_refused(
        self, name: str, reason: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A class's own declaration is looked at when it is used."""
        monkeypatch.setattr(Author, "broadcast_fields", ["pk", name])
        with pytest.raises(PayloadError, match=reason):
            sent(Author())


@pytest.mark.django_db
class TestQueries:
    def test_a_queryset_of_a_declared_model_is_a_list(self) -> None:
        """Objects leave as they would alone."""
        register_broadcast_fields(Group, ["name"])
        Group.objects.create(name="staff")
        assert sent(Group.objects.order_by("name")) == [{"name": "staff"}]

    def test_a_queryset_of_an_undeclared_model_is_refused(self) -> None:
        """Also where it happens to be empty."""
        with pytest.raises(UndeclaredModel, match=r"Event\.v is of the model auth\.Group"):
            encode_payload({"v": Group.objects.none()}, "Event")

    @pytest.mark.parametrize("method", ["values", "values_list"])
    def test_values_are_refused(self, method: str) -> None:
        """They would carry every column of a declared model."""
        register_broadcast_fields(Group, ["name"])
        queryset = getattr(Group.objects, method)()
        assert "Pass a queryset of its objects, or list(...)" in refusal(queryset)

    def test_a_declared_relation_is_expanded(self) -> None:
        """Forward and reverse, in the order of the related model."""
        register_broadcast_fields(Group, ["name"])
        register_broadcast_fields(User, ["username", "groups"])
        user = User.objects.create(username="ada")
        user.groups.add(Group.objects.create(name="staff"))
        assert sent(user) == {"username": "ada", "groups": [{"name": "staff"}]}
        register_broadcast_fields(Permission, ["codename"])
        register_broadcast_fields(ContentType, ["permission_set"])
        names = [
            p["codename"] for p in sent(ContentType.objects.get_for_model(Group))["permission_set"]
        ]
        assert "add_group" in names

    def test_a_path_leads_into_a_relation(self) -> None:
        """An item of a relation is found by its index."""
        register_broadcast_fields(User, ["groups"])
        user = User.objects.create(username="ada")
        user.groups.add(Group.objects.create(name="staff"))
        assert refusal(user).startswith("Event.v.groups is of the model auth.Group")

    def test_a_manager_on_its_own_is_refused(self) -> None:
        """The error says how to make a queryset of it."""
        register_broadcast_fields(Group, ["name"])
        user = User.objects.create(username="ada")
        assert "write .all() after it" in refusal(user.groups)
        assert "write .all() after it" in refusal(Group.objects)
