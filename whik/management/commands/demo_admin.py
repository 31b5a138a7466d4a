"""Make a superuser and demo accounts, and print where to look."""

import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand

from whik.demo_people import make_people

PAGES = [
    ("/", "an event goes from one tab to the other"),
    ("/sub", "the list of events"),
    ("/pub", "make a user"),
    ("/chat/", "chat"),
    ("/things/", "a list that everybody can change"),
    ("/login/", "log in with a demo account"),
    ("/admin/", "the users that were made"),
]


class Command(BaseCommand):
    """
    Make the superuser ``admin`` with a random password, and demo accounts, if they are missing.

    Only with DEBUG, since the password is kept in a file and printed.
    """

    help = "Make the superuser 'admin' and demo accounts, and print the addresses to open."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            self.stdout.write(
                "No demo admin without DEBUG. Make a superuser with manage.py createsuperuser."
            )
            return
        password = _kept_password(settings.ADMIN_PASSWORD_FILE)
        admin, is_new = User.objects.get_or_create(
            username="admin",
            defaults={"email": "admin@example.com", "is_staff": True, "is_superuser": True},
        )
        if is_new:
            admin.set_password(password)
            admin.save()
        make_people()
        for path, purpose in PAGES:
            self.stdout.write(f"{settings.BROADCAST_URL}{path:<9} {purpose}")
        if admin.check_password(password):
            self.stdout.write(f"Log in as admin with the password {password}")
        else:
            self.stdout.write("Log in as admin with the password you gave it.")


def _kept_password(path: Path) -> str:
    """Return the password in `path`, which is written if it does not exist."""
    if path.exists():
        return path.read_text(encoding="ascii").strip()
    password = secrets.token_urlsafe(12)
    # Never readable by others, not even for a moment.
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(password + "\n")
    return password
