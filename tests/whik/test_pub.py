"""/pub makes users and broadcasts each of them."""

import logging

import pytest
from django.test import Client

from broadcasting.testing import Broadcasts
from whik.events import NewUserCreated
from whik.models import DemoUser

pytestmark = pytest.mark.django_db


def test_get_makes_a_user_and_returns_what_subscribers_receive(
    client: Client, fake_broadcasts: Broadcasts
) -> None:
    """Whatever socket the request names."""
    response = client.get("/pub", headers={"X-Socket-ID": "12.34"})
    assert "no-store" in response["Cache-Control"]
    answer = response.json()
    (sent,) = fake_broadcasts.assert_broadcast(NewUserCreated, on="whik", to_others=False, times=1)
    assert sent.data == {"user": answer}
    assert sent.is_held
    assert list(answer) == ["id", "username", "name", "email", "date_joined"]
    user = DemoUser.objects.get()
    assert (answer["id"], answer["name"], answer["email"]) == (user.pk, user.name, user.email)


def test_answer_is_readable(client: Client) -> None:
    text = client.get("/pub?count=50").content.decode()
    assert text.startswith('{\n  "users": [\n    {\n')
    assert text.endswith("}\n")
    assert "\\u" not in text


def test_post_leaves_the_sender_out(client: Client, fake_broadcasts: Broadcasts) -> None:
    response = client.post("/pub", {"count": "3"}, headers={"X-Socket-ID": "12.34"})
    sent = fake_broadcasts.assert_broadcast(NewUserCreated, to_others=True, times=3)
    assert {record.socket_id for record in sent} == {"12.34"}
    assert [record.data["user"] for record in sent] == response.json()["users"]
    assert DemoUser.objects.count() == 3


@pytest.mark.parametrize("count", ["0", "-1", "1001", "x", "", "1.5", "9" * 5000])
def test_bad_count_is_refused(client: Client, count: str) -> None:
    response = client.get("/pub", {"count": count})
    assert response.status_code == 400
    assert "from 1 to 1000" in response.json()["error"]
    assert not DemoUser.objects.exists()


def test_other_requests_make_nothing(client: Client) -> None:
    """HEAD is what link checkers send."""
    assert client.head("/pub").status_code == 405
    assert client.delete("/pub").status_code == 405
    assert Client(enforce_csrf_checks=True).post("/pub").status_code == 403
    assert not DemoUser.objects.exists()


def test_listener_logs_each_user(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "whik"):
        answer = client.get("/pub").json()
    assert f"New user {answer['username']}" in caplog.text
