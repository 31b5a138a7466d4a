"""
The demo's pages in a real browser.

What a page looks like is left in ``var/screenshots``, to be looked at: each page at two
widths, light and dark, empty, live and failing.
"""

import json
import re
from http import HTTPStatus

import pytest
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from playwright.async_api import Browser, Locator, Page, Response, Route, expect

from tests.conftest import RunningServer, RunServer
from tests.e2e.pages import Scheme, Socket, every_look, fits, live, no_violation, opened, picture

pytestmark = pytest.mark.asyncio(loop_scope="session")

MAX_WEIGHT = 150_000

every_scheme = pytest.mark.parametrize("scheme", ["light", "dark"])
every_page = pytest.mark.parametrize("path", ["/", "/sub", "/chat/", "/chat/lobby/", "/things/"])


@pytest.fixture(scope="module")
def server(module_runserver: RunServer) -> RunningServer:
    """Return the site that all tests share which do not stop it."""
    return module_runserver()


def rows(page: Page) -> Locator:
    """Return the rows of every list on the page."""
    return page.locator(".row")


async def user_id(row: Locator) -> int:
    """Return the id in the payload of a row."""
    payload = await row.locator("[data-payload]").text_content()
    user_id: int = json.loads(payload or "")["user"]["id"]
    return user_id


async def make(page: Page, name: str = "Make a user") -> None:
    """Press one of the buttons."""
    await page.get_by_role("button", name=name, exact=True).click()


# Looks


@every_look
async def test_pages_look_as_drawn(
    browser: Browser, runserver: RunServer, width: int, scheme: Scheme
) -> None:
    """Empty, live and failing, nothing is cut off and axe-core finds no violation."""
    server = runserver()
    locale = "en" if scheme == "light" else "ko"
    async with opened(browser, width=width, scheme=scheme, locale=locale) as page:
        for path, name, lists in (("/", "index", 2), ("/sub", "sub", 1)):
            await live(page, server.url + path)
            await picture(page, f"{name}-empty", width, scheme)
            await no_violation(page)
            for count in (1, 2, 3):
                await page.locator("button[value='1']").click()
                await expect(rows(page)).to_have_count(count * lists)
            await rows(page).nth(1).get_by_role("button").click()
            await picture(page, f"{name}-live", width, scheme)
            await no_violation(page)
            await fits(page)
        server.stop()
        await expect(page.locator("[data-notice]")).to_be_visible()
        await picture(page, "sub-failing", width, scheme)
        await no_violation(page)
        await fits(page)


@every_look
@pytest.mark.parametrize("status", ["400", "403", "403_csrf", "404", "500"])
async def test_errors_look_like_the_other_pages(
    browser: Browser, width: int, scheme: Scheme, status: str
) -> None:
    """Each error page has the clothes of the others, which are all it needs of the site."""
    async with opened(browser, width=width, scheme=scheme) as page:

        async def answer(route: Route) -> None:
            name = route.request.url.partition("/static/")[2]
            if path := name and finders.find(name):
                await route.fulfill(path=str(path))
            else:
                html = render_to_string(f"{status}.html", {"request_path": "/nowhere"})
                await route.fulfill(body=html, content_type="text/html")

        await page.route("**/*", answer)
        await page.goto("http://whik.test/")
        await picture(page, status, width, scheme)
        await no_violation(page)
        await fits(page)


@every_page
async def test_page_weighs_little(browser: Browser, server: RunningServer, path: str) -> None:
    """With pusher-js and Echo, uncompressed, everything is under 150 kB."""
    async with opened(browser) as page:
        responses: list[Response] = []
        page.on("response", lambda response: responses.append(response))
        await live(page, server.url + path)
        # Read while the page is open; afterwards bodies are gone.
        weights = {r.url: len(await r.body()) for r in responses if r.status == HTTPStatus.OK}
        assert len(weights) >= 7, weights
        assert sum(weights.values()) < MAX_WEIGHT, weights


async def test_htmx_is_all_that_its_page_weighs_more(
    browser: Browser, server: RunningServer
) -> None:
    """The page that shows htmx keeps to the limit but for htmx itself."""
    async with opened(browser) as page:
        responses: list[Response] = []
        page.on("response", lambda response: responses.append(response))
        await live(page, f"{server.url}/things/htmx/")
        weights = {r.url: len(await r.body()) for r in responses if r.status == HTTPStatus.OK}
        [htmx] = [url for url in weights if url.endswith("/htmx.min.js")]
        assert sum(weights.values()) - weights[htmx] < MAX_WEIGHT, weights


# Events


async def test_event_flies_from_one_window_to_the_other(
    browser: Browser, server: RunningServer
) -> None:
    """The other window hears of it; the own one shows it once, as its own."""
    async with opened(browser) as ours, opened(browser) as theirs:
        await live(ours, f"{server.url}/sub")
        await live(theirs, f"{server.url}/sub")
        await make(ours)
        await expect(rows(theirs)).to_have_count(1)
        await expect(rows(ours)).to_have_count(1)
        await expect(rows(ours).get_by_text("from this tab")).to_be_visible()
        await expect(rows(theirs).get_by_text("from this tab")).to_be_hidden()
        name = await rows(ours).locator("[data-name]").text_content()
        await expect(rows(theirs).locator("[data-name]")).to_have_text(name or "?")

        # What the own socket would have been sent is there by now, if it was sent.
        await make(theirs)
        await expect(rows(ours)).to_have_count(2)
        await expect(rows(theirs)).to_have_count(2)


async def test_first_page_holds_both_windows(browser: Browser, server: RunningServer) -> None:
    """The left pane makes, the right one hears, and the time between is told."""
    async with opened(browser) as page:
        await live(page, server.url)
        await make(page)
        left, right = page.locator("[data-pane]").nth(0), page.locator("[data-pane]").nth(1)
        await expect(left.locator(".row.own")).to_have_count(1)
        await expect(right.locator(".row")).to_have_count(1)
        await expect(right.locator(".row.own")).to_have_count(0)
        await expect(page.locator("[data-flight]")).to_have_text(
            re.compile(r"^\d+ ms from the button to the other tab$")
        )


async def test_pub_in_another_program_arrives(browser: Browser, server: RunningServer) -> None:
    """A GET, as of curl, is nobody's own; the payload is shown as it came."""
    async with opened(browser) as page:
        await live(page, f"{server.url}/sub")
        user = await (await page.request.get(f"{server.url}/pub")).json()
        await expect(rows(page)).to_have_count(1)
        await expect(rows(page).get_by_text("from this tab")).to_be_hidden()
        await expect(page.locator("[data-empty]")).to_be_hidden()
        payload = await rows(page).locator("[data-payload]").text_content()
        assert payload is not None
        assert f'"date_joined": "{user["date_joined"]}"' in payload
        await expect(rows(page).locator("time")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))


async def test_old_rows_go_and_the_counter_counts_on(
    browser: Browser, server: RunningServer
) -> None:
    """Two hundred rows stay, the newest first; a screen reader hears one sentence."""
    async with opened(browser) as page:
        await live(page, f"{server.url}/sub")
        for count in (100, 200, 300):
            await make(page, "Make 100")
            await expect(page.locator("[data-count]")).to_have_text(str(count))
        await expect(rows(page)).to_have_count(200)
        newest, oldest = await user_id(rows(page).first), await user_id(rows(page).last)
        assert newest - oldest == 199
        await expect(page.locator("[data-said]")).to_have_text(
            re.compile(r"^New events: \d+\. The latest: \S+")
        )
        await expect(page.locator("[data-rate]")).not_to_have_text("0")


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (
            {"user": {"name": "<img src=x onerror=\"document.title='owned'\">", "email": "<b>"}},
            "<img src=x onerror=\"document.title='owned'\">",
        ),
        ({"user": {"email": "y@z"}}, "–"),
        ({"user": None}, "–"),
        ({}, "–"),
    ],
    ids=["markup", "no name", "no user", "nothing"],
)
async def test_whatever_arrives_is_text(
    browser: Browser, server: RunningServer, data: dict[str, object], shown: str
) -> None:
    """Everybody who may publish could have written it, so it is neither HTML nor trusted."""
    async with opened(browser) as page:
        await live(page, f"{server.url}/sub")
        server.shell(
            "from broadcasting import broadcast_to; "
            f"broadcast_to('whik', 'NewUserCreated', {data!r})"
        )
        await expect(rows(page)).to_have_count(1)
        await expect(rows(page).locator("[data-name]")).to_have_text(shown)
        await expect(rows(page).locator("img")).to_have_count(0)
        await expect(page).not_to_have_title("owned")


@pytest.mark.parametrize(
    ("connection", "reason"), [("log", "writes events to"), ("null", "discards events")]
)
async def test_page_works_where_nothing_arrives(
    browser: Browser, runserver: RunServer, connection: str, reason: str
) -> None:
    """It says why, and still shows what it has made itself."""
    server = runserver(connection)
    async with opened(browser) as page:
        await live(page, f"{server.url}/sub")
        await expect(page.get_by_text(reason)).to_be_visible()
        await make(page)
        await expect(rows(page).get_by_text("from this tab")).to_be_visible()


# Connection


async def test_pill_tells_the_facts(browser: Browser, server: RunningServer) -> None:
    """Focus and hover show driver, socket and a measured round trip; Escape hides them."""
    async with opened(browser) as page:
        await live(page, f"{server.url}/sub")
        facts = page.get_by_role("tooltip")
        await expect(facts).to_be_hidden()
        await page.locator("[data-pill] button").focus()
        await expect(facts).to_be_visible()
        await expect(facts).to_contain_text("channels")
        await expect(facts.locator("[data-socket]")).to_have_text(re.compile(r"^\d+\.\d+$"))
        await expect(facts.locator("[data-latency]")).to_have_text(re.compile(r"^[\d.]+ ms$"))
        await page.keyboard.press("Escape")
        await expect(facts).to_be_hidden()


async def test_page_reconnects_by_itself(browser: Browser, server: RunningServer) -> None:
    """It says what it does while the server is away, and goes on when it is back."""
    socket = Socket()
    async with opened(browser) as page:
        await page.route_web_socket("**/app/**", socket)
        await live(page, f"{server.url}/sub")
        await socket.cut()
        word = page.locator("[data-word]")
        await expect(word).to_have_text(re.compile(r"^reconnecting in \d s$"))
        await expect(page.locator("[data-notice]")).to_contain_text("keeps trying")
        # The second wait is longer than the first: an attempt has failed.
        await expect(word).to_have_text("reconnecting in 2 s")
        socket.is_cut = False
        await expect(word).to_have_text("live")
        await expect(page.locator("[data-notice]")).to_be_hidden()
        await page.request.get(f"{server.url}/pub")
        await expect(rows(page)).to_have_count(1)


async def test_refusal_is_told_with_its_reason(browser: Browser, server: RunningServer) -> None:
    """A server that says no is not asked again; the page says what the reader can do."""
    async with opened(browser) as page:

        async def with_another_key(route: Route) -> None:
            response = await route.fetch()
            script = (await response.text()).replace("    key,\n", '    key: "none",\n')
            await route.fulfill(response=response, body=script)

        await page.route("**/echo.js", with_another_key)
        await page.goto(f"{server.url}/sub")
        await expect(page.locator("[data-word]")).to_have_text("refused: unknown key")
        await expect(page.locator("[data-notice]")).to_contain_text("Reload it")
        await picture(page, "sub-refused", 1280, "light")
        await no_violation(page)


async def test_failed_button_is_explained(browser: Browser, server: RunningServer) -> None:
    """Nothing is lost in silence: what happened, and what to do."""
    async with opened(browser) as page:
        await live(page, f"{server.url}/sub")
        await page.route("**/pub", lambda route: route.fulfill(status=503))
        await make(page)
        await expect(page.locator("[data-notice]")).to_contain_text("No user was made: 503")
        await expect(rows(page)).to_have_count(0)
        await page.unroute("**/pub")
        await page.route("**/pub", lambda route: route.abort())
        await make(page)
        await expect(page.locator("[data-notice]")).to_contain_text("does not answer")
        await page.unroute("**/pub")
        await make(page)
        await expect(rows(page)).to_have_count(1)
        await expect(page.locator("[data-notice]")).to_be_hidden()


# Hands and eyes


async def test_keyboard_is_enough(browser: Browser, server: RunningServer) -> None:
    """From the address bar to a payload with Tab and Enter alone, focus always visible."""
    async with opened(browser) as page:
        await live(page, f"{server.url}/sub")
        await page.keyboard.press("Tab")
        await expect(page.get_by_text("Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        button = page.get_by_role("button", name="Make a user")
        await expect(button).to_be_focused()
        outline = await button.evaluate("element => getComputedStyle(element).outlineStyle")
        assert outline == "solid"
        await page.keyboard.press("Enter")
        await expect(rows(page)).to_have_count(1)

        disclosure = rows(page).get_by_role("button")
        await disclosure.focus()
        await page.keyboard.press("Enter")
        await expect(disclosure).to_have_attribute("aria-expanded", "true")
        await expect(rows(page).locator("[data-payload]")).to_be_visible()
        await page.keyboard.press("Enter")
        await expect(rows(page).locator("[data-payload]")).to_be_hidden()


async def test_nothing_moves_for_who_asked_for_it(browser: Browser, server: RunningServer) -> None:
    """With reduced motion a row is only marked; otherwise it flies in."""
    for reduced_motion, names in ((True, "hairline"), (False, "fly, hairline")):
        async with opened(browser, reduced_motion=reduced_motion) as page:
            await live(page, f"{server.url}/sub")
            await make(page)
            name = await rows(page).evaluate("row => getComputedStyle(row).animationName")
            assert name == names


async def test_theme_is_remembered(browser: Browser, server: RunningServer) -> None:
    """The choice holds on the next page, before it paints; the system's choice is no choice."""
    async with opened(browser, scheme="light") as page:
        await page.goto(f"{server.url}/sub")
        switch = page.get_by_role("button", name="Dark")
        await expect(switch).to_have_attribute("aria-pressed", "false")
        await switch.click()
        await expect(switch).to_have_attribute("aria-pressed", "true")
        await page.goto(server.url)
        assert await page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"
        await page.get_by_role("button", name="Dark").click()
        assert await page.evaluate("localStorage.getItem('theme')") is None


async def test_language_is_changed_in_place(browser: Browser, server: RunningServer) -> None:
    """One button leads to the same page in the other language, and back."""
    async with opened(browser) as page:
        await page.goto(f"{server.url}/sub")
        await page.get_by_role("button", name="한국어").click()
        await expect(page).to_have_url(f"{server.url}/sub")
        await expect(page.get_by_role("heading", level=1)).to_have_text("들어오는 이벤트")
        await expect(page.locator("[data-word]")).to_have_text("연결됨")
        await page.get_by_role("button", name="English").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Incoming events")


async def test_buttons_work_without_scripts(browser: Browser, server: RunningServer) -> None:
    """The form is a form: it answers with JSON."""
    context = await browser.new_context(java_script_enabled=False, locale="en")
    page = await context.new_page()
    await page.goto(f"{server.url}/sub")
    await make(page)
    await expect(page.locator("body")).to_contain_text('"username"')
    await context.close()
