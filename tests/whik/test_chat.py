"""Rooms, their messages and the names in them."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from broadcasting.testing import Broadcasts
from whik.events import MessagePosted, NicknameChanged, PrivateMessagePosted, RoomMade
from whik.factories import ChatMessageFactory, PersonFactory, RoomFactory, UserFactory
from whik.forms import BURST
from whik.models import ChatMessage, Person, Room, Visit

pytestmark = pytest.mark.django_db

JSON = {"Accept": "application/json"}


def page(client: Client, path: str = "/chat/lobby/") -> str:
    """Return a page's HTML."""
    return client.get(path).content.decode()


def say(client: Client, text: str, room: str = "lobby", **fields: str) -> Any:
    """Send a message as the page's script does."""
    return client.post(f"/chat/{room}/messages", {"text": text, **fields}, headers=JSON)


def visitor(room: str = "lobby") -> tuple[Client, Person]:
    """Return a browser that has been in a room, and who it is."""
    client = Client()
    html = client.get(f"/chat/{room}/").content.decode()
    [person_id] = re.findall(r'data-me="([^"]+)"', html)
    return client, Person.objects.get(pk=person_id)


# Rooms


def test_list_begins_with_the_latest_messages(client: Client) -> None:
    RoomFactory.create(name="quiet")
    ann, bob = PersonFactory.create_batch(2)
    old, new = RoomFactory.create(name="old"), RoomFactory.create(name="new")
    ChatMessageFactory.create(room=old, posted_at=timezone.now() - timedelta(days=1))
    ChatMessageFactory.create_batch(2, room=new)
    ChatMessageFactory.create(room=old, author=ann, recipient=bob)
    html = page(client, "/chat/")
    assert re.findall(r"<bdi>(\w+)</bdi>", html)[:3] == ["new", "old", "quiet"]
    assert re.findall(r"messages: (\d+)", html) == ["2", "1", "0"]


def test_admin_does_not_show_private_messages(admin_client: Client) -> None:
    ann, bob = PersonFactory.create_batch(2)
    said = ChatMessageFactory.create(author=ann, recipient=bob, text="between us")
    to_all = ChatMessageFactory.create(author=ann, text="good morning")
    url = "/admin/whik/chatmessage/"
    for path in (url, f"{url}{said.pk}/change/", f"{url}{said.pk}/delete/"):
        html = page(admin_client, path)
        assert ann.name in html
        assert "between us" not in html
    assert "good morning" in page(admin_client, f"{url}{to_all.pk}/delete/")


def test_form_leads_to_the_room(client: Client) -> None:
    response = client.post("/chat/", {"name": " 수다방 "})
    assert response.status_code == 302
    assert client.get(response["Location"]).status_code == 200
    assert Room.objects.get().name == "수다방"


@pytest.mark.parametrize("name", ["", "a/b", "x" * 41])
def test_form_refuses_bad_names(client: Client, name: str) -> None:
    response = client.post("/chat/", {"name": name})
    assert response.status_code == 400
    html = response.content.decode()
    assert 'class="wrong"' in html
    assert f'value="{name}"' in html
    assert not Room.objects.exists()


def test_first_visit_makes_the_room(client: Client, fake_broadcasts: Broadcasts) -> None:
    html = page(client, "/chat/")
    assert "no rooms yet" in html
    assert 'href="/chat/lobby/"' in html
    client.get("/chat/수다방/")
    client.get("/chat/수다방/")
    assert Room.objects.get().name == "수다방"
    fake_broadcasts.assert_broadcast(RoomMade, on="rooms", with_={"name": "수다방"}, times=1)


def test_each_room_has_one_address(client: Client) -> None:
    client.get("/chat/lobby/")
    assert client.get("/chat/Lobby/")["Location"] == "/chat/lobby/"
    assert Room.objects.count() == 1


@pytest.mark.parametrize("path", ["/chat/a%00b/", "/chat/a%25/", "/chat/%3Cb%3E/"])
def test_address_that_names_no_room_is_unknown(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404
    assert not Room.objects.exists()


def test_other_requests_make_no_room(client: Client) -> None:
    """HEAD is what link checkers send."""
    assert client.head("/chat/a/").status_code == 404
    assert client.get("/chat/a/state").status_code == 404
    assert say(client, "x", room="a").status_code == 404
    assert client.post("/chat/a/nickname", {"name": "x"}).status_code == 404
    assert not Room.objects.exists()


# The page of a room


def test_page_shows_the_latest_messages(client: Client) -> None:
    room = RoomFactory.create(name="lobby")
    for number in range(60):
        ChatMessageFactory.create(room=room, text=f"message {number:02}")
    shown = re.findall(r"data-text>message (\d+)<", page(client))
    assert shown == [f"{number:02}" for number in range(10, 60)]


def test_empty_room_says_what_to_do(client: Client) -> None:
    hidden = r"data-empty hidden"
    html = page(client)
    assert "Write the first one below" in html
    assert not re.search(hidden, html)
    say(client, "hello")
    assert re.search(hidden, page(client))


def test_page_shows_private_messages_to_the_two(client: Client) -> None:
    ann, _ann = visitor()
    bob, bob_person = visitor()
    say(ann, "secret", to=bob_person.id)
    for browser, sees in ((ann, True), (bob, True), (client, False)):
        assert ("secret" in page(browser)) is sees
        state = browser.get("/chat/lobby/state").content.decode()
        assert ("secret" in state) is sees


def test_messages_and_names_are_escaped(client: Client) -> None:
    author = PersonFactory.create(name="<i>x</i>")
    room = RoomFactory.create(name="lobby")
    ChatMessageFactory.create(room=room, author=author, text="<script>alert(1)</script>")
    html = page(client)
    assert "<script>alert" not in html
    assert "<i>x" not in html
    assert "&lt;script&gt;alert" in html


# Saying something


def test_message_goes_to_all_others(fake_broadcasts: Broadcasts) -> None:
    client, person = visitor()
    response = client.post(
        "/chat/lobby/messages",
        {"text": " hello ", "token": "t-1"},
        headers={**JSON, "X-Socket-ID": "12.34"},
    )
    assert response.status_code == 201
    room = Room.objects.get()
    message = response.json()["message"]
    (sent,) = fake_broadcasts.assert_broadcast(
        MessagePosted, on=f"presence-chat.{room.pk}", with_={"message": message}, times=1
    )
    assert (sent.socket_id, sent.is_held) == ("12.34", True)
    assert message.items() >= {"text": "hello", "recipient": None, "token": "t-1"}.items()
    assert message["author"] == {"id": person.id, "name": person.name}
    assert message["room_id"] == room.pk


@pytest.mark.parametrize("text", ["", "  \n ", "\u200b", "\u200b \u2060"])
def test_empty_message_is_refused(client: Client, text: str) -> None:
    client.get("/chat/lobby/")
    response = say(client, text)
    assert response.status_code == 400
    assert response.json() == {"error": "Write something first."}
    assert not ChatMessage.objects.exists()


def test_length_is_counted_in_characters(client: Client, fake_broadcasts: Broadcasts) -> None:
    """The longest message also fits into an event."""
    client.get("/chat/lobby/")
    assert say(client, "가🙂" * 249 + "\r\nx").status_code == 201
    assert say(client, "🙂" * 500).status_code == 201
    fake_broadcasts.assert_broadcast(MessagePosted, times=2)
    response = say(client, "🙂" * 501)
    assert response.status_code == 400
    assert "at most 500 characters; this one has 501" in response.json()["error"]


def test_repeated_token_posts_once(fake_broadcasts: Broadcasts) -> None:
    client, _person = visitor()
    other, _other = visitor()
    first = say(client, "once", token="t").json()
    assert say(client, "once", token="t").json() == first
    assert say(other, "mine", token="t").status_code == 201
    sent = fake_broadcasts.assert_broadcast(MessagePosted, times=2)
    assert [record.data["message"]["text"] for record in sent] == ["once", "mine"]


def test_flood_is_stopped(client: Client) -> None:
    client.get("/chat/lobby/")
    for _ in range(BURST):
        assert say(client, "x").status_code == 201
    response = say(client, "x")
    assert response.status_code == 429
    assert "Wait ten seconds" in response.json()["error"]
    ChatMessage.objects.update(posted_at=timezone.now() - timedelta(seconds=11))
    assert say(client, "x").status_code == 201


def test_page_of_somebody_else_is_refused() -> None:
    """After a login in another tab, an old page must not post under the new name."""
    guest, person = visitor()
    guest.force_login(UserFactory.create(first_name="Ann", last_name="Smith"))
    response = say(guest, "x", me=person.id)
    assert response.status_code == 409
    assert "Ann Smith" in response.json()["error"]
    guest = Client(enforce_csrf_checks=True)
    guest.get("/chat/lobby/")
    assert say(guest, "x").status_code == 403
    assert not ChatMessage.objects.exists()


def test_forms_work_without_scripts() -> None:
    client, person = visitor()
    assert client.post("/chat/lobby/messages", {"text": "hello"})["Location"] == "/chat/lobby/"
    response = client.post("/chat/lobby/messages", {"text": "x" * 501})
    assert response.status_code == 400
    html = response.content.decode()
    assert "this one has 501" in html
    assert "x" * 501 in html
    assert client.post("/chat/lobby/nickname", {"name": "철수"})["Location"] == "/chat/lobby/"
    assert Person.objects.get(pk=person.pk).name == "철수"


# Private messages


def test_private_message_goes_to_the_two(fake_broadcasts: Broadcasts) -> None:
    ann, ann_person = visitor()
    _bob, bob_person = visitor()
    assert say(ann, "secret", to=bob_person.id).status_code == 201
    (sent,) = fake_broadcasts.assert_broadcast(PrivateMessagePosted, times=1)
    assert set(sent.channels) == {
        f"#server-to-user-{ann_person.id}",
        f"#server-to-user-{bob_person.id}",
    }
    assert sent.data["message"]["recipient"] == {"id": bob_person.id, "name": bob_person.name}
    fake_broadcasts.assert_not_broadcast(MessagePosted)


@pytest.mark.parametrize("who", ["stranger", "nobody", "self"])
def test_recipient_must_have_been_in_the_room(fake_broadcasts: Broadcasts, who: str) -> None:
    ann, ann_person = visitor()
    _other, stranger = visitor("elsewhere")
    to = {"stranger": stranger.id, "nobody": "guest-0", "self": ann_person.id}[who]
    assert say(ann, "secret", to=to).status_code == 400
    assert not ChatMessage.objects.exists()
    assert "secret" not in str(fake_broadcasts)


# State


def test_state_has_later_messages(client: Client) -> None:
    room = RoomFactory.create(name="lobby")
    messages = ChatMessageFactory.create_batch(202, room=room)
    ChatMessageFactory.create()
    response = client.get("/chat/lobby/state", {"since": messages[1].pk})
    assert "no-store" in response["Cache-Control"]
    state = response.json()
    assert [message["id"] for message in state["messages"]] == [m.pk for m in messages[2:]]
    assert state["is_cut"] is False
    assert state["me"] in state["people"]
    cut = client.get("/chat/lobby/state").json()
    assert (cut["messages"], cut["is_cut"]) == (state["messages"], True)


def test_visit_is_renewed() -> None:
    client, person = visitor()
    long_ago = timezone.now() - timedelta(hours=1)
    Visit.objects.update(seen_at=long_ago)
    client.get("/chat/lobby/state")
    assert Visit.objects.get(person=person).seen_at > long_ago


@pytest.mark.parametrize("since", ["x", "-1", "1.5", "", "٣", "9" * 5000])
def test_state_refuses_other_ids(client: Client, since: str) -> None:
    client.get("/chat/lobby/")
    assert client.get("/chat/lobby/state", {"since": since}).status_code == 400


# Names


def test_new_name_is_broadcast_to_each_room_visited(fake_broadcasts: Broadcasts) -> None:
    client, person = visitor("one")
    client.get("/chat/two/")
    RoomFactory.create(name="three")
    for _ in range(2):  # The second time it is no change.
        response = client.post("/chat/one/nickname", {"name": " 철수 "}, headers=JSON)
        assert response.json() == {"person": {"id": person.id, "name": "철수"}}
    (sent,) = fake_broadcasts.assert_broadcast(NicknameChanged, times=1)
    rooms = Room.objects.filter(name__in=["one", "two"])
    assert set(sent.channels) == {f"presence-chat.{room.pk}" for room in rooms}
    assert sent.data == {"person": {"id": person.id, "name": "철수"}, "before": person.name}


@pytest.mark.parametrize("name", ["", "x" * 21, "taken"])
def test_bad_name_is_refused(name: str, fake_broadcasts: Broadcasts) -> None:
    PersonFactory.create(name="taken")
    client, person = visitor()
    response = client.post("/chat/lobby/nickname", {"name": name}, headers=JSON)
    assert response.status_code == 400
    assert response.json()["error"]
    assert Person.objects.get(pk=person.pk).name == person.name
    fake_broadcasts.assert_not_broadcast(NicknameChanged)


def test_account_keeps_its_name(client: Client) -> None:
    client.force_login(UserFactory.create())
    client.get("/chat/lobby/")
    assert "data-nickname" not in page(client)
    assert client.post("/chat/lobby/nickname", {"name": "x"}, headers=JSON).status_code == 403
