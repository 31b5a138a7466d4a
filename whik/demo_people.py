"""Accounts to try the demo with."""

from django.conf import settings
from django.contrib.auth.models import User
from django.utils.crypto import salted_hmac

from .models import DemoUser

PEOPLE = {"ann": ("Ann", "Smith"), "minsu": ("민수", "김"), "jiwoo": ("지우", "박")}


def password_of(username: str) -> str:
    """Return the password of a demo account, which is derived from SECRET_KEY."""
    return salted_hmac("whik.demo_people", username, algorithm="sha256").hexdigest()[:10]


def make_people() -> None:
    """Make the accounts that are missing. They have no permissions."""
    for username, (first_name, last_name) in PEOPLE.items():
        user, is_new = User.objects.get_or_create(
            username=username, defaults={"first_name": first_name, "last_name": last_name}
        )
        if is_new:
            user.set_password(password_of(username))
            user.save()


def people_to_show() -> list[tuple[DemoUser, str]]:
    """Return the demo accounts with their passwords; none without DEBUG."""
    if not settings.DEBUG:
        return []
    return [
        (user, password_of(user.username))
        for user in DemoUser.objects.filter(username__in=PEOPLE).order_by("pk")
    ]
