"""Logging in as a demo user, and ending one's other windows."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from pytest_django import Settings

from broadcasting.drivers.registry import broadcasters
from whik.demo_people import PEOPLE, make_people, password_of

Commits = Callable[[], AbstractContextManager[list[Any]]]

pytestmark = pytest.mark.django_db


@pytest.fixture
def terminated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of users whose sockets are ended through the default connection."""
    users: list[str] = []
    monkeypatch.setattr(broadcasters["memory"], "terminate_user_connections", users.append)
    return users


def log_in(client: Client, username: str = "ann", **fields: str) -> int:
    """Log in as a demo person; return the status of the answer."""
    fields = {"username": username, "password": password_of(username), **fields}
    return client.post("/login/", fields).status_code


def is_logged_in(client: Client) -> bool:
    """Tell whether pages know who this is."""
    return "Log out" in client.get("/chat/").content.decode()


def test_people_are_made_once() -> None:
    """They may chat and nothing else."""
    make_people()
    make_people()
    users = User.objects.all()
    assert {user.username for user in users} == set(PEOPLE)
    assert not any(user.is_staff or user.is_superuser for user in users)


def test_page_shows_the_people_with_debug(client: Client, settings: Settings) -> None:
    """With a button for each, and the password for who types it."""
    make_people()
    settings.DEBUG = True
    html = client.get("/login/").content.decode()
    assert password_of("ann") in html
    assert "Log in as 김민수" in html
    settings.DEBUG = False
    assert password_of("ann") not in client.get("/login/").content.decode()


def test_button_logs_in_with_debug_only(client: Client, settings: Settings) -> None:
    """One press is enough where anybody may be anybody; elsewhere it is no way in."""
    make_people()
    settings.DEBUG = False
    assert client.post("/login/", {"demo": "ann"}).status_code == 200
    assert not is_logged_in(client)
    settings.DEBUG = True
    assert client.post("/login/", {"demo": "ann"}).status_code == 302
    assert is_logged_in(client)


@pytest.mark.parametrize("username", ["admin", "nobody"])
def test_button_is_for_demo_people(client: Client, settings: Settings, username: str) -> None:
    """Whoever makes a button of their own gets in as nobody else."""
    User.objects.create_superuser("admin", password="another")
    settings.DEBUG = True
    assert client.post("/login/", {"demo": username}).status_code == 200
    assert not is_logged_in(client)


def test_wrong_password_is_told(client: Client) -> None:
    """In words, on the same page."""
    make_people()
    response = client.post("/login/", {"username": "ann", "password": "x"})
    assert 'role="alert"' in response.content.decode()
    assert not is_logged_in(client)


def test_next_leads_back_to_the_room(client: Client) -> None:
    """And never to another site."""
    make_people()
    fields = {"username": "ann", "password": password_of("ann")}
    response = client.post("/login/", {**fields, "next": "/chat/lobby/"})
    assert response["Location"] == "/chat/lobby/"
    response = client.post("/login/", {**fields, "next": "https://evil.example/"})
    assert response["Location"] == "/chat/"


def test_log_out_ends_the_session(client: Client) -> None:
    """By a form: a link of another site logs nobody out."""
    make_people()
    log_in(client)
    assert client.get("/logout/").status_code == 405
    client.post("/logout/")
    assert not is_logged_in(client)


def test_other_windows_are_ended_if_asked(terminated: list[str], commits: Commits) -> None:
    """Their sockets, and their sessions with them; somebody else's stay."""
    make_people()
    first, second, other = Client(), Client(), Client()
    log_in(first)
    log_in(other, "minsu")
    log_in(second)
    assert terminated == []
    assert is_logged_in(first)
    third = Client()
    with commits():
        log_in(third, end_others="on")
    assert terminated == [str(User.objects.get(username="ann").pk)]
    assert [is_logged_in(client) for client in (first, second, third, other)] == [
        *(False, False, True, True)
    ]
    assert Session.objects.count() == 2


def test_question_is_on_the_page(client: Client) -> None:
    """Nothing else is ended unless it is asked for: the box is empty."""
    html = client.get("/login/").content.decode()
    [box] = re.findall(r'<input[^>]*name="end_others"[^>]*>', html)
    assert "checked" not in box
    assert "Sign out my other windows" in html
