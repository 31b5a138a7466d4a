"""The command of `make run` that makes accounts and prints where to look."""

import stat
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from pytest_django import Settings

from whik.demo_people import PEOPLE

pytestmark = pytest.mark.django_db


@pytest.fixture
def password_file(settings: Settings, tmp_path: Path) -> Path:
    """Return where the password is kept, with DEBUG on."""
    settings.DEBUG = True
    settings.ADMIN_PASSWORD_FILE = tmp_path / "admin-password"
    return tmp_path / "admin-password"


def run() -> str:
    """Run the command and return what it prints."""
    out = StringIO()
    call_command("demo_admin", stdout=out)
    return out.getvalue()


def test_first_run_makes_the_admin(password_file: Path) -> None:
    printed = run()
    password = password_file.read_text().strip()
    admin = User.objects.get(username="admin")
    assert admin.is_superuser
    assert admin.is_staff
    assert admin.check_password(password)
    assert password in printed
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
    assert set(PEOPLE) < set(User.objects.values_list("username", flat=True))


def test_later_runs_change_nothing(password_file: Path) -> None:
    """A second start prints the same password and hashes none anew."""
    run()
    password, before = password_file.read_text(), User.objects.get(username="admin").password
    assert password.strip() in run()
    assert User.objects.get(username="admin").password == before


def test_changed_password_is_kept(password_file: Path) -> None:
    run()
    admin = User.objects.get(username="admin")
    admin.set_password("my own")
    admin.save()
    assert password_file.read_text().strip() not in run()
    assert User.objects.get(username="admin").check_password("my own")


def test_addresses_are_printed(password_file: Path, settings: Settings) -> None:
    settings.BROADCAST_URL = "http://127.0.0.1:8001"
    printed = run()
    for page in ("/", "/chat/", "/things/", "/sub", "/pub", "/login/", "/admin/"):
        assert f"http://127.0.0.1:8001{page} " in printed


def test_production_has_no_demo_admin(password_file: Path, settings: Settings) -> None:
    settings.DEBUG = False
    assert "No demo admin without DEBUG" in run()
    assert not User.objects.exists()
    assert not password_file.exists()
