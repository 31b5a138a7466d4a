"""The users of the demo, and the factory that makes them up."""

import re

import pytest
from django.contrib.auth.models import User

from whik.factories import UserFactory
from whik.models import DemoUser


def test_korean_name_is_written_as_one_word() -> None:
    """The family name comes first, without a space."""
    assert DemoUser(last_name="김", first_name="민수").name == "김민수"


def test_english_name_begins_with_the_given_name() -> None:
    """As `get_full_name` has it."""
    assert DemoUser(last_name="Smith", first_name="Ann").name == "Ann Smith"


def test_user_without_a_name_is_called_by_the_username() -> None:
    """The superuser, for one."""
    assert DemoUser(username="admin").name == "admin"


@pytest.mark.django_db
def test_made_up_users_are_saved_and_differ() -> None:
    """No two share a username; each is a user of the site."""
    users = UserFactory.create_batch(50)
    assert User.objects.count() == 50
    assert len({user.username for user in users}) == 50


@pytest.mark.django_db
def test_made_up_users_have_names_of_both_languages() -> None:
    """Two hundred coins do not all fall on one side."""
    names = [user.name for user in UserFactory.create_batch(200)]
    korean = [name for name in names if re.search("[가-힣]", name)]
    assert 0 < len(korean) < 200
    assert all(re.fullmatch("[가-힣]+", name) for name in korean)


@pytest.mark.django_db
def test_made_up_user_cannot_log_in() -> None:
    """Their password is unusable, which also saves its hashing."""
    assert not UserFactory.create().has_usable_password()
