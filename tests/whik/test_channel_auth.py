"""Who may join a room's channel, and as whom a page signs in."""

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


def test_guest_may_join_with_their_name(client: Client) -> None:
    """What the others are told is who the database says it is."""
    client.get("/chat/lobby/")
    room, person = Room.objects.get(), Person.objects.get()
    status, answer = ask(client, f"presence-chat.{room.pk}")
    assert status == 200
    assert json.loads(answer["channel_data"]) == {
        "user_id": person.id,
        "user_info": {"id": person.id, "name": person.name},
    }


def test_user_joins_as_the_account(client: Client) -> None:
    """The id is the key of the account, as text."""
    user = UserFactory.create(first_name="Ann", last_name="Smith")
    client.force_login(user)
    room = RoomFactory.create()
    _status, answer = ask(client, f"presence-chat.{room.pk}")
    assert json.loads(answer["channel_data"])["user_info"] == {
        "id": str(user.pk),
        "name": "Ann Smith",
    }


def test_joining_is_a_visit(client: Client) -> None:
    """Whoever may hear what is said can be written to."""
    room = RoomFactory.create()
    ask(client, f"presence-chat.{room.pk}")
    assert Visit.objects.get().room == room


@pytest.mark.parametrize(
    "channel", ["presence-chat.0", "presence-chat.x", "presence-other", "private-x"]
)
def test_other_channels_are_refused(client: Client, channel: str) -> None:
    """There is no such room, or no rule for the channel."""
    assert ask(client, channel)[0] == 403
    assert not Visit.objects.exists()


def test_page_signs_in_as_who_it_is(client: Client) -> None:
    """So that what is for one alone finds them."""
    html = client.get("/chat/lobby/").content.decode()
    [me] = re.findall(r'data-me="([^"]+)"', html)
    status, answer = ask(client, "", "/broadcasting/user-auth")
    assert status == 200
    assert json.loads(answer["user_data"])["id"] == me
