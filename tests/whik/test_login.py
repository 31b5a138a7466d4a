"""Logging in with a demo account, and signing out other windows."""

import re

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from broadcasting.drivers.registry import broadcasters
from whik.demo_people import PEOPLE, make_people, password_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def terminated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of users whose sockets are ended through the default connection."""
    users: list[str] = []
    monkeypatch.setattr(broadcasters["memory"], "terminate_user_connections", users.append)
    return users


def log_in(client: Client, username: str = "ann", **fields: str) -> int:
    """Log in with a demo account; return the status of the response."""
    fields = {"username": username, "password": password_of(username), **fields}
    return client.post("/login/", fields).status_code


def is_logged_in(client: Client) -> bool:
    """Return whether pages know the user."""
    return "Log out" in client.get("/chat/").content.decode()


def test_page_shows_demo_accounts_with_debug(client: Client, settings: Settings) -> None:
    make_people()
    make_people()
    assert {user.username for user in User.objects.all()} == set(PEOPLE)
    assert not User.objects.filter(is_staff=True).exists()
    settings.DEBUG = True
    html = client.get("/login/").content.decode()
    [box] = re.findall(r'<input[^>]*name="end_others"[^>]*>', html)
    assert "checked" not in box
    assert password_of("ann") in html
    assert "Log in as 김민수" in html
    settings.DEBUG = False
    assert password_of("ann") not in client.get("/login/").content.decode()


def test_button_logs_in_with_debug_only(client: Client, settings: Settings) -> None:
    make_people()
    settings.DEBUG = False
    assert client.post("/login/", {"demo": "ann"}).status_code == 200
    assert not is_logged_in(client)
    settings.DEBUG = True
    assert client.post("/login/", {"demo": "ann"}).status_code == 302
    assert is_logged_in(client)


@pytest.mark.parametrize("username", ["admin", "nobody"])
def test_button_is_for_demo_accounts_only(
    client: Client, settings: Settings, username: str
) -> None:
    User.objects.create_superuser("admin", password="another")
    settings.DEBUG = True
    assert client.post("/login/", {"demo": username}).status_code == 200
    assert not is_logged_in(client)


def test_next_leads_back_to_this_site_only(client: Client) -> None:
    make_people()
    response = client.post("/login/", {"username": "ann", "password": "x"})
    assert 'role="alert"' in response.content.decode()
    fields = {"username": "ann", "password": password_of("ann")}
    response = client.post("/login/", {**fields, "next": "/chat/lobby/"})
    assert response["Location"] == "/chat/lobby/"
    response = client.post("/login/", {**fields, "next": "https://evil.example/"})
    assert response["Location"] == "/chat/"


def test_log_out_ends_the_session(client: Client) -> None:
    make_people()
    log_in(client)
    assert client.get("/logout/").status_code == 405
    client.post("/logout/")
    assert not is_logged_in(client)


def test_other_windows_are_signed_out_if_asked(
    terminated: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    make_people()
    first, second, other = Client(), Client(), Client()
    log_in(first)
    log_in(other, "minsu")
    log_in(second)
    assert terminated == []
    assert is_logged_in(first)
    third = Client()
    with django_capture_on_commit_callbacks(execute=True):
        log_in(third, end_others="on")
    assert terminated == [str(User.objects.get(username="ann").pk)]
    assert [is_logged_in(client) for client in (first, second, third, other)] == [
        *(False, False, True, True)
    ]
    assert Session.objects.count() == 2
