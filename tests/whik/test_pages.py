"""What all pages of the demo have in common, and the start page and /sub."""

import inspect
import re
from pathlib import Path

import pytest
from django.test import Client
from django.urls import Resolver404, resolve
from pytest_django import Settings

from whik import chat_views, views
from whik.factories import ChatMessageFactory, RoomFactory, ThingFactory

pytestmark = pytest.mark.django_db

# Each page, and words of it in Korean.
PAGES = {
    "/": "이 탭에서 저 탭으로",
    "/sub": "사용자 만들기",
    "/chat/": "대화방",
    "/chat/lobby/": "지금 있는 사람",
    "/things/": "목록",
    "/things/htmx/": "목록",
    "/login/": "로그인",
}
all_pages = pytest.mark.parametrize("path", PAGES)


def page(client: Client, path: str, language: str = "en") -> str:
    """Return a page's HTML."""
    return client.get(path, headers={"Accept-Language": language}).content.decode()


@pytest.fixture
def _data() -> None:
    """Make two of everything that a page lists."""
    room = RoomFactory.create(name="lobby")
    RoomFactory.create()
    ChatMessageFactory.create_batch(2, room=room)
    ThingFactory.create_batch(2)


@all_pages
@pytest.mark.usefixtures("_data")
def test_markup_is_sound(client: Client, path: str) -> None:
    """The policy forbids inline code; ids are unique; each link leads to a page."""
    response = client.get(path)
    html = response.content.decode()
    policy = response["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "unsafe" not in policy
    assert all("src=" in script for script in re.findall(r"<script[^>]*>", html))
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|hx-on", html)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    links = set(re.findall(r'<a [^>]*href="([^"]+)"', html))
    assert {"/", "/sub", "/pub", "/admin/"} <= links
    for link in links:
        if link.startswith("#"):
            assert link[1:] in ids
            continue
        try:
            resolve(link.partition("?")[0])
        except Resolver404:
            pytest.fail(f"{link} leads nowhere")


@all_pages
def test_page_is_korean_for_koreans(client: Client, path: str) -> None:
    html = page(client, path, "ko-KR")
    assert '<html lang="ko">' in html
    assert PAGES[path] in html


def test_language_can_be_chosen(client: Client) -> None:
    client.post("/i18n/setlang/", {"language": "ko"}, headers={"Referer": "http://testserver/"})
    assert '<html lang="ko">' in page(client, "/", "en")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/sub", "class NewUserCreated(ShouldBroadcast):"),
        ("/sub", "broadcast(NewUserCreated(user), to_others=True)"),
        ("/sub", "Echo.channel('whik').listen('NewUserCreated', (e) => {"),
        ("/chat/lobby/", "class MessagePosted(ShouldBroadcast):"),
        ("/chat/lobby/", "broadcast(posted(message), to_others=True)"),
        ("/chat/lobby/", "def chat(user: AbstractBaseUser | Guest, room: Room)"),
        ("/chat/lobby/", "Echo.join(`chat.${words.room}`)"),
        ("/things/", "class Thing(BroadcastsModelEvents, models.Model):"),
        ("/things/", "thing = form.save()"),
        ("/things/", "Echo.channel('things')"),
        ("/things/", "async refresh() {"),
        ("/things/htmx/", "def send_row(change: ModelEvent)"),
    ],
)
def test_page_shows_the_code_that_runs(client: Client, path: str, code: str) -> None:
    html = page(client, path).replace("&#x27;", "'").replace("&gt;", ">")
    assert code in html


@pytest.mark.parametrize(
    ("path", "line", "view"),
    [
        ("/sub", "event(NewUserCreated(user))", views.pub),
        ("/chat/lobby/", "broadcast(posted(message), to_others=True)", chat_views.messages),
    ],
)
def test_empty_page_shows_a_line_that_runs(
    client: Client, path: str, line: str, view: object
) -> None:
    assert f"<code>{line}</code>" in page(client, path)
    assert line in inspect.getsource(view)  # type: ignore[arg-type]  # a function


@pytest.mark.parametrize("path", ["/", "/sub", "/chat/", "/chat/lobby/", "/things/"])
@pytest.mark.parametrize(
    ("alias", "driver", "reason"),
    [
        ("log", "broadcasting.drivers.log.LogBroadcaster", "to the server's log"),
        ("null", "broadcasting.drivers.null.NullBroadcaster", "discards events"),
        ("memory", "broadcasting.drivers.memory.MemoryBroadcaster", ""),
    ],
)
def test_page_explains_drivers_that_reach_no_browser(
    client: Client, settings: Settings, path: str, alias: str, driver: str, reason: str
) -> None:
    settings.BROADCASTING = {"DEFAULT": alias, "CONNECTIONS": {alias: {"DRIVER": driver}}}
    html = page(client, path)
    assert reason in html
    assert ("BROADCAST_CONNECTION=channels" in html) is bool(reason)
    assert f"<code>{alias}</code>" in html


@pytest.mark.parametrize("path", ["/sub", "/chat/lobby/", "/things/", "/things/htmx/"])
def test_page_explains_what_works_without_scripts(client: Client, path: str) -> None:
    assert re.search(r"<noscript>.*Without JavaScript", page(client, path), re.DOTALL)


@pytest.mark.parametrize("path", ["/", "/sub"])
def test_page_can_only_be_read(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405


def test_start_page_has_two_panes_and_one_form(client: Client) -> None:
    html = page(client, "/")
    found = [len(re.findall(rf"\sdata-{name}\b", html)) for name in ("pane", "pill", "make")]
    assert found == [2, 2, 1]


def test_icon_is_found(client: Client) -> None:
    """Browsers ask for it where a response names none."""
    location = client.get("/favicon.ico")["Location"]
    assert Path(location).name == "mark.svg"
