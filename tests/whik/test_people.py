"""People in the chat and their names."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone, translation

from broadcasting.guests import Guest
from whik.factories import PersonFactory, UserFactory
from whik.models import Person
from whik.people import NAME_IS_KEPT, person_of, rename

pytestmark = pytest.mark.django_db


def guest(number: int = 1) -> Guest:
    """Return one of many guests."""
    return Guest(f"guest-{number:032x}")


def test_guests_are_numbered() -> None:
    assert person_of(guest(1)).name == "Guest-1"
    assert person_of(guest(2)).name == "Guest-2"
    assert person_of(guest(1)).name == "Guest-1"
    with translation.override("ko"):
        assert person_of(guest(3)).name == "손님-3"


def test_number_of_a_guest_is_not_taken() -> None:
    rename(person_of(guest(1)), "guest-2")
    assert person_of(guest(2)).name == "Guest-3"


def test_user_has_the_name_of_the_account() -> None:
    user = UserFactory.create(first_name="민수", last_name="김")
    person = person_of(user)
    assert (person.id, person.name, person.is_guest) == (str(user.pk), "김민수", False)
    User.objects.filter(pk=user.pk).update(first_name="민지")
    assert person_of(user).name == "김민지"


def test_second_account_of_a_name_gets_a_number() -> None:
    users = [UserFactory.create(first_name="Ann", last_name="Smith") for _ in range(2)]
    assert [person_of(user).name for user in users] == ["Ann Smith", "Ann Smith-2"]
    assert person_of(users[1]).name == "Ann Smith-2"


def test_name_of_somebody_else_is_refused() -> None:
    PersonFactory.create(name="철수")
    ann = PersonFactory.create(name="Ann")
    with pytest.raises(ValidationError, match="somebody else"):
        rename(ann, " 철수 ")
    rename(ann, "ANN")
    assert Person.objects.get(pk=ann.pk).name == "ANN"


def test_name_of_a_guest_is_free_after_a_day() -> None:
    long_ago = timezone.now() - NAME_IS_KEPT - timedelta(minutes=1)
    PersonFactory.create(name="철수", seen_at=long_ago)
    PersonFactory.create(id="7", name="Ann", seen_at=long_ago)
    person = PersonFactory.create()
    rename(person, "철수")
    assert person.name == "철수"
    with pytest.raises(ValidationError):
        rename(person, "Ann")


def test_visit_keeps_the_name() -> None:
    person = person_of(guest())
    Person.objects.filter(pk=person.pk).update(seen_at=timezone.now() - timedelta(hours=23))
    person_of(guest())
    assert Person.objects.get(pk=person.pk).seen_at > timezone.now() - timedelta(minutes=1)


def test_browser_is_one_guest_until_login(client: Client) -> None:
    client.get("/chat/a/")
    client.get("/chat/b/")
    assert Person.objects.count() == 1
    user = UserFactory.create()
    client.force_login(user)
    client.get("/chat/a/")
    assert Person.objects.get(pk=str(user.pk)).visits.count() == 1
