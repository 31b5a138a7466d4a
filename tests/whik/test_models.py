"""Users of the demo, and their factory."""

import re

import pytest
from django.contrib.auth.models import User

from whik.factories import UserFactory
from whik.models import DemoUser


@pytest.mark.parametrize(
    ("user", "name"),
    [
        (DemoUser(last_name="김", first_name="민수"), "김민수"),
        (DemoUser(last_name="Smith", first_name="Ann"), "Ann Smith"),
        (DemoUser(username="admin"), "admin"),
    ],
)
def test_name_is_written_as_usual_in_its_script(user: DemoUser, name: str) -> None:
    assert user.name == name


@pytest.mark.django_db
def test_random_users_differ_and_have_names_of_both_languages() -> None:
    users = UserFactory.create_batch(200)
    assert User.objects.count() == 200
    assert len({user.username for user in users}) == 200
    assert not users[0].has_usable_password()
    korean = [user.name for user in users if re.search("[가-힣]", user.name)]
    assert 0 < len(korean) < 200
    assert all(re.fullmatch("[가-힣]+", name) for name in korean)
