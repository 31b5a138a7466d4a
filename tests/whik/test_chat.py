"""The rooms, and what is said in one."""

import inspect
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.whik.recording import Sent
from whik import chat_views
from whik.factories import ChatMessageFactory, PersonFactory, RoomFactory, UserFactory
from whik.forms import BURST
from whik.models import ChatMessage, Person, Room, Visit

pytestmark = pytest.mark.django_db

Commits = Callable[[], AbstractContextManager[list[Any]]]
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


def test_list_begins_with_a_way_in(client: Client) -> None:
    """Where there is no room, a link makes the first."""
    html = page(client, "/chat/")
    assert "There is no room yet" in html
    assert 'href="/chat/lobby/"' in html


def test_list_shows_where_something_was_said_last(client: Client) -> None:
    """With the number of messages to all; what two say alone is not counted."""
    RoomFactory.create(name="quiet")
    ann, bob = PersonFactory.create_batch(2)
    old, new = RoomFactory.create(name="old"), RoomFactory.create(name="new")
    ChatMessageFactory.create(room=old, posted_at=timezone.now() - timedelta(days=1))
    ChatMessageFactory.create_batch(2, room=new)
    ChatMessageFactory.create(room=old, author=ann, recipient=bob)
    html = page(client, "/chat/")
    assert re.findall(r"<bdi>(\w+)</bdi>", html)[:3] == ["new", "old", "quiet"]
    assert re.findall(r"messages: (\d+)", html) == ["2", "1", "0"]


def test_the_admin_does_not_show_what_two_say_alone(admin_client: Client) -> None:
    """Neither in its list, nor over the page of a message, nor before it is deleted."""
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
    """Whether or not there is one of that name."""
    response = client.post("/chat/", {"name": " 수다방 "})
    assert response.status_code == 302
    assert client.get(response["Location"]).status_code == 200
    assert Room.objects.get().name == "수다방"


@pytest.mark.parametrize("name", ["", "a/b", "x" * 41])
def test_form_says_what_a_name_may_be(client: Client, name: str) -> None:
    """Nothing is made of one that is none, and what was written is still there."""
    response = client.post("/chat/", {"name": name})
    assert response.status_code == 400
    html = response.content.decode()
    assert 'class="wrong"' in html
    assert f'value="{name}"' in html
    assert not Room.objects.exists()


def test_first_visit_makes_the_room(client: Client, sent: list[Sent], commits: Commits) -> None:
    """The list of rooms that others have open hears of it once."""
    with commits():
        client.get("/chat/수다방/")
        client.get("/chat/수다방/")
    assert [room.name for room in Room.objects.all()] == ["수다방"]
    assert sent == [Sent(("rooms",), "RoomMade", {"name": "수다방"}, None)]


def test_other_spelling_leads_to_the_same_room(client: Client) -> None:
    """Lobby and lobby are one, at one address."""
    client.get("/chat/lobby/")
    assert client.get("/chat/Lobby/")["Location"] == "/chat/lobby/"
    assert Room.objects.count() == 1


@pytest.mark.parametrize("path", ["/chat/a%00b/", "/chat/a%25/", "/chat/%3Cb%3E/"])
def test_address_that_names_no_room_is_unknown(client: Client, path: str) -> None:
    """A page says so; nothing is made."""
    assert client.get(path).status_code == 404
    assert not Room.objects.exists()


def test_looking_makes_no_room(client: Client) -> None:
    """HEAD is what link checkers send; state, messages and nicknames are of rooms that exist."""
    assert client.head("/chat/a/").status_code == 404
    assert client.get("/chat/a/state").status_code == 404
    assert say(client, "x", room="a").status_code == 404
    assert client.post("/chat/a/nickname", {"name": "x"}).status_code == 404
    assert not Room.objects.exists()


# The page of a room


def test_page_shows_the_latest_messages(client: Client) -> None:
    """Fifty, oldest first."""
    room = RoomFactory.create(name="lobby")
    for number in range(60):
        ChatMessageFactory.create(room=room, text=f"message {number:02}")
    shown = re.findall(r"data-text>message (\d+)<", page(client))
    assert shown == [f"{number:02}" for number in range(10, 60)]


def test_empty_room_says_what_to_do(client: Client) -> None:
    """With the line of code that would do it, too; until something has been said."""
    hidden = r"data-empty hidden"
    html = page(client)
    assert "Write the first message below" in html
    assert not re.search(hidden, html)
    line = "broadcast(posted(message), to_others=True)"
    assert f"<code>{line}</code>" in html
    assert line in inspect.getsource(chat_views.messages)
    say(client, "hello")
    assert re.search(hidden, page(client))


def test_page_shows_private_messages_to_the_two(client: Client) -> None:
    """To nobody else, however they ask."""
    ann, _ann = visitor()
    bob, bob_person = visitor()
    say(ann, "secret", to=bob_person.id)
    for browser, sees in ((ann, True), (bob, True), (client, False)):
        assert ("secret" in page(browser)) is sees
        state = browser.get("/chat/lobby/state").content.decode()
        assert ("secret" in state) is sees


def test_what_people_write_is_text(client: Client) -> None:
    """Messages and names are no HTML of ours."""
    author = PersonFactory.create(name="<i>x</i>")
    room = RoomFactory.create(name="lobby")
    ChatMessageFactory.create(room=room, author=author, text="<script>alert(1)</script>")
    html = page(client)
    assert "<script>alert" not in html
    assert "<i>x" not in html
    assert "&lt;script&gt;alert" in html


def test_no_code_is_inline(client: Client) -> None:
    """The policy allows this site's files and nothing written into the pages."""
    for path in ("/chat/", "/chat/lobby/", "/login/"):
        html = page(client, path)
        assert all("src=" in script for script in re.findall(r"<script[^>]*>", html))
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)


def test_ids_are_unique(client: Client) -> None:
    """On each of the pages."""
    for path in ("/chat/", "/chat/lobby/", "/login/"):
        ids = re.findall(r'\sid="([^"]+)"', page(client, path))
        assert len(ids) == len(set(ids))


def test_page_shows_the_code_that_runs(client: Client) -> None:
    """The lines are those of the files."""
    html = page(client)
    assert "class MessagePosted(ShouldBroadcast):" in html
    assert "broadcast(posted(message), to_others=True)" in html
    assert "def chat(user: AbstractBaseUser | Guest, room: Room)" in html
    assert "Echo.join(`chat.${words.room}`)" in html


def test_pages_are_korean_for_koreans(client: Client) -> None:
    """The room, its list and the door."""
    for path, text in (
        ("/chat/", "대화방"),
        ("/chat/lobby/", "지금 있는 사람"),
        ("/login/", "로그인"),
    ):
        html = client.get(path, headers={"Accept-Language": "ko"}).content.decode()
        assert text in html


# Saying something


def test_message_goes_to_all_others(sent: list[Sent], commits: Commits) -> None:
    """The answer is what they receive; the socket of the page that sent it is left out."""
    client, person = visitor()
    with commits():
        response = client.post(
            "/chat/lobby/messages",
            {"text": " hello ", "token": "t-1"},
            headers={**JSON, "X-Socket-ID": "12.34"},
        )
    assert response.status_code == 201
    room = Room.objects.get()
    message = response.json()["message"]
    assert sent[-1] == Sent(
        (f"presence-chat.{room.pk}",), "MessagePosted", {"message": message}, "12.34"
    )
    assert message["text"] == "hello"
    assert message["author"] == {"id": person.id, "name": person.name}
    assert message["recipient"] is None
    assert message["room_id"] == room.pk
    assert message["token"] == "t-1"


def test_nothing_is_sent_before_the_commit(client: Client, sent: list[Sent]) -> None:
    """A rollback would take the message back."""
    client.get("/chat/lobby/")
    say(client, "hello")
    assert sent == []


@pytest.mark.parametrize("text", ["", "  \n ", "\u200b", "\u200b \u2060"])
def test_empty_message_is_refused(client: Client, text: str) -> None:
    """Also one of nothing but invisible characters."""
    client.get("/chat/lobby/")
    response = say(client, text)
    assert response.status_code == 400
    assert response.json() == {"error": "Write something first."}
    assert not ChatMessage.objects.exists()


def test_long_message_is_told_by_how_much(client: Client) -> None:
    """A letter is a letter, however many bytes it takes; an end of line is one."""
    client.get("/chat/lobby/")
    assert say(client, "가🙂" * 249 + "\r\nx").status_code == 201
    response = say(client, "🙂" * 501)
    assert response.status_code == 400
    assert "at most 500 characters; this one has 501" in response.json()["error"]


def test_longest_message_fits_an_event(client: Client, sent: list[Sent], commits: Commits) -> None:
    """Five hundred letters of any kind are below the limit of an event's size."""
    client.get("/chat/lobby/")
    with commits():
        assert say(client, "🙂" * 500).status_code == 201
    assert sent[-1].data["message"]["text"] == "🙂" * 500


def test_sending_again_says_it_once(sent: list[Sent], commits: Commits) -> None:
    """A page that heard no answer may ask again; the token is its author's own."""
    client, _person = visitor()
    other, _other = visitor()
    with commits():
        first = say(client, "once", token="t").json()
        assert say(client, "once", token="t").json() == first
        assert say(other, "mine", token="t").status_code == 201
    assert [message.data["message"]["text"] for message in sent[-2:]] == ["once", "mine"]
    assert ChatMessage.objects.count() == 2


def test_flood_is_stopped(client: Client) -> None:
    """More than a person writes is refused, and says until when."""
    client.get("/chat/lobby/")
    for _ in range(BURST):
        assert say(client, "x").status_code == 201
    response = say(client, "x")
    assert response.status_code == 429
    assert "Wait ten seconds" in response.json()["error"]
    ChatMessage.objects.update(posted_at=timezone.now() - timedelta(seconds=11))
    assert say(client, "x").status_code == 201


def test_page_of_somebody_else_says_nothing(client: Client) -> None:
    """Who has logged in in another tab does not speak from the old one under the new name."""
    guest, person = visitor()
    guest.force_login(UserFactory.create(first_name="Ann", last_name="Smith"))
    response = say(guest, "x", me=person.id)
    assert response.status_code == 409
    assert "you are Ann Smith now" in response.json()["error"]
    assert not ChatMessage.objects.exists()


def test_message_needs_a_token() -> None:
    """Another site's form says nothing here."""
    client = Client(enforce_csrf_checks=True)
    client.get("/chat/lobby/")
    assert say(client, "x").status_code == 403


def test_form_works_without_scripts(client: Client) -> None:
    """A page answers: the room, or the room with what was wrong and what was written."""
    client.get("/chat/lobby/")
    response = client.post("/chat/lobby/messages", {"text": "hello"})
    assert response["Location"] == "/chat/lobby/"
    response = client.post("/chat/lobby/messages", {"text": "x" * 501})
    assert response.status_code == 400
    html = response.content.decode()
    assert "this one has 501" in html
    assert "x" * 501 in html


# To one alone


def test_private_message_goes_to_the_two(sent: list[Sent], commits: Commits) -> None:
    """On the channels of their own sockets, and on no other."""
    ann, ann_person = visitor()
    _bob, bob_person = visitor()
    with commits():
        assert say(ann, "secret", to=bob_person.id).status_code == 201
    [message] = [message for message in sent if message.event != "RoomMade"]
    assert message.event == "PrivateMessagePosted"
    assert set(message.channels) == {
        f"#server-to-user-{ann_person.id}",
        f"#server-to-user-{bob_person.id}",
    }
    assert message.data["message"]["recipient"] == {"id": bob_person.id, "name": bob_person.name}


@pytest.mark.parametrize("who", ["stranger", "nobody", "self"])
def test_private_message_needs_somebody_of_the_room(
    client: Client, sent: list[Sent], commits: Commits, who: str
) -> None:
    """Only who has been seen here can be written to."""
    ann, ann_person = visitor()
    _other, stranger = visitor("elsewhere")
    to = {"stranger": stranger.id, "nobody": "guest-0", "self": ann_person.id}[who]
    with commits():
        response = say(ann, "secret", to=to)
    assert response.status_code == 400
    assert not ChatMessage.objects.exists()
    assert "secret" not in str(sent)


# What a page has missed


def test_state_holds_what_came_later(client: Client) -> None:
    """Oldest first, in the form of the events, with the names of who was here."""
    room = RoomFactory.create(name="lobby")
    messages = ChatMessageFactory.create_batch(3, room=room)
    ChatMessageFactory.create()
    state = client.get("/chat/lobby/state", {"since": messages[0].pk}).json()
    assert [message["id"] for message in state["messages"]] == [m.pk for m in messages[1:]]
    assert state["is_cut"] is False
    assert state["me"] in state["people"]


def test_long_absence_is_cut(client: Client) -> None:
    """The newest two hundred, and that there were more."""
    room = RoomFactory.create(name="lobby")
    messages = ChatMessageFactory.create_batch(201, room=room)
    state = client.get("/chat/lobby/state").json()
    assert [message["id"] for message in state["messages"]] == [m.pk for m in messages[1:]]
    assert state["is_cut"] is True


@pytest.mark.parametrize("since", ["x", "-1", "1.5", "", "٣", "9" * 5000])
def test_state_since_nothing_is_refused(client: Client, since: str) -> None:
    """A number of a message, and none that no database knows."""
    client.get("/chat/lobby/")
    assert client.get("/chat/lobby/state", {"since": since}).status_code == 400


def test_state_is_not_kept(client: Client) -> None:
    """It is of one moment and one reader."""
    client.get("/chat/lobby/")
    assert "no-store" in client.get("/chat/lobby/state")["Cache-Control"]


def test_visit_is_noted_once() -> None:
    """Each reload is the same visit, with a later time."""
    client, person = visitor()
    long_ago = timezone.now() - timedelta(hours=1)
    Visit.objects.update(seen_at=long_ago)
    client.get("/chat/lobby/state")
    assert Visit.objects.get(person=person).seen_at > long_ago


# Names


def test_new_name_is_told_in_every_room(sent: list[Sent], commits: Commits) -> None:
    """Where they have been, that is; the answer is the new name."""
    client, person = visitor("one")
    client.get("/chat/two/")
    RoomFactory.create(name="three")
    with commits():
        response = client.post("/chat/one/nickname", {"name": " 철수 "}, headers=JSON)
    assert response.json() == {"person": {"id": person.id, "name": "철수"}}
    rooms = Room.objects.filter(name__in=["one", "two"])
    assert set(sent[-1].channels) == {f"presence-chat.{room.pk}" for room in rooms}
    assert sent[-1].event == "NicknameChanged"
    assert sent[-1].data == {"person": {"id": person.id, "name": "철수"}, "before": person.name}


def test_same_name_is_no_news(sent: list[Sent], commits: Commits) -> None:
    """Nobody hears of it."""
    client, person = visitor()
    with commits():
        client.post("/chat/lobby/nickname", {"name": person.name}, headers=JSON)
    assert "NicknameChanged" not in str(sent)


@pytest.mark.parametrize("name", ["", "x" * 21, "taken"])
def test_bad_name_is_refused(name: str, sent: list[Sent], commits: Commits) -> None:
    """With the reason, and without an event."""
    PersonFactory.create(name="taken")
    client, person = visitor()
    with commits():
        response = client.post("/chat/lobby/nickname", {"name": name}, headers=JSON)
    assert response.status_code == 400
    assert response.json()["error"]
    assert Person.objects.get(pk=person.pk).name == person.name
    assert "NicknameChanged" not in str(sent)


def test_account_keeps_its_name(client: Client) -> None:
    """The name of who has logged in is the account's."""
    client.force_login(UserFactory.create())
    client.get("/chat/lobby/")
    assert "data-nickname" not in page(client)
    assert client.post("/chat/lobby/nickname", {"name": "x"}, headers=JSON).status_code == 403


def test_name_can_be_changed_without_scripts() -> None:
    """The form leads back to the room."""
    client, person = visitor()
    response = client.post("/chat/lobby/nickname", {"name": "철수"})
    assert response["Location"] == "/chat/lobby/"
    assert Person.objects.get(pk=person.pk).name == "철수"
