"""
The chat in real browsers: several people, each with cookies of their own.

What a page looks like is left in ``var/screenshots``, as by `test_pages`.
"""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Route, WebSocket, expect

from tests.conftest import RunningServer, RunServer
from tests.e2e.pages import Scheme, Socket, every_look, fits, no_violation, opened, picture

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass
class Visitor:
    """
    Somebody before a browser.

    Attributes:
        page: Their window.
        received: Every text that its sockets were sent.
    """

    page: Page
    received: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch(self.page)

    def watch(self, page: Page) -> None:
        """Listen to the sockets of a window."""

        def on_socket(socket: WebSocket) -> None:
            socket.on("framereceived", lambda text: self.received.append(str(text)))

        page.on("websocket", on_socket)

    async def enter(self, url: str) -> "Visitor":
        """Go into a room, and wait until the list of people is there."""
        await self.page.goto(url)
        await expect(self.people.first).to_be_attached()
        return self

    @property
    def people(self) -> Locator:
        """The rows of the list of people."""
        return self.page.locator(".member")

    @property
    def names(self) -> Locator:
        """The names in it."""
        return self.page.locator(".member .name")

    @property
    def texts(self) -> Locator:
        """What was said, as this visitor sees it."""
        return self.page.locator(".message .text")

    @property
    def lines(self) -> Locator:
        """The quiet lines between."""
        return self.page.locator(".line")

    async def name(self) -> str:
        """Return what they are called."""
        return await self.names.first.inner_text()  # One's own row is the first.

    async def write(self, text: str) -> None:
        """Write a message without sending it, key by key at its end."""
        await self.page.get_by_label("Message", exact=True).fill(text)

    async def say(self, text: str) -> None:
        """Send a message."""
        await self.write(text)
        await self.page.keyboard.press("Enter")

    async def address(self, name: str) -> None:
        """Write to one person alone from now on."""
        await self.page.get_by_role("button", name=f"Write to {name} privately").click()


@pytest.fixture(scope="module")
def server(module_runserver: RunServer) -> RunningServer:
    """Return the site that all tests share which do not stop it."""
    return module_runserver()


_numbers = count(1)


@pytest.fixture
def room(server: RunningServer) -> str:
    """Return the address of a room where nobody has been."""
    return f"{server.url}/chat/room-{next(_numbers)}/"


@asynccontextmanager
async def people_in(
    browser: Browser, url: str, number: int, **options: object
) -> AsyncIterator[list[Visitor]]:
    """Let people enter a room, one after the other, until all see all."""
    async with AsyncExitStack() as stack:
        visitors = []
        for _ in range(number):
            page = await stack.enter_async_context(opened(browser, **options))  # type: ignore[arg-type]  # Of `opened`.
            visitors.append(await Visitor(page).enter(url))
        for visitor in visitors:
            await expect(visitor.people).to_have_count(number)
        yield visitors


@pytest_asyncio.fixture(loop_scope="session")
async def three(browser: Browser, room: str) -> AsyncIterator[list[Visitor]]:
    """Return three people in a room."""
    async with people_in(browser, room, 3) as visitors:
        yield visitors


@pytest_asyncio.fixture(loop_scope="session")
async def two(browser: Browser, room: str) -> AsyncIterator[list[Visitor]]:
    """Return two people in a room."""
    async with people_in(browser, room, 2) as visitors:
        yield visitors


# To all


async def test_message_reaches_everybody_once(three: list[Visitor]) -> None:
    """The others on their socket; the author at once, at the right, and not again."""
    ann, bob, eve = three
    await ann.say("hello")
    await expect(ann.texts).to_have_text(["hello"])
    await expect(ann.page.locator("[data-empty]")).to_be_hidden()
    await expect(ann.page.locator(".message.own")).to_have_count(1)
    await bob.say("hi")
    for visitor in three:
        await expect(visitor.texts).to_have_text(["hello", "hi"])
    await expect(eve.page.locator(".message.own")).to_have_count(0)
    assert not any('"hello"' in text for text in ann.received)
    assert len([text for text in bob.received if "hello" in text]) == 1
    left = await ann.page.locator(".message:not(.own)").bounding_box()
    right = await ann.page.locator(".message.own").bounding_box()
    assert left is not None
    assert right is not None
    assert left["x"] < right["x"]


async def test_message_is_text(two: list[Visitor]) -> None:
    """Whatever somebody writes, or is called, is neither HTML nor a script."""
    ann, bob = two
    evil = "<img src=x onerror=\"document.title='owned'\">"
    await ann.page.get_by_label("Your name").fill("<b>ann</b>")
    await ann.page.get_by_role("button", name="Change").click()
    await ann.say(evil)
    await expect(bob.texts).to_have_text([evil])
    await expect(bob.page.locator(".message .name").first).to_have_text("<b>ann</b>")
    for visitor in two:
        await expect(visitor.page.locator(".chat img")).to_have_count(0)
        await visitor.page.reload()
        await expect(visitor.texts).to_have_text([evil])
        await expect(visitor.page).not_to_have_title("owned")


async def test_lines_are_kept_and_enter_sends(two: list[Visitor]) -> None:
    """With Shift a line is added; a syllable that is being put together is not sent."""
    ann, bob = two
    await ann.page.get_by_label("Message", exact=True).focus()
    await ann.page.keyboard.type("one")
    await ann.page.keyboard.press("Shift+Enter")
    await ann.page.keyboard.type("two")
    await ann.page.keyboard.press("Enter")
    await expect(bob.texts).to_have_text(["one\ntwo"], use_inner_text=True)
    keyboard = await ann.page.context.new_cdp_session(ann.page)
    await keyboard.send(
        "Input.imeSetComposition", {"text": "한", "selectionStart": 1, "selectionEnd": 1}
    )
    await ann.page.keyboard.press("Enter")
    await expect(ann.page.get_by_label("Message", exact=True)).to_have_value(re.compile("^한"))
    await expect(ann.texts).to_have_count(1)


async def test_long_message_is_not_sent(two: list[Visitor]) -> None:
    """How much is left is told, then how much is too much; an empty one goes nowhere."""
    ann, _bob = two
    help_ = ann.page.locator(".composer [data-help]")
    await ann.write("x" * 460)
    await expect(help_).to_have_text("40 left")
    await ann.say("🙂" * 503)
    await expect(help_).to_have_text("3 characters too many")
    await expect(ann.page.get_by_label("Message", exact=True)).to_have_attribute(
        "aria-invalid", "true"
    )
    await ann.say("   ")
    await expect(help_).to_have_text("Write something first.")
    await expect(ann.texts).to_have_count(0)


async def test_fast_messages_keep_their_order(two: list[Visitor]) -> None:
    """None overtakes the one before it."""
    ann, bob = two
    texts = [f"message {number}" for number in range(10)]
    for text in texts:
        await ann.say(text)
    await expect(bob.texts).to_have_text(texts)
    await expect(ann.texts).to_have_text(texts)


# Who is here


async def test_coming_and_going_is_told(browser: Browser, room: str) -> None:
    """In quiet lines; whoever comes sees at once who is here."""
    async with people_in(browser, room, 1) as [ann]:
        async with people_in_more(browser, room) as bob:
            name = await bob.name()
            await expect(ann.lines).to_have_text([f"{name} has joined"])
            await expect(bob.people).to_have_count(2)
            await expect(ann.page.locator("[data-said]")).to_have_text(f"{name} has joined")
        # The grace of three seconds is over.
        await expect(ann.lines).to_have_text([f"{name} has joined", f"{name} has left"])
        await expect(ann.people).to_have_count(1)


@asynccontextmanager
async def people_in_more(browser: Browser, url: str) -> AsyncIterator[Visitor]:
    """Let one more enter a room where others are."""
    async with opened(browser) as page:
        yield await Visitor(page).enter(url)


async def test_windows_of_one_guest_are_one_member(two: list[Visitor], room: str) -> None:
    """Nobody comes with the second window, and nobody goes with it or with a reload."""
    ann, bob = two
    second = await ann.page.context.new_page()
    await Visitor(second).enter(room)
    await expect(second.locator(".member")).to_have_count(2)
    await second.close()
    await ann.page.reload()
    await expect(ann.people).to_have_count(2)
    await ann.say("still here")
    await expect(bob.texts).to_have_text(["still here"])
    await expect(bob.people).to_have_count(2)
    await expect(bob.lines).to_have_count(0)


async def test_own_message_is_in_the_other_window(two: list[Visitor], room: str) -> None:
    """Only the socket that sent it is left out."""
    ann, _bob = two
    second = Visitor(await ann.page.context.new_page())
    await second.enter(room)
    await ann.say("hello")
    await expect(second.page.locator(".message.own .text")).to_have_text(["hello"])


async def test_typing_is_shown_and_ends(three: list[Visitor]) -> None:
    """With the message, with an empty field, and by itself."""
    ann, bob, eve = three
    ann_name, eve_name = await ann.name(), await eve.name()
    shown = bob.page.locator("[data-typing]")
    await ann.write("h")
    await expect(shown).to_have_text(f"{ann_name} is typing …")
    await eve.write("h")
    await expect(shown).to_have_text(f"{ann_name} and {eve_name} are typing …")
    await expect(ann.page.locator("[data-typing]")).to_have_text(f"{eve_name} is typing …")
    await ann.say("hello")
    await expect(shown).to_have_text(f"{eve_name} is typing …")
    await eve.write("")
    await expect(shown).to_be_empty()
    await eve.write("hm")
    await expect(shown).to_have_text(f"{eve_name} is typing …")
    await expect(shown).to_be_empty()


# Names


async def test_new_name_is_right_everywhere(browser: Browser, room: str) -> None:
    """In a quiet line, in each open list, above old messages, and for who comes later."""
    async with people_in(browser, room, 2) as [ann, bob]:
        before = await ann.name()
        await ann.say("hello")
        await expect(bob.texts).to_have_text(["hello"])
        await ann.page.get_by_label("Your name").fill("철수")
        await ann.page.keyboard.press("Enter")
        for visitor in (ann, bob):
            await expect(visitor.lines.last).to_have_text(f"{before} is now 철수")
            await expect(visitor.names.filter(has_text="철수")).to_have_count(1)
            await expect(visitor.names.filter(has_text=before)).to_have_count(0)
        await expect(bob.page.locator(".message .name").first).to_have_text("철수")
        async with people_in_more(browser, room) as late:
            await expect(late.people).to_have_count(3)
            await expect(late.names.filter(has_text="철수")).to_have_count(1)


async def test_taken_name_is_refused(two: list[Visitor]) -> None:
    """Beside the field, and nobody else hears of it."""
    ann, bob = two
    await bob.page.get_by_label("Your name").fill(await ann.name())
    await bob.page.get_by_role("button", name="Change").click()
    await expect(bob.page.locator("[data-nickname] [data-help]")).to_contain_text("somebody else")
    await expect(ann.lines.filter(has_text="is now")).to_have_count(0)


async def test_guest_is_named_in_their_language(browser: Browser, room: str) -> None:
    """One page says 손님, and shows Guest where another came in with that."""
    async with opened(browser, locale="ko") as page, people_in_more(browser, room) as other:
        visitor = await Visitor(page).enter(room)
        assert re.fullmatch(r"손님-\d+", await visitor.name())
        await expect(other.names.filter(has_text="손님")).to_have_count(1)


# To one alone


async def test_private_message_reaches_one_and_no_other_socket(
    browser: Browser, three: list[Visitor], room: str
) -> None:
    """Both see it as private, also after a reload; the third's socket is sent nothing of it."""
    ann, bob, eve = three
    await ann.address(await bob.name())
    await expect(ann.page.locator(".composer .to")).to_contain_text("Privately to")
    await ann.say("secret-word")
    for visitor in (ann, bob):
        private = visitor.page.locator(".message.private")
        await expect(private.locator(".text")).to_have_text("secret-word")
        await expect(private.locator(".by")).to_contain_text("private")
    # The way back is as private; then something for all, behind which nothing can be late.
    await bob.address(await ann.name())
    await bob.say("secret-answer")
    await expect(ann.texts).to_have_text(["secret-word", "secret-answer"])
    await ann.page.keyboard.press("Escape")
    await expect(ann.page.locator(".composer .to")).to_contain_text("To everybody")
    await ann.say("for all")
    await expect(eve.texts).to_have_text(["for all"])
    assert any("secret-word" in text for text in bob.received)
    assert any("secret-answer" in text for text in ann.received)
    assert not any("secret" in text for text in eve.received)
    assert not any("secret-word" in text for text in ann.received)

    for visitor in three:
        await visitor.page.reload()
    await expect(eve.texts).to_have_text(["for all"])
    for visitor in (ann, bob):
        await expect(visitor.page.locator(".message.private")).to_have_count(2)
    async with people_in_more(browser, room) as late:
        await expect(late.texts).to_have_text(["for all"])


async def test_what_is_typed_to_one_alone_is_not_told(three: list[Visitor]) -> None:
    """Nor that it is typed."""
    ann, bob, eve = three
    await ann.address(await bob.name())
    await ann.write("secret")
    await eve.write("h")
    await expect(bob.page.locator("[data-typing]")).to_have_text(f"{await eve.name()} is typing …")
    assert not any("client-typing" in text for text in eve.received)


# The log


async def test_scrolling_up_stops_following(two: list[Visitor], server: RunningServer) -> None:
    """What comes meanwhile is counted, and one press leads there."""
    ann, bob = two
    for number in range(15):
        await bob.say(f"line {number}\n\n\n")
    await expect(ann.texts).to_have_count(15)
    log = ann.page.get_by_role("log")
    await expect(ann.texts.last).to_be_in_viewport()
    await log.evaluate("log => { log.scrollTop = 0; }")
    await expect(ann.texts.first).to_be_in_viewport()
    # The scroll event comes with the next frame.
    await ann.page.evaluate("() => new Promise(requestAnimationFrame)")
    news = ann.page.locator("[data-news]")
    await expect(news).to_be_hidden()
    await bob.say("new one")
    await expect(news).to_have_text("1 new message")
    await bob.say("new two")
    await expect(news).to_have_text("2 new messages")
    await expect(ann.texts.first).to_be_in_viewport()
    await news.click()
    await expect(ann.texts.last).to_be_in_viewport()
    await expect(news).to_be_hidden()


async def test_days_are_separated(browser: Browser, server: RunningServer, room: str) -> None:
    """By the reader's own calendar; the composer is below the last one."""
    async with people_in(browser, room, 1) as [ann]:
        server.shell(
            "from datetime import timedelta; from django.utils import timezone; "
            "from whik.models import Room; from whik.factories import ChatMessageFactory; "
            "room = Room.objects.latest('pk'); "
            "[ChatMessageFactory.create(room=room, text=f'{days} days ago', "
            "posted_at=timezone.now() - timedelta(days=days)) for days in (2, 2, 1)]"
        )
        await ann.page.reload()
        await ann.say("today")
        await expect(ann.texts).to_have_count(4)
        order = await ann.page.locator("[data-log] > li").evaluate_all(
            "items => items.map((item) => item.className.split(' ')[0])"
        )
        assert order == ["day", "message", "message", "day", "message", "day", "message"]


async def test_newcomer_sees_the_latest_fifty(
    browser: Browser, server: RunningServer, room: str
) -> None:
    """At the end of the log, in order."""
    async with people_in(browser, room, 1) as [ann]:
        server.shell(
            "from whik.models import Room; from whik.factories import ChatMessageFactory; "
            "room = Room.objects.latest('pk'); "
            "[ChatMessageFactory.create(room=room, text=f'message {n}') for n in range(60)]"
        )
        await ann.page.reload()
        await expect(ann.texts).to_have_text([f"message {number}" for number in range(10, 60)])
        await expect(ann.texts.last).to_be_in_viewport()


# Away and back


async def test_what_was_missed_is_fetched(browser: Browser, room: str) -> None:
    """The page says that it is away, and then has everything, once and in order."""
    socket = Socket()
    async with opened(browser) as page, people_in(browser, room, 1) as [bob]:
        await page.route_web_socket("**/app/**", socket)
        ann = await Visitor(page).enter(room)
        before = await bob.name()
        await bob.say("before")
        await expect(ann.texts).to_have_text(["before"])
        await socket.cut()
        await expect(page.locator("[data-word]")).to_have_text(re.compile("^reconnecting"))
        await expect(page.locator("[data-notice]")).to_contain_text("what you missed")
        await bob.say("meanwhile 1")
        await bob.address(await ann.name())
        await bob.say("meanwhile 2")
        await bob.page.get_by_label("Your name").fill("영희")
        await bob.page.get_by_role("button", name="Change").click()
        await expect(bob.lines.last).to_have_text(f"{before} is now 영희")
        # Sending needs no socket, so it goes on; the order is that of the database.
        await ann.say("from the dark")
        await expect(bob.texts.last).to_have_text("from the dark")
        socket.is_cut = False
        texts = ["before", "meanwhile 1", "meanwhile 2", "from the dark"]
        await expect(ann.texts).to_have_text(texts)
        await expect(page.locator("[data-word]")).to_have_text("live")
        await expect(page.locator("[data-notice]")).to_be_hidden()
        await expect(ann.names.filter(has_text="영희")).to_have_count(1)
        await bob.page.keyboard.press("Escape")
        await bob.say("after")
        await expect(ann.texts).to_have_text([*texts, "after"])


async def test_list_is_right_after_an_absence(browser: Browser, room: str) -> None:
    """Who has come and gone meanwhile is in the list, or is not."""
    socket = Socket()
    async with opened(browser) as page:
        await page.route_web_socket("**/app/**", socket)
        async with people_in_more(browser, room) as bob:
            ann = await Visitor(page).enter(room)
            await expect(ann.people).to_have_count(2)
            name = await bob.name()
            await socket.cut()
            await expect(page.locator("[data-word]")).to_have_text(re.compile("^reconnecting"))
        async with people_in_more(browser, room) as eve:
            socket.is_cut = False
            await expect(ann.names.filter(has_text=await eve.name())).to_have_count(1)
            await expect(ann.names.filter(has_text=name)).to_have_count(0)
            await expect(eve.people).to_have_count(2)


async def test_server_may_restart(browser: Browser, runserver: RunServer) -> None:
    """Both come back by themselves, with all that was said and what could not be sent."""
    server = runserver()
    room = f"{server.url}/chat/lobby/"
    async with people_in(browser, room, 2) as [ann, bob]:
        await ann.say("before")
        await expect(bob.texts).to_have_text(["before"])
        # Bob may have it before Ann's own request is answered.
        await expect(ann.page.locator("time", has_text="sending")).to_have_count(0)
        server.stop()
        await expect(ann.page.locator("[data-notice]")).to_be_visible()
        await ann.say("in the dark")
        await expect(ann.page.locator(".failure")).to_contain_text("the server does not answer")
        server.start()
        server.wait_until_ready()
        for visitor in (ann, bob):
            await expect(visitor.page.locator("[data-word]")).to_have_text("live", timeout=30_000)
            await expect(visitor.people).to_have_count(2)
        await ann.page.get_by_role("button", name="Send again").click()
        await expect(bob.texts).to_have_text(["before", "in the dark"])
        await expect(ann.page.locator(".failure")).to_have_count(0)


async def test_lost_answer_says_nothing_twice(two: list[Visitor]) -> None:
    """The page cannot know whether it was heard; sending again is safe."""
    ann, bob = two

    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort()

    await ann.page.route("**/messages", lose)
    await ann.say("once")
    await expect(bob.texts).to_have_text(["once"])
    await expect(ann.page.locator(".failure")).to_be_visible()
    await ann.page.unroute("**/messages")
    await ann.page.get_by_role("button", name="Send again").click()
    await expect(ann.page.locator(".failure")).to_have_count(0)
    await ann.say("twice")
    await expect(bob.texts).to_have_text(["once", "twice"])
    await expect(ann.texts).to_have_text(["once", "twice"])


async def test_what_was_not_sent_can_be_taken_back(two: list[Visitor]) -> None:
    """The words are in the field again, and addressed as they were."""
    ann, bob = two
    await ann.page.route("**/messages", lambda route: route.fulfill(status=503))
    await ann.address(await bob.name())
    await ann.say("hello")
    await expect(ann.page.locator(".failure")).to_contain_text("Not sent: 503")
    await ann.page.get_by_role("button", name="Take back").click()
    await expect(ann.page.get_by_label("Message", exact=True)).to_have_value("hello")
    await expect(ann.page.locator(".composer .to")).to_contain_text("Privately to")
    await expect(ann.texts).to_have_count(0)


async def test_failed_fetch_is_told_and_tried_again(browser: Browser, room: str) -> None:
    """The notice goes when the state has come."""
    async with opened(browser) as page:
        await page.route("**/state*", lambda route: route.fulfill(status=500))
        await page.goto(room)
        notice = page.locator("[data-notice]")
        await expect(notice).to_contain_text("could not be fetched: 500")
        await page.unroute("**/state*")
        await expect(notice).to_be_hidden()


# Accounts


@pytest.fixture(scope="module")
def demo_people(server: RunningServer) -> None:
    """Make the people to log in as."""
    server.shell("from whik.demo_people import make_people; make_people()")


async def log_in(page: Page, url: str, *, end_others: bool = False) -> None:
    """Log in as Ann with one press, back into a room."""
    path = re.sub(r"^https?://[^/]+", "", url)
    await page.goto(url.removesuffix(path) + f"/login/?next={path}")
    if end_others:
        await page.get_by_label("Sign out my other windows").check()
    await page.get_by_role("button", name="Log in as Ann Smith").click()
    await page.wait_for_url(url)


@pytest.mark.usefixtures("demo_people")
async def test_user_has_the_name_of_the_account(browser: Browser, room: str) -> None:
    """In two browsers they are still one member."""
    async with (
        opened(browser) as first,
        opened(browser) as second,
        people_in(browser, room, 1) as [bob],
    ):
        await log_in(first, room)
        await log_in(second, room)
        await expect(bob.names.filter(has_text="Ann Smith")).to_have_count(1)
        await expect(second.locator(".member")).to_have_count(2)
        await expect(first.get_by_label("Your name")).to_have_count(0)


@pytest.mark.usefixtures("demo_people")
async def test_other_windows_can_be_ended(browser: Browser, room: str) -> None:
    """The first page says so and stays away, also when asked to send."""
    async with (
        opened(browser) as first,
        opened(browser) as second,
        people_in(browser, room, 1) as [bob],
    ):
        await log_in(first, room)
        ann = Visitor(first)
        await expect(ann.people).to_have_count(2)
        await log_in(second, room, end_others=True)
        word = first.locator("[data-word]")
        await expect(word).to_have_text("refused: signed out elsewhere")
        await expect(first.locator("[data-notice]")).to_contain_text("logged in elsewhere")
        await expect(second.locator("[data-word]")).to_have_text("live")
        await expect(bob.names.filter(has_text="Ann Smith")).to_have_count(1)
        await ann.say("am I still here")
        await expect(first.locator(".failure")).to_contain_text("you are now Guest-")
        await bob.say("only one hears this")
        await expect(Visitor(second).texts).to_have_text(["only one hears this"])
        await expect(word).to_have_text("refused: signed out elsewhere")
        await expect(ann.texts).to_have_text(["am I still here"])


# Rooms


async def test_new_room_appears_in_the_list(browser: Browser, server: RunningServer) -> None:
    """Where the list is open; its link leads there, whatever the name."""
    name = "수다방 @ home; 1"
    async with opened(browser) as looking, opened(browser) as making:
        await looking.goto(f"{server.url}/chat/")
        await expect(looking.locator("[data-word]")).to_have_text("live")
        await making.goto(f"{server.url}/chat/")
        await making.get_by_label("Name of the room").fill(name)
        await making.get_by_role("button", name="Enter").click()
        await expect(making.get_by_role("heading", level=1)).to_have_text(name)
        await looking.get_by_role("link", name=name).click()
        await expect(looking.get_by_role("heading", level=1)).to_have_text(name)
        await expect(looking.locator(".member")).to_have_count(2)


# Hands and eyes


async def test_keyboard_is_enough(browser: Browser, room: str) -> None:
    """From the content to a private message with Tab, Enter and Escape alone."""
    async with people_in(browser, room, 2, width=360) as [ann, bob]:
        drawer = ann.page.get_by_role("button", name="People")
        await expect(drawer).to_have_attribute("aria-expanded", "false")
        await expect(ann.people.first).to_be_hidden()
        await drawer.focus()
        await ann.page.keyboard.press("Enter")
        await expect(ann.page.get_by_role("button", name="Close")).to_be_focused()
        await ann.page.keyboard.press("Escape")
        await expect(drawer).to_be_focused()
        await expect(ann.people.first).to_be_hidden()
        await ann.page.keyboard.press("Enter")
        await ann.page.keyboard.press("Tab")
        await expect(
            ann.page.get_by_role("button", name=f"Write to {await bob.name()} privately")
        ).to_be_focused()
        await ann.page.keyboard.press("Enter")
        await expect(ann.people.first).to_be_hidden()
        await expect(ann.page.get_by_label("Message", exact=True)).to_be_focused()
        await ann.page.keyboard.type("psst")
        await ann.page.keyboard.press("Enter")
        await expect(bob.page.locator(".message.private .text")).to_have_text("psst")


async def test_nothing_moves_for_who_asked_for_it(browser: Browser, room: str) -> None:
    """With reduced motion a message is simply there."""
    for reduced_motion, name in ((True, "none"), (False, "fly")):
        async with people_in(browser, room, 2, reduced_motion=reduced_motion) as [ann, bob]:
            await ann.say("hello")
            moving = bob.page.locator(".message.new")
            assert await moving.evaluate("item => getComputedStyle(item).animationName") == name


async def test_screen_reader_hears_one_sentence(two: list[Visitor]) -> None:
    """However much arrives; a private message is told as one."""
    ann, bob = two
    said = ann.page.locator("[data-said]")
    name = await bob.name()
    await bob.address(await ann.name())
    await bob.say("psst")
    await expect(said).to_have_text(re.compile(rf"{name} says privately: psst$"))
    await bob.page.keyboard.press("Escape")
    for number in range(5):
        await bob.say(f"message {number}")
    await expect(said).to_have_text(f"5 new messages. The latest is from {name}")


async def test_forms_work_without_scripts(browser: Browser, room: str) -> None:
    """What is sent is on the page that answers."""
    context = await browser.new_context(java_script_enabled=False, locale="en")
    page = await context.new_page()
    await page.goto(room)
    await page.get_by_label("Message", exact=True).fill("hello")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".message.own .text")).to_have_text("hello")
    await context.close()


@every_look
@pytest.mark.usefixtures("demo_people")
async def test_pages_look_as_drawn(
    browser: Browser, runserver: RunServer, width: int, scheme: Scheme
) -> None:
    """Empty, full and failing, nothing is cut off and axe-core finds no violation."""
    server = runserver()
    server.shell("from whik.demo_people import make_people; make_people()")
    locale = "en" if scheme == "light" else "ko"
    room = f"{server.url}/chat/lobby/"

    async def look(page: Page, name: str) -> None:
        await picture(page, name, width, scheme)
        await no_violation(page)
        await fits(page)

    async with opened(browser, width=width, scheme=scheme, locale=locale) as page:
        await page.goto(f"{server.url}/chat/")
        await look(page, "rooms-empty")
        await page.locator("#room-name").fill("a/b")
        await page.locator(".field button").click()
        await look(page, "rooms-wrong")
        await page.goto(f"{server.url}/login/")
        await look(page, "login")
        ann = await Visitor(page).enter(room)
        await expect(page.locator("[data-empty]")).to_be_visible()
        await look(page, "chat-empty")
        server.shell(TALK)
        async with people_in_more(browser, room) as bob:
            await page.reload()
            await expect(ann.people).to_have_count(2)
            await bob.address(await ann.name())
            await bob.say("Only you can read this. " * 5)
            await expect(ann.page.locator(".message.private")).to_have_count(1)
            await ann.page.locator("#text").fill("첫 줄\n둘째 줄\nthe third")
            await ann.page.keyboard.press("Enter")
            await expect(ann.page.locator(".message.own")).to_have_count(1)
            await bob.page.keyboard.press("Escape")
            await bob.write("…")
            await expect(page.locator("[data-typing]")).not_to_be_empty()
            await look(page, "chat-full")
            if width < 768:
                await page.locator("[data-drawer]").click()
            await ann.people.nth(1).get_by_role("button").click()
            await page.locator("#text").fill("x" * 505)
            await look(page, "chat-private")
            if width < 768:
                await page.locator("[data-drawer]").click()
                await look(page, "chat-drawer")
                await page.keyboard.press("Escape")
        await page.locator("#text").fill("lost")
        server.stop()
        await page.keyboard.press("Enter") if width > 768 else await page.locator(
            ".composer button:not([type])"
        ).click()
        await expect(page.locator(".failure")).to_be_visible()
        await expect(page.locator("[data-notice]")).to_be_visible()
        await look(page, "chat-failing")


TALK = """
from datetime import timedelta
from django.utils import timezone
from whik.factories import ChatMessageFactory, PersonFactory
from whik.models import Room
room = Room.objects.get()
names = "철수", "Ann Smith", "한없이긴이름을가진사람"
people = [PersonFactory.create(name=name) for name in names]
for person in people:
    room.visit(person)
texts = [
    "안녕하세요", "Hello", "오늘 날씨가 참 좋네요. 다들 점심은 드셨나요? 저는 아직입니다.",
    "not yet", "https://example.com/" + "long/" * 30, "ok",
]
for number in range(14):
    ChatMessageFactory.create(
        room=room, author=people[number // 2 % 3], text=texts[number % 6],
        posted_at=timezone.now() - timedelta(hours=20 - number),
    )
"""
