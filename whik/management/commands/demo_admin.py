"""A superuser for development, and where to look."""

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
    ("/sub", "what arrives"),
    ("/pub", "make a user"),
    ("/chat/", "talk to each other"),
    ("/things/", "change a list that all see"),
    ("/login/", "chat as one of the demo people"),
    ("/admin/", "who was made"),
]


class Command(BaseCommand):
    """
    Make the superuser ``admin`` with a random password, and a few people to chat as, once.

    Only with DEBUG: the password stands in a file and on the screen.
    """

    help = "Make the superuser 'admin' and demo people, and print the addresses to open."

    def handle(self, *args: Any, **options: Any) -> None:
        """Make what is missing; print the rest."""
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
            # Somebody has changed it, and that is theirs to do.
            self.stdout.write("Log in as admin with the password you gave it.")


def _kept_password(path: Path) -> str:
    """Return the password in `path`; write a new one where there is none."""
    if path.exists():
        return path.read_text(encoding="ascii").strip()
    password = secrets.token_urlsafe(12)
    # Nobody else may read it, from the first moment on.
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(password + "\n")
    return password
