"""
The list of things in real browsers, changed by people, by the admin and by other processes.

What a page looks like is left in ``var/screenshots``, as by `test_pages`.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    Locator,
    Page,
    Request,
    Route,
    WebSocket,
    WebSocketRoute,
    expect,
)

from tests.conftest import ROOT, RunningServer, RunServer
from tests.e2e.pages import LOOKS, Scheme, Socket, fits, live, no_violation, opened, picture
from tests.utils import await_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG = "아주 긴 이름도 " * 3 + "supercalifrag"

both_pages = pytest.mark.parametrize("path", ["/things/", "/things/htmx/"])

MAKE = "from whik.models import Thing; Thing.objects.create(name={!r})"
RENAME = "from whik.models import Thing; t = Thing.objects.get(name={!r}); t.name = {!r}; t.save()"
DELETE = "from whik.models import Thing; Thing.objects.get(name={!r}).delete()"

_numbers = count(1)


@pytest.fixture(scope="module")
def server(module_runserver: RunServer) -> RunningServer:
    """Return the site that all tests share which do not stop it."""
    return module_runserver()


@pytest.fixture
def apple() -> str:
    """Return a name that no other test uses, nor begins one that another uses."""
    return f"apple-{next(_numbers)}."


@pytest_asyncio.fixture(loop_scope="session")
async def two(browser: Browser) -> AsyncIterator[list[Page]]:
    """Return the windows of two people."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened(browser)) for _ in range(2)]


def _opened(browser: Browser, width: int, scheme: Scheme) -> AbstractAsyncContextManager[Page]:
    locale = "en" if scheme == "light" else "ko"
    return opened(browser, width=width, scheme=scheme, locale=locale)


def row(page: Page, name: str) -> Locator:
    """Return the row of a thing, on either page."""
    return page.locator(".thing").filter(has=page.locator(".name", has_text=name))


def heard(page: Page) -> list[str]:
    """Return the names of the events of things that the page's sockets are sent from now on."""
    events: list[str] = []

    def on_frame(text: str | bytes) -> None:
        event = json.loads(text)["event"]
        if event.startswith(("thing:", "broadcast:")):
            events.append(event)

    def on_socket(socket: WebSocket) -> None:
        socket.on("framereceived", on_frame)

    page.on("websocket", on_socket)
    return events


async def listening(page: Page, url: str) -> Page:
    """Go to one of the pages, and wait until its channel is joined."""
    await live(page, url)
    name = "things.rows" if url.endswith("/htmx/") else "things"
    joined = f"Echo.connector.pusher.channel({name!r})?.subscribed === true"
    await await_until(lambda: page.evaluate(joined), 15, f"{name} is joined")
    return page


def is_fetched(request: Request) -> bool:
    """Tell whether a script has asked for something."""
    return request.method == "GET" and request.resource_type == "fetch"


async def make(page: Page, name: str) -> None:
    """Make a thing with the form."""
    await page.locator("#thing-name").fill(name)
    await page.keyboard.press("Enter")


async def rename(page: Page, name: str, new: str) -> None:
    """Rename a thing, as the page has it."""
    if await page.locator("#rows").count():
        await row(page, name).get_by_role("button").click()
        await page.get_by_label(f"New name of {name}").fill(new)
        # For 20 ms htmx does not know the form yet, and Enter would submit it as it is.
        await expect(page.locator(".htmx-settling, .htmx-added")).to_have_count(0)
    else:
        await row(page, name).get_by_text("Rename").click()
        await row(page, name).get_by_label("New name").fill(new)
    await page.keyboard.press("Enter")


async def delete(page: Page, name: str) -> None:
    """Delete a thing, as the page has it."""
    if await page.locator("#rows").count():
        await row(page, name).get_by_role("button").click()
        await page.get_by_label(f"New name of {name}").wait_for()
        await page.get_by_role("button", name="Delete").click()
    else:
        await row(page, name).locator("[data-delete] button").click()


async def shell(server: RunningServer, code: str) -> None:
    """Run code in another process of the site, while the browser goes on."""
    await asyncio.to_thread(server.shell, code)


# Looks


async def test_pages_look_as_drawn(browser: Browser, runserver: RunServer) -> None:
    """Empty, live and failing, nothing is cut off and axe-core finds no violation."""
    server = runserver()
    async with AsyncExitStack() as stack:
        looks = [
            (page, path, name, width, scheme)
            for path, name in (("/things/", "things"), ("/things/htmx/", "things-htmx"))
            for width, scheme in LOOKS
            for page in [await stack.enter_async_context(_opened(browser, width, scheme))]
        ]

        async def look(state: str) -> None:
            for page, _path, name, width, scheme in looks:
                await picture(page, f"{name}-{state}", width, scheme)
                await fits(page)
                await no_violation(page)

        for page, path, *_ in looks:
            await listening(page, server.url + path)
        await look("empty")
        for name in (LONG, "사과 열 개", "pear", "plum"):
            await make(looks[0][0], name)
        for number, (page, path, *_) in enumerate(looks):
            await expect(row(page, "plum")).to_be_visible()
            if path == "/things/":
                # Something taken away, something asked for in vain, something being written.
                await make(page, f"gone-{number}")
                await delete(page, f"gone-{number}")
                await expect(page.locator("[data-undo]")).to_be_visible()
                await make(page, "PLUM")
                await expect(page.locator("#thing-wrong")).not_to_be_empty()
                await row(page, "pear").locator("summary").click()
            else:
                await make(page, "PLUM")
                await expect(page.locator("#wrong")).not_to_be_empty()
                await row(page, LONG).get_by_role("button").click()
                await expect(page.locator("#new-name")).to_be_visible()
        await look("live")
        server.stop()
        for page, *_ in looks:
            await expect(page.locator("[data-notice]")).to_be_visible()
        await look("failing")


# Changes


@both_pages
async def test_change_appears_everywhere_at_once(
    two: list[Page], server: RunningServer, apple: str, path: str
) -> None:
    """Made, renamed and deleted, each once; the page that did it is not told by the socket."""
    ours, theirs = two
    events = heard(ours)
    await listening(ours, server.url + path)
    await listening(theirs, server.url + path)
    await make(ours, apple)
    await expect(row(ours, apple)).to_have_count(1)
    await expect(row(theirs, apple)).to_have_count(1)
    await rename(ours, apple, f"red {apple}")
    await expect(row(theirs, f"red {apple}")).to_have_count(1)
    await expect(row(ours, f"red {apple}")).to_have_count(1)
    await delete(ours, f"red {apple}")
    await expect(row(theirs, apple)).to_have_count(0)
    await expect(row(ours, apple)).to_have_count(0)
    assert events == []

    # What the own socket would have been sent is there by now, if it was sent.
    await make(theirs, apple)
    await expect(row(ours, apple)).to_have_count(1)
    assert events == ["broadcast:html" if path.endswith("htmx/") else "thing:create"]


async def test_both_pages_show_one_list(two: list[Page], server: RunningServer, apple: str) -> None:
    """What one page does the other shows, both ways."""
    script, htmx = two
    await listening(script, f"{server.url}/things/")
    await listening(htmx, f"{server.url}/things/htmx/")
    await make(script, apple)
    await expect(row(htmx, apple)).to_be_visible()
    await rename(htmx, apple, f"red {apple}")
    await expect(row(script, f"red {apple}")).to_be_visible()
    await delete(script, f"red {apple}")
    await expect(row(htmx, apple)).to_have_count(0)


async def test_what_has_changed_is_marked(
    two: list[Page], server: RunningServer, apple: str
) -> None:
    """A new row, and the field that changed, in words too; one's own as one's own."""
    ours, theirs = two
    await listening(ours, f"{server.url}/things/")
    await listening(theirs, f"{server.url}/things/")
    await make(ours, apple)
    await expect(row(ours, apple).get_by_text("from this tab")).to_be_visible()
    await expect(row(theirs, apple).get_by_text("just made")).to_be_visible()
    await expect(theirs.locator("[data-said]")).to_have_text(f"{apple} was added")
    await rename(ours, apple, f"red {apple}")
    changed = row(theirs, f"red {apple}")
    await expect(changed.locator(".changed")).to_have_text(f"red {apple}")
    await expect(changed.get_by_text(f"was {apple}")).to_be_visible()
    # In its place, not above those that came later.
    await make(theirs, f"later {apple}")
    await rename(ours, f"red {apple}", apple)
    await expect(theirs.locator(".thing .name").first).to_have_text(f"later {apple}")


async def test_delete_is_undone_by_the_same_call(
    two: list[Page], server: RunningServer, apple: str
) -> None:
    """A thing of that name is made again, and everybody sees it."""
    ours, theirs = two
    await listening(ours, f"{server.url}/things/")
    await listening(theirs, f"{server.url}/things/")
    await make(ours, apple)
    await delete(ours, apple)
    await expect(row(theirs, apple)).to_have_count(0)
    undo = ours.get_by_role("button", name="Undo")
    await expect(undo).to_be_focused()
    await ours.keyboard.press("Enter")
    await expect(row(ours, apple)).to_have_count(1)
    await expect(row(theirs, apple)).to_have_count(1)
    await expect(undo).to_be_hidden()
    await expect(row(ours, apple).locator("summary")).to_be_focused()


async def test_other_processes_are_heard(two: list[Page], runserver: RunServer) -> None:
    """`manage.py shell` posts what it saves to the server, and both pages show it."""
    server = runserver("memory")
    script, htmx = two
    await listening(script, f"{server.url}/things/")
    await listening(htmx, f"{server.url}/things/htmx/")
    steps = (
        (MAKE.format("apple"), "apple", 1),
        (RENAME.format("apple", "pear"), "pear", 1),
        (DELETE.format("pear"), "pear", 0),
    )
    for code, name, number in steps:
        await shell(server, code)
        for page in two:
            await expect(row(page, name)).to_have_count(number)


async def test_other_processes_are_heard_through_channel_layers(
    two: list[Page], server: RunningServer, apple: str
) -> None:
    """The same with the connection that the demo has by default."""
    script, htmx = two
    await listening(script, f"{server.url}/things/")
    await listening(htmx, f"{server.url}/things/htmx/")
    await shell(server, MAKE.format(apple))
    for page in two:
        await expect(row(page, apple)).to_have_count(1)


async def test_the_admin_is_heard(browser: Browser, two: list[Page], runserver: RunServer) -> None:
    """Its pages know nothing of the list, and the list shows what they do."""
    server = runserver()
    server.shell(
        "from django.contrib.auth.models import User; "
        "User.objects.create_superuser('boss', password='known')"
    )
    script, htmx = two
    await listening(script, f"{server.url}/things/")
    await listening(htmx, f"{server.url}/things/htmx/")
    # The admin has inline code that the site's policy forbids.
    context = await browser.new_context(locale="en")
    admin = await context.new_page()
    await admin.goto(f"{server.url}/admin/login/?next=/admin/whik/thing/add/")
    await admin.get_by_label("Username").fill("boss")
    await admin.get_by_label("Password").fill("known")
    await admin.keyboard.press("Enter")
    await admin.get_by_label("Name").fill("apple")
    await admin.get_by_role("button", name="Save and continue editing").click()
    for page in two:
        await expect(row(page, "apple")).to_have_count(1)
    await admin.get_by_label("Name").fill("pear")
    await admin.get_by_role("button", name="Save and continue editing").click()
    for page in two:
        await expect(row(page, "pear")).to_have_count(1)
    await admin.get_by_role("link", name="Delete").click()
    await admin.get_by_role("button", name="Yes").click()
    for page in two:
        await expect(row(page, "pear")).to_have_count(0)
    await context.close()


# Being right


@both_pages
async def test_list_is_fetched_after_a_lost_connection(
    browser: Browser, server: RunningServer, apple: str, path: str
) -> None:
    """What was made, renamed and deleted meanwhile was not heard, and is right all the same."""
    socket = Socket()
    async with opened(browser) as page:
        await page.route_web_socket("**/app/**", socket)
        # The list that a page fetches when it has joined must not arrive after the cut.
        async with page.expect_event("requestfinished", is_fetched):
            await listening(page, server.url + path)
        await make(page, f"old {apple}")
        await make(page, f"pear {apple}")
        await expect(row(page, f"pear {apple}")).to_be_visible()
        await socket.cut()
        await expect(page.locator("[data-word]")).not_to_have_text("live")
        codes = (
            RENAME.format(f"old {apple}", f"red {apple}"),
            DELETE.format(f"pear {apple}"),
            MAKE.format(f"new {apple}"),
        )
        await shell(server, "\n".join(codes))
        await expect(row(page, f"old {apple}")).to_be_visible()
        socket.is_cut = False
        await expect(row(page, f"red {apple}")).to_be_visible()
        await expect(row(page, f"new {apple}")).to_be_visible()
        await expect(row(page, f"pear {apple}")).to_have_count(0)
        await expect(row(page, f"old {apple}")).to_have_count(0)


async def test_list_is_right_after_the_server_was_away(
    browser: Browser, runserver: RunServer
) -> None:
    """Another process changes things while nobody serves; nobody reloads the page."""
    server = runserver()
    async with opened(browser) as page:
        await listening(page, f"{server.url}/things/")
        await make(page, "apple")
        await expect(row(page, "apple")).to_be_visible()
        server.stop()
        await expect(page.locator("[data-notice]")).to_contain_text("fetches the list again")
        await shell(server, RENAME.format("apple", "pear"))
        server.start()
        await asyncio.to_thread(server.wait_until_ready)
        await expect(row(page, "pear")).to_be_visible()
        await expect(row(page, "apple")).to_have_count(0)
        await expect(page.locator("[data-notice]")).to_be_hidden()


@both_pages
async def test_event_during_a_fetch_is_not_lost(
    two: list[Page], server: RunningServer, apple: str, path: str
) -> None:
    """The channel is joined before the list is asked for; an answer that is older waits for it."""
    ours, theirs = two
    events = heard(ours)
    await listening(theirs, f"{server.url}/things/")
    await make(theirs, apple)
    await expect(row(theirs, apple)).to_be_visible()
    if path == "/things/":
        begin, mark = '"things": [', '{"id": 9999, "name": "the answer", "made_at": ""},'
    else:
        begin = '<ol class="things" id="rows">'
        mark = '<li class="thing"><bdi class="name">the answer</bdi></li>'
    answers: list[Any] = []
    may_go = asyncio.Event()

    async def hold(route: Route) -> None:
        if route.request.resource_type != "fetch":  # The page itself.
            return await route.continue_()
        response = await route.fetch()
        answers.append(response)
        # Something by which to see that the answer is on the page.
        text = (await response.text()).replace(begin, begin + mark, 1)
        await may_go.wait()
        await route.fulfill(response=response, body=text)

    await ours.route("**/api/things/" if path == "/things/" else "**/things/htmx/", hold)
    await live(ours, server.url + path)
    await await_until(lambda: bool(answers), 10, "the list has been asked for")
    await rename(theirs, apple, f"red {apple}")
    await await_until(lambda: bool(events), 10, "the rename was heard")
    may_go.set()
    await expect(row(ours, "the answer")).to_be_visible()
    await expect(row(ours, f"red {apple}")).to_be_visible()
    await expect(row(ours, apple)).to_have_count(1)


async def test_own_change_does_not_undo_a_later_one(
    two: list[Page], server: RunningServer, apple: str
) -> None:
    """The answer may come after the event of what somebody else did afterwards."""
    ours, theirs = two
    events = heard(ours)
    await listening(ours, f"{server.url}/things/")
    await listening(theirs, f"{server.url}/things/")
    await make(ours, apple)
    await expect(row(theirs, apple)).to_be_visible()
    may_go = asyncio.Event()

    async def hold(route: Route) -> None:
        response = await route.fetch()
        await may_go.wait()
        await route.fulfill(response=response)

    await ours.route(re.compile(r"/api/things/\d+/"), hold)
    await rename(ours, apple, f"red {apple}")
    await expect(row(theirs, f"red {apple}")).to_be_visible()
    await rename(theirs, f"red {apple}", f"green {apple}")
    await await_until(lambda: bool(events), 10, "the second rename was heard")
    may_go.set()
    await expect(row(ours, apple).locator("details")).not_to_have_attribute("open", "")
    await expect(row(ours, f"green {apple}")).to_be_visible()


async def test_late_event_does_not_undo_an_own_change(
    two: list[Page], server: RunningServer, apple: str
) -> None:
    """It was sent before, and arrives after the answer; the own change is not sent to oneself."""
    ours, theirs = two
    held: list[str | bytes] | None = None
    routes: list[WebSocketRoute] = []

    def through(route: WebSocketRoute) -> None:
        def on_message(message: str | bytes) -> None:
            if held is None:
                route.send(message)
            else:
                held.append(message)

        route.connect_to_server().on_message(on_message)
        routes.append(route)

    await ours.route_web_socket("**/app/**", through)
    await listening(ours, f"{server.url}/things/")
    await listening(theirs, f"{server.url}/things/")
    pear, plum = f"pear {apple}", f"plum {apple}"
    await make(ours, pear)
    await make(ours, plum)
    await expect(row(theirs, plum)).to_be_visible()
    held = []
    for name in (pear, plum):
        await rename(theirs, name, f"their {name}")
    await await_until(lambda: str(held).count("thing:update") == 2, 10, "both were sent")
    await rename(ours, plum, f"our {plum}")
    await expect(row(ours, f"our {plum}")).to_be_visible()
    await delete(ours, pear)
    await expect(row(ours, pear)).to_have_count(0)
    late, held = held, None
    async with ours.expect_response("**/api/things/"):
        for message in late:
            routes[-1].send(message)
    await expect(row(ours, f"our {plum}")).to_be_visible()
    await expect(row(ours, pear)).to_have_count(0)


async def test_what_somebody_writes_is_left_alone(
    two: list[Page], server: RunningServer, apple: str
) -> None:
    """Another name for the same thing comes while one is writing; what is written stays."""
    ours, theirs = two
    await listening(ours, f"{server.url}/things/")
    await listening(theirs, f"{server.url}/things/")
    await make(ours, apple)
    await row(ours, apple).get_by_text("Rename").click()
    await row(ours, apple).get_by_label("New name").fill(f"half {apple}")
    await rename(theirs, apple, f"red {apple}")
    await expect(row(ours, f"red {apple}").get_by_label("New name")).to_have_value(f"half {apple}")


# What goes wrong


async def test_wrong_name_is_told_where_it_was_written(
    two: list[Page], server: RunningServer, apple: str
) -> None:
    """With the server's words; nothing is done, and what was written can be mended."""
    page, _other = two
    await listening(page, f"{server.url}/things/")
    await make(page, apple)
    await expect(row(page, apple)).to_be_visible()
    await make(page, apple.upper())
    wrong = page.locator("#thing-wrong")
    await expect(wrong).to_have_text(f"There is already a thing called {apple.upper()}.")
    field = page.get_by_label("Name of a new thing")
    await expect(field).to_be_focused()
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_have_value(apple.upper())
    await make(page, f"pear {apple}")
    await expect(row(page, f"pear {apple}")).to_be_visible()
    await expect(wrong).to_be_empty()
    await rename(page, f"pear {apple}", apple)
    await expect(row(page, f"pear {apple}").locator("[data-wrong]")).to_contain_text("already")


async def test_htmx_tells_what_is_wrong_as_text(
    two: list[Page], server: RunningServer, apple: str
) -> None:
    """The name in the sentence is somebody's, and htmx takes it for HTML."""
    page, _other = two
    await listening(page, f"{server.url}/things/htmx/")
    name = f"<b>{apple}"
    await make(page, name)
    await expect(row(page, name)).to_be_visible()
    await expect(page.get_by_label("Name of a new thing")).to_have_value("")
    await make(page, name)
    await expect(page.locator("#wrong")).to_have_text(f"There is already a thing called {name}.")
    await page.route("**/things/htmx/", lambda route: route.fulfill(status=503))
    await make(page, f"pear {apple}")
    await expect(page.locator("[data-notice]")).to_contain_text("The change was not made: 503")
    await page.unroute("**/things/htmx/")
    await page.route("**/things/htmx/", lambda route: route.abort())
    await make(page, f"pear {apple}")
    await expect(page.locator("[data-notice]")).to_contain_text("did not answer")


async def test_failed_change_is_explained(
    two: list[Page], server: RunningServer, apple: str
) -> None:
    """No answer: nobody knows whether it was done, so the page looks."""
    page, _other = two
    await listening(page, f"{server.url}/things/")
    await make(page, apple)

    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort()

    await page.route(re.compile(r"/api/things/\d+/"), lose)
    await delete(page, apple)
    await expect(page.locator("[data-notice]")).to_contain_text("may or may not")
    await expect(row(page, apple)).to_have_count(0)
    await page.unroute(re.compile(r"/api/things/\d+/"))
    await make(page, apple)
    await expect(page.locator("[data-notice]")).to_be_hidden()


async def test_list_that_cannot_be_fetched_is_asked_for_again(
    two: list[Page], server: RunningServer, apple: str
) -> None:
    """The page says so, and goes on hearing meanwhile."""
    ours, theirs = two
    await ours.route("**/api/things/", lambda route: route.fulfill(status=503))
    await listening(ours, f"{server.url}/things/")
    await listening(theirs, f"{server.url}/things/")
    notice = ours.locator("[data-notice]")
    await expect(notice).to_contain_text("could not be fetched: 503")
    await make(theirs, apple)
    await expect(row(ours, apple)).to_be_visible()
    await ours.unroute("**/api/things/")
    await expect(notice).to_be_hidden()


@both_pages
async def test_names_are_text(
    two: list[Page], server: RunningServer, apple: str, path: str
) -> None:
    """Everybody may choose one."""
    ours, theirs = two
    await listening(ours, server.url + path)
    await listening(theirs, f"{server.url}/things/")
    name = f"<img src=x> {apple}"
    await make(theirs, name)
    await expect(row(ours, name)).to_have_count(1)
    await expect(ours.locator("img")).to_have_count(0)


# Hands and eyes


async def test_keyboard_is_enough(two: list[Page], server: RunningServer, apple: str) -> None:
    """Made, renamed, deleted and brought back with Tab and Enter alone."""
    page, _other = two
    await listening(page, f"{server.url}/things/")
    await page.get_by_label("Name of a new thing").focus()
    await page.keyboard.type(apple)
    await page.keyboard.press("Enter")
    await expect(row(page, apple)).to_be_visible()
    await row(page, apple).locator("summary").focus()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await page.keyboard.press("End")
    await page.keyboard.type(" two")
    await page.keyboard.press("Enter")
    await expect(row(page, f"{apple} two").locator("summary")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Undo")).to_be_focused()


async def test_page_works_without_scripts(
    browser: Browser, server: RunningServer, apple: str
) -> None:
    """The forms are forms: each leads back to the list."""
    context = await browser.new_context(java_script_enabled=False, locale="en")
    page = await context.new_page()
    await page.goto(f"{server.url}/things/")
    await make(page, apple)
    await rename(page, apple, f"red {apple}")
    await expect(row(page, f"red {apple}")).to_have_count(1)
    await delete(page, f"red {apple}")
    await expect(row(page, apple)).to_have_count(0)
    await make(page, " ")
    await expect(page.locator("#thing-wrong")).to_have_text("Give a name that others can see.")
    await context.close()


async def test_nothing_moves_for_who_asked_for_it(
    browser: Browser, server: RunningServer, apple: str
) -> None:
    """With reduced motion a row is only marked; otherwise it flies in."""
    for reduced_motion, names in ((True, "hairline"), (False, "fly, hairline")):
        async with opened(browser, reduced_motion=reduced_motion) as page:
            await listening(page, f"{server.url}/things/")
            name = f"{names} {apple}"
            await make(page, name)
            style = await row(page, name).evaluate("row => getComputedStyle(row).animationName")
            assert style == names


# The page of the documentation


async def test_documented_pattern_is_right_after_a_lost_connection(
    two: list[Page], server: RunningServer, apple: str
) -> None:
    """The script of docs/live-lists.md as it is printed, in place of the page's own."""
    text = (ROOT / "docs" / "live-lists.md").read_text(encoding="utf-8")
    script = text.partition("## The page\n\n```js\n")[2].partition("```")[0]
    page, theirs = two
    socket = Socket()
    await page.route("**/things.js", lambda route: route.fulfill(body=script))
    await page.route_web_socket("**/app/**", socket)
    await listening(theirs, f"{server.url}/things/")
    await make(theirs, f"old {apple}")
    await expect(row(theirs, f"old {apple}")).to_be_visible()
    await page.goto(f"{server.url}/things/")
    rows = page.locator("[data-list] > li")
    await expect(rows.filter(has_text=f"old {apple}")).to_have_count(1)
    await make(theirs, f"new {apple}")
    await expect(rows.filter(has_text=f"new {apple}")).to_have_count(1)
    await socket.cut()
    await delete(theirs, f"old {apple}")
    await rename(theirs, f"new {apple}", f"red {apple}")
    await expect(row(theirs, f"red {apple}")).to_be_visible()
    socket.is_cut = False
    await expect(rows.filter(has_text=f"red {apple}")).to_have_count(1)
    await expect(rows.filter(has_text=f"old {apple}")).to_have_count(0)
