"""Authorization for the channel of a room, and the sign-in of a page."""

import json
import re

import pytest
from django.test import Client

from whik.factories import RoomFactory, UserFactory
from whik.models import Person, Room, Visit

pytestmark = pytest.mark.django_db


def ask(
    client: Client, channel: str, path: str = "/broadcasting/auth"
) -> tuple[int, dict[str, str]]:
    """Ask for a signature as pusher-js does. Return the status and the answer."""
    response = client.post(path, {"socket_id": "1.2", "channel_name": channel})
    is_json = response["Content-Type"].startswith("application/json")
    return response.status_code, response.json() if is_json else {}


def test_guest_may_join(client: Client) -> None:
    client.get("/chat/lobby/")
    room, person = Room.objects.get(), Person.objects.get()
    status, answer = ask(client, f"presence-chat.{room.pk}")
    assert status == 200
    assert json.loads(answer["channel_data"]) == {
        "user_id": person.id,
        "user_info": {"id": person.id, "name": person.name},
    }


def test_user_joins_as_the_account(client: Client) -> None:
    user = UserFactory.create(first_name="Ann", last_name="Smith")
    client.force_login(user)
    room = RoomFactory.create()
    assert not Visit.objects.exists()
    _status, answer = ask(client, f"presence-chat.{room.pk}")
    assert json.loads(answer["channel_data"])["user_info"] == {
        "id": str(user.pk),
        "name": "Ann Smith",
    }
    assert Visit.objects.get().room == room


@pytest.mark.parametrize(
    "channel", ["presence-chat.0", "presence-chat.x", "presence-other", "private-x"]
)
def test_other_channels_are_refused(client: Client, channel: str) -> None:
    assert ask(client, channel)[0] == 403
    assert not Visit.objects.exists()


def test_page_signs_in_as_its_person(client: Client) -> None:
    html = client.get("/chat/lobby/").content.decode()
    [me] = re.findall(r'data-me="([^"]+)"', html)
    status, answer = ask(client, "", "/broadcasting/user-auth")
    assert status == 200
    assert json.loads(answer["user_data"])["id"] == me
