"""/pub makes users and announces each of them."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.test import Client

from tests.whik.recording import Sent
from whik.models import DemoUser

pytestmark = pytest.mark.django_db

Commits = Callable[[], AbstractContextManager[list[Any]]]


def test_get_saves_one_user_and_returns_it(client: Client) -> None:
    """The answer is the user that is now in the database."""
    answer = client.get("/pub").json()
    user = DemoUser.objects.get()
    assert answer["id"] == user.pk
    assert answer["name"] == user.name
    assert answer["email"] == user.email


def test_answer_is_what_subscribers_receive(
    client: Client, sent: list[Sent], commits: Commits
) -> None:
    """Event name, channel and data are those of the README; the answer is its user."""
    with commits():
        answer = client.get("/pub").json()
    assert sent == [Sent(("whik",), "NewUserCreated", {"user": answer}, None)]
    assert list(answer) == ["id", "username", "name", "email", "date_joined"]


def test_nothing_is_sent_before_the_commit(client: Client, sent: list[Sent]) -> None:
    """A rollback would take the users back, so nobody hears of them before."""
    client.get("/pub")
    assert sent == []


def test_answer_is_written_for_people(client: Client) -> None:
    """Lines are indented and end, and Korean is not escaped."""
    text = client.get("/pub?count=50").content.decode()
    assert text.startswith('{\n  "users": [\n    {\n')
    assert text.endswith("}\n")
    assert "\\u" not in text


def test_count_makes_that_many_events(client: Client, sent: list[Sent], commits: Commits) -> None:
    """Each of the users is an event of its own, in the order of the answer."""
    with commits():
        users = client.get("/pub?count=3").json()["users"]
    assert [message.data["user"] for message in sent] == users
    assert DemoUser.objects.count() == len(users) == 3


@pytest.mark.parametrize("count", ["0", "-1", "1001", "x", "", "1.5", "9" * 5000])
def test_bad_count_says_what_is_allowed(client: Client, sent: list[Sent], count: str) -> None:
    """Nothing is made of a count that is no number from 1 to 1000."""
    response = client.get("/pub", {"count": count})
    assert response.status_code == 400
    assert "from 1 to 1000" in response.json()["error"]
    assert not DemoUser.objects.exists()


def test_post_leaves_the_sender_out(client: Client, sent: list[Sent], commits: Commits) -> None:
    """A page that posts shows the answer; its own socket does not hear of it again."""
    with commits():
        response = client.post("/pub", {"count": "2"}, headers={"X-Socket-ID": "12.34"})
    assert [message.socket_id for message in sent] == ["12.34", "12.34"]
    assert [message.data["user"] for message in sent] == response.json()["users"]


def test_get_reaches_everybody(client: Client, sent: list[Sent], commits: Commits) -> None:
    """Only `to_others` leaves a socket out, whatever headers a request carries."""
    with commits():
        client.get("/pub", headers={"X-Socket-ID": "12.34"})
    assert [message.socket_id for message in sent] == [None]


def test_post_needs_a_token() -> None:
    """Another site's form makes no users here."""
    response = Client(enforce_csrf_checks=True).post("/pub")
    assert response.status_code == 403
    assert not DemoUser.objects.exists()


def test_other_methods_make_nothing(client: Client) -> None:
    """HEAD is what link checkers send; it makes no users."""
    assert client.head("/pub").status_code == 405
    assert client.delete("/pub").status_code == 405
    assert not DemoUser.objects.exists()


def test_answer_is_not_kept(client: Client) -> None:
    """No cache may answer in place of the server: the next user would not be made."""
    assert "no-store" in client.get("/pub")["Cache-Control"]


def test_listener_logs_each_user(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Events have listeners on the server, too."""
    with caplog.at_level(logging.INFO, "whik"):
        answer = client.get("/pub").json()
    assert f"New user {answer['username']}" in caplog.text
