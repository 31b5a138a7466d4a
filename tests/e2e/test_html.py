"""
``<broadcast-listen>`` in a real browser, under the demo's content policy.

A test writes the body of its page; the fixture `new_page` fails it for any error in the
console, such as something that the policy forbids.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, WebSocket, expect

from broadcasting.applications import Application
from broadcasting.drivers.pusher import PusherBroadcaster
from tests.conftest import NewPage, RunningServer, RunServer
from tests.e2e.pages import Socket
from tests.e2e.swaps.settings import APP as OPTIONS
from tests.utils import await_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

APP = Application(id=OPTIONS["ID"], key=OPTIONS["KEY"], secret=OPTIONS["SECRET"])
VENDOR = Path(__file__).parent / "vendor"
# Chromium's own words about a socket that was closed on it.
CLOSED = r"WebSocket connection to .* failed"
LIST = '<ul id="rows"><li id="a">a</li><li id="b">b</li></ul>'
LISTEN = '{% broadcast_listen "swaps" %}'
END = "{ document.title = 'end' }"


@pytest.fixture(scope="module")
def site(module_runserver: RunServer) -> RunningServer:
    """Return the site of the tests."""
    return module_runserver("memory", DJANGO_SETTINGS_MODULE="tests.e2e.swaps.settings")


Open = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="session")
async def opened(site: RunningServer, new_page: NewPage) -> Open:
    """Return a function that opens a page with a body and waits until its tags have joined."""

    async def open_page(body: str, *, htmx: str = "", page: Page | None = None) -> Page:
        page = page or await new_page()
        await page.goto(f"{site.url}/page/?{urlencode({'body': body, 'htmx': htmx})}")
        await all_joined(page)
        return page

    return open_page


async def all_joined(page: Page) -> None:
    """Wait until every channel of the page is joined, and there is one."""
    await page.wait_for_function(
        """() => {
          const channels = Object.values(Echo.connector.pusher.channels.channels);
          return channels.length && channels.every((channel) => channel.subscribed);
        }"""
    )


class Publisher:
    """Sends to the site as another process of it would, in the order of the calls."""

    def __init__(self, site: RunningServer) -> None:
        self._broadcaster = PusherBroadcaster(app=APP, first_app_id=APP.id, url=site.url)

    async def raw(
        self, data: object, channel: str = "swaps", event: str = "broadcast:html"
    ) -> None:
        """Send any data."""
        await asyncio.to_thread(self._broadcaster.broadcast, [channel], event, json.dumps(data))

    async def __call__(
        self, html: str, target: str | None = None, swap: str = "innerHTML", channel: str = "swaps"
    ) -> None:
        """Send what `broadcast_html` does."""
        await self.raw({"html": html, "target": target, "swap": swap}, channel)

    def close(self) -> None:
        """Let go of the connection."""
        self._broadcaster.close()


@pytest_asyncio.fixture(loop_scope="session")
async def send(site: RunningServer) -> AsyncIterator[Publisher]:
    """Return what sends HTML to the pages."""
    publisher = Publisher(site)
    yield publisher
    publisher.close()


def warnings_of(page: Page) -> list[str]:
    """Return a list that fills with what the page warns of."""
    warnings: list[str] = []
    page.on("console", lambda m: warnings.append(m.text) if m.type == "warning" else None)
    return warnings


async def rows(page: Page) -> str:
    """Return what is inside the list."""
    html: str = await page.locator("#rows").inner_html()
    return html


async def arrives(page: Page, send: Publisher, channel: str = "swaps") -> None:
    """Wait until a message that is sent now has arrived, and hence all before it."""
    html = '<p id="last"></p>'
    await page.evaluate("document.getElementById('last')?.remove()")
    await send(html, "body", "beforeend", channel)
    await expect(page.locator("#last")).to_be_attached()


async def test_vendored_file_is_the_published_one() -> None:
    """Nobody has edited it."""
    (line,) = [n for n in (VENDOR / "VERSIONS").read_text().splitlines() if n[0] != "#"]
    file, *_, digest = line.split()
    assert hashlib.sha256((VENDOR / file).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("htmx", ["", "2", "4"])
async def test_every_swap(opened: Open, send: Publisher, htmx: str) -> None:
    """Each word means what it means in htmx, whether that is there or not."""
    page = await opened(LIST + LISTEN, htmx=htmx)
    for number, (html, target, swap, expected) in enumerate(
        [
            ("A", "#a", "innerHTML", '<li id="a">A</li><li id="b">b</li>'),
            ('<li id="c">c</li>', "#a", "outerHTML", '<li id="c">c</li><li id="b">b</li>'),
            ("<li>1</li>", "#c", "beforebegin", '<li>1</li><li id="c">c</li><li id="b">b</li>'),
            ("", "#c", "delete", '<li>1</li><li id="b">b</li>'),
            ("<li>2</li>", "#b", "afterend", '<li>1</li><li id="b">b</li><li>2</li>'),
            ("", "#b", "delete", "<li>1</li><li>2</li>"),
            ("<li>0</li>", "#rows", "afterbegin", "<li>0</li><li>1</li><li>2</li>"),
            ("<li>3</li>", "ul", "beforeend", "<li>0</li><li>1</li><li>2</li><li>3</li>"),
            ("<li>no</li>", "#rows", "none", "<li>0</li><li>1</li><li>2</li><li>3</li>"),
        ]
    ):
        await send(html, target, swap)
        await arrives(page, send)
        assert await rows(page) == expected, (number, swap)


async def test_table_rows_stay_rows(opened: Open, send: Publisher) -> None:
    """They are parsed for where they belong."""
    page = await opened(f"<table><tbody id='rows'></tbody></table>{LISTEN}")
    await send("<tr id='t7'><td>7</td></tr>", "#rows", "beforeend")
    await expect(page.locator("tr#t7 > td")).to_have_text("7")


async def test_any_id_can_be_a_target(opened: Open, send: Publisher) -> None:
    """A selector would have to escape most of these."""
    page = await opened(f'<p id="7.a:b">old</p>{LISTEN}')
    await send("new", "#7.a:b")
    await expect(page.locator("p")).to_have_text("new")


@pytest.mark.parametrize("htmx", ["2", "4"])
async def test_htmx_knows_what_was_put_in(opened: Open, send: Publisher, htmx: str) -> None:
    """An attribute of htmx works in what the server sends later."""
    page = await opened(LIST + LISTEN, htmx=htmx)
    answer = "<b>clicked</b>"
    await page.route("**/answer", lambda r: r.fulfill(body=answer, content_type="text/html"))
    button = '<li><button hx-get="/answer" hx-target="#a">Go</button></li>'
    await send(button, "#rows", "beforeend")
    await page.get_by_role("button").click()
    await expect(page.locator("#a b")).to_have_text("clicked")


async def test_scripts_in_html_do_not_run(opened: Open, send: Publisher) -> None:
    """Neither inline, which the policy would report, nor from this site."""
    page = await opened(LIST + LISTEN)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    script = '<script>document.title = "ran"</script><script src="/static/whik/sub.js"></script>'
    await send(f"<li>row</li>{script}", "#rows", "beforeend")
    await expect(page.locator("#rows script")).to_have_count(2)
    await arrives(page, send)
    assert await page.title() == "Swaps"
    assert requests == []


async def test_html_of_other_visitors_is_not_put_in(opened: Open, send: Publisher) -> None:
    """Who is on a private channel may whisper there, under names that no tag hears."""
    body = LIST + '{% broadcast_listen "private-swaps.1" %}'
    victim, other = await opened(body), await opened(body)
    channel = "private-swaps.1"
    forged = {"html": "<li>forged</li>", "target": "#rows", "swap": "beforeend"}
    # A tag that was written by hand does not listen to them either.
    tag = f'<broadcast-listen channel="{channel}" event="client-html"></broadcast-listen>'
    warnings = warnings_of(victim)
    await victim.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", tag)
    await await_until(lambda: warnings, what="a warning")
    assert "not an event of the server" in warnings[0]
    for event in ("client-html", "client-broadcast:html", "broadcast:html"):
        await other.evaluate(
            "([...args]) => Echo.connector.pusher.send_event(...args)", [event, forged, channel]
        )
    # What one socket has sent is handled in order: its own whisper is heard when all are.
    await victim.evaluate(f"Echo.private('swaps.1').listenForWhisper('end', () => {END})")
    await other.evaluate("Echo.private('swaps.1').whisper('end', {})")
    await expect(victim).to_have_title("end")
    await arrives(victim, send, channel)
    assert "forged" not in await victim.content()


async def test_missing_target_is_told_once(opened: Open, send: Publisher) -> None:
    """Nothing breaks, and the next message is put in."""
    page = await opened(LIST + LISTEN)
    warnings = warnings_of(page)
    for target in ("#absent", "#gone", "li:nope(", None):
        await send("x", target)
    await send("<li>row</li>", "#rows")
    await expect(page.locator("#rows")).to_have_text("row")
    (warning,) = warnings
    assert "#absent" in warning


async def test_other_data_is_told_and_left(opened: Open, send: Publisher) -> None:
    """An event of the same name may come from another program."""
    page = await opened(LIST + LISTEN)
    warnings = warnings_of(page)
    before = await rows(page)
    for data in (None, 7, {}, {"html": 1, "swap": "innerHTML"}):
        await send.raw(data)
    await send("x", "#rows", "constructor")
    await arrives(page, send)
    assert await rows(page) == before
    (warning,) = warnings
    assert "other data" in warning


async def test_own_target_is_the_limit(opened: Open, send: Publisher) -> None:
    """It takes what names no target, and nothing outside of it is changed."""
    page = await opened(
        f'<p class="x">out</p>{LIST}<p id="out">out</p>'
        '{% broadcast_listen "swaps" target="#rows" %}'
    )
    before = await page.locator("p").all_inner_texts()
    await send("bad", "#out")
    await send("bad", "p.x")
    await send("<p>bad</p>", "#rows", "afterend")
    await send('<li class="x">1</li>')
    await expect(page.locator("#rows")).to_have_text("1")
    await send("2", ".x")
    await expect(page.locator("#rows")).to_have_text("2")
    assert await page.locator("p").all_inner_texts() == before


async def test_own_target_may_have_quotes(opened: Open, send: Publisher) -> None:
    """A selector is text in the page, whatever a template calls safe."""
    tag = """{% broadcast_listen "swaps" target='[data-x="y"]' %}"""
    page = await opened(f'<p data-x="y"></p>{tag}')
    await send("in")
    await expect(page.locator("p")).to_have_text("in")


async def test_what_is_there_is_not_doubled(opened: Open, send: Publisher) -> None:
    """An element that is inserted again replaces the one with its id, where it stands."""
    page = await opened(LIST + LISTEN)
    await send('<li id="a">A</li><li id="c">c</li>', "#rows", "beforeend")
    await send('<li id="c">C</li>', "#a", "beforebegin")
    await arrives(page, send)
    assert await rows(page) == '<li id="a">A</li><li id="b">b</li><li id="c">C</li>'


async def test_focus_stays(opened: Open, send: Publisher) -> None:
    """On what is not touched, and on what comes again under the same id."""
    html = '<li id="a"><button id="go">Go</button></li>'
    page = await opened(f'<ul id="rows">{html}<li id="b"></li></ul>{LISTEN}')
    await page.locator("#go").focus()
    await send("changed", "#b")
    await arrives(page, send)
    await expect(page.locator("#go")).to_be_focused()
    await send(html.replace("Go", "New"), "#a", "outerHTML")
    await expect(page.locator("#go")).to_have_text("New")
    await expect(page.locator("#go")).to_be_focused()


class Frames:
    """The frames that a page has sent, by event."""

    def __init__(self, page: Page) -> None:
        self.events: list[str] = []
        page.on("websocket", self._watch)

    def _watch(self, socket: WebSocket) -> None:
        socket.on("framesent", lambda text: self.events.append(json.loads(text)["event"]))

    def count(self, event: str) -> int:
        """Return how many."""
        return self.events.count(event)


async def test_tags_of_one_channel_share_it(
    opened: Open, new_page: NewPage, send: Publisher
) -> None:
    """It is joined once, a message is put in once, and the last to go leaves."""
    page = await new_page()
    frames = Frames(page)
    body = f'{LIST}<div id="one">{LISTEN}</div><div id="two">{LISTEN}</div>'
    await opened(body, page=page)
    assert frames.count("pusher:subscribe") == 1
    await send("<li>c</li>", "#rows", "beforeend")
    await arrives(page, send)
    assert (await rows(page)).count("<li>c</li>") == 1
    await page.locator("#two").evaluate("element => element.remove()")
    # Moved, and not taken away.
    await page.evaluate("document.body.append(document.getElementById('one'))")
    await arrives(page, send)
    assert frames.count("pusher:unsubscribe") == 0
    await page.locator("#one").evaluate("element => element.remove()")
    await await_until(lambda: frames.count("pusher:unsubscribe") == 1, what="the page leaves")
    assert frames.count("pusher:subscribe") == 1


async def test_channel_of_the_page_itself_is_kept(opened: Open, new_page: NewPage) -> None:
    """A tag that goes does not take it away from the page's own scripts."""
    page = await new_page()
    frames = Frames(page)
    await opened(LISTEN, page=page)
    await page.evaluate("Echo.channel('swaps').listen('Own', () => {})")
    await page.evaluate("document.querySelector('broadcast-listen').remove()")
    await page.evaluate("Echo.connector.pusher.send_event('client-mark', {}, 'swaps')")
    await await_until(lambda: frames.count("client-mark") == 1, what="the mark was sent")
    assert frames.count("pusher:unsubscribe") == 0
    assert await page.evaluate("Echo.connector.pusher.channel('swaps').subscribed")


async def test_tag_that_comes_later_works_too(opened: Open, send: Publisher) -> None:
    """Put in by another tag; with what replaces it, it goes."""
    page = await opened(f'{LIST}<div id="place"></div>{LISTEN}')
    tag = '<broadcast-listen channel="later" event="broadcast:html"></broadcast-listen>'
    await send(tag, "#place")
    await page.wait_for_function("() => Echo.connector.pusher.channel('later')?.subscribed")
    await send("<li>later</li>", "#rows", channel="later")
    await expect(page.locator("#rows")).to_have_text("later")
    await send("", "#place")
    await page.wait_for_function("() => !Echo.connector.pusher.channel('later')")


async def test_page_may_hear_of_each_change(opened: Open, send: Publisher) -> None:
    """A script that wants to know listens to one DOM event."""
    page = await opened(LIST + LISTEN)
    await page.evaluate(f"addEventListener('broadcast:swapped', () => {END})")
    await send("x", "#rows")
    await expect(page).to_have_title("end")


async def test_refused_channel_is_told(site: RunningServer, new_page: NewPage) -> None:
    """Once in the console; nothing else happens."""
    page = await new_page("403")
    warnings = warnings_of(page)
    query = urlencode({"body": '{% broadcast_listen "private-swaps.closed" %}'})
    await page.goto(f"{site.url}/page/?{query}")
    await await_until(lambda: [w for w in warnings if "refused: 403" in w], what="a warning")


async def test_whole_way_from_a_view(opened: Open) -> None:
    """A template, escaped, on every page but the one that asked for it."""
    ours, theirs = await opened(LIST + LISTEN), await opened(LIST + LISTEN)
    answer = await ours.evaluate(
        """async () => {
          const body = new URLSearchParams({ text: "<b>&" });
          const headers = { "X-Socket-ID": Echo.socketId() };
          return (await fetch("/say/", { method: "POST", body, headers })).json();
        }"""
    )
    assert answer["socket_id"] == await ours.evaluate("Echo.socketId()")
    await expect(theirs.locator("li").last).to_have_text("<b>&")
    await ours.evaluate("fetch('/say/', {method: 'POST', body: new URLSearchParams({text: '2'})})")
    await expect(ours.locator("li").last).to_have_text("2")
    await expect(ours.locator("li")).to_have_count(3)
    await expect(theirs.locator("li")).to_have_count(4)


# Refreshing

REFRESHED = LIST + '{% broadcast_listen "swaps" target="#rows" refresh="/fresh/" %}'


class Answers:
    """
    What the address that is fetched answers with.

    Attributes:
        html: The answer's body.
        status: Its status.
        asked: How often it was fetched.
        gate: Where it waits before it answers; open unless a test closes it.
    """

    def __init__(self) -> None:
        self.html = "<li>fresh</li>"
        self.status = 200
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, route: Route) -> None:
        """Answer one request."""
        self.asked += 1
        html, status = self.html, self.status
        await self.gate.wait()
        await route.fulfill(body=html, status=status, content_type="text/html; charset=utf-8")


async def refreshing(new_page: NewPage, *errors: str) -> tuple[Page, Answers, Socket]:
    """Return a page without address, what it will fetch, and the way of its sockets."""
    page, answers, socket = await new_page(*errors), Answers(), Socket()
    await page.route("**/fresh/", answers)
    await page.route_web_socket("**/app/**", socket)
    return page, answers, socket


async def held(page: Page, count: int | None) -> None:
    """Wait until the first tag holds back so many messages, or is done with them."""
    await page.wait_for_function(
        "count => (document.querySelector('broadcast-listen').held?.length ?? null) === count",
        arg=count,
    )


async def reconnects(page: Page, socket: Socket) -> None:
    """Cut the page's socket and let it connect again."""
    before = await page.evaluate("Echo.socketId()")
    await socket.cut()
    socket.is_cut = False
    await page.wait_for_function(
        "before => Echo.connector.pusher.connection.state === 'connected'"
        " && Echo.socketId() !== before",
        arg=before,
    )


async def test_list_is_fetched_when_joined_and_after_a_reconnect(
    opened: Open, new_page: NewPage
) -> None:
    """What was missed meanwhile is there, without a line of the page's own."""
    page, answers, socket = await refreshing(new_page, CLOSED)
    await opened(REFRESHED, page=page)
    await expect(page.locator("#rows")).to_have_text("fresh")
    answers.html = "<li>missed</li>"
    await reconnects(page, socket)
    await expect(page.locator("#rows")).to_have_text("missed")
    assert answers.asked == 2


async def test_what_comes_during_a_fetch_is_applied_to_it(
    opened: Open, new_page: NewPage, send: Publisher
) -> None:
    """The answer may be older than the message, and must not undo it."""
    page, answers, _ = await refreshing(new_page)
    answers.html = '<li id="a">a</li><li id="b">b</li>'
    answers.gate.clear()
    await opened(REFRESHED, page=page)
    await send('<li id="a">newer</li>', "#a", "outerHTML")
    await send("", "#b", "delete")
    await send('<li id="c">c</li>', "#rows", "beforeend")
    await page.wait_for_function(
        "() => document.querySelector('broadcast-listen').held?.length === 3"
    )
    assert await rows(page) == '<li id="a">a</li><li id="b">b</li>'
    answers.gate.set()
    await expect(page.locator("#c")).to_be_attached()
    assert await rows(page) == '<li id="a">newer</li><li id="c">c</li>'


async def test_what_another_tag_has_changed_meanwhile_is_not_lost(
    opened: Open, new_page: NewPage, send: Publisher
) -> None:
    """The answer replaces it, hence it is put in again; and nothing is missing on the way."""
    page, answers, _ = await refreshing(new_page)
    warnings = warnings_of(page)
    answers.html = '<li id="a">a</li>'
    answers.gate.clear()
    await opened(REFRESHED + LISTEN, page=page)
    await send("<li>c</li>", "#rows", "beforeend")
    await send("", "#b", "delete")
    await held(page, 2)
    assert await rows(page) == '<li id="a">a</li><li>c</li>'
    answers.gate.set()
    await held(page, None)
    assert await rows(page) == '<li id="a">a</li><li>c</li>'
    assert warnings == []


async def test_answer_of_before_a_reconnect_is_not_used(
    opened: Open, new_page: NewPage, send: Publisher
) -> None:
    """Neither it nor what was held for it: the one of afterwards knows more."""
    page, answers, socket = await refreshing(new_page, CLOSED)
    answers.gate.clear()
    await opened(REFRESHED, page=page)
    await await_until(lambda: answers.asked == 1, what="the first fetch")
    await send("<li>old</li>", "#rows")
    await page.wait_for_function(
        "() => document.querySelector('broadcast-listen').held?.length === 1"
    )
    answers.html = "<li>second</li>"
    await reconnects(page, socket)
    await await_until(lambda: answers.asked == 2, what="the second fetch")
    seen = (
        "window.seen = []; addEventListener('broadcast:swapped', () => seen.push(rows.innerText))"
    )
    await page.evaluate(seen)
    answers.gate.set()
    await expect(page.locator("#rows")).to_have_text("second")
    assert await page.evaluate("seen") == ["second"]


async def test_what_has_not_changed_is_not_touched(opened: Open, new_page: NewPage) -> None:
    """Who is typing there goes on."""
    page, answers, socket = await refreshing(new_page, CLOSED)
    answers.html = ' <li><input id="i"></li>\n'
    body = REFRESHED.replace(LIST, '<ul id="rows">\n<li><input id="i"></li></ul>')
    await opened(body, page=page)
    await page.locator("#i").fill("typed")
    await reconnects(page, socket)
    await await_until(lambda: answers.asked == 2, what="the second fetch")
    await held(page, None)
    assert await page.locator("#i").input_value() == "typed"
    await expect(page.locator("#i")).to_be_focused()


async def test_whole_page_can_be_fetched(opened: Open, new_page: NewPage) -> None:
    """What its target holds is taken from it."""
    page, answers, _ = await refreshing(new_page)
    answers.html = "<!doctype html><title>x</title><p>no</p><ul id=rows><li>yes</li></ul>"
    await opened(REFRESHED, page=page)
    await expect(page.locator("#rows")).to_have_text("yes")
    assert await rows(page) == "<li>yes</li>"


async def test_busy_server_is_asked_again(opened: Open, new_page: NewPage, send: Publisher) -> None:
    """Messages go on meanwhile."""
    page, answers, _ = await refreshing(new_page, "503")
    warnings = warnings_of(page)
    answers.status = 503
    await opened(REFRESHED, page=page)
    await await_until(lambda: warnings, what="a warning")
    assert "503" in warnings[0]
    await send("<li>live</li>", "#rows")
    await expect(page.locator("#rows")).to_have_text("live")
    answers.status = 200
    await expect(page.locator("#rows")).to_have_text("fresh")


async def test_page_to_log_in_is_not_put_in(opened: Open, new_page: NewPage) -> None:
    """Where the visitor has been logged out, the list stays and the console says why."""
    page = await new_page()
    warnings = warnings_of(page)
    await opened(REFRESHED.replace("/fresh/", "/chat"), page=page)  # A redirect to /chat/.
    await await_until(lambda: warnings, what="a warning")
    assert "/chat/" in warnings[0]
    assert await rows(page) == '<li id="a">a</li><li id="b">b</li>'


async def test_tag_inside_its_own_target_is_not_refreshed(opened: Open, new_page: NewPage) -> None:
    """It would fetch itself for ever."""
    page, answers, _ = await refreshing(new_page)
    warnings = warnings_of(page)
    tag = '{% broadcast_listen "swaps" target="#rows" refresh="/fresh/" %}'
    await opened(f'<div id="rows">{tag}</div>', page=page)
    await await_until(lambda: warnings, what="a warning")
    assert "around it" in warnings[0]
    assert answers.asked == 1
