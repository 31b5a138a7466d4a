"""
Every way in which a page tells its socket's id, in a real browser.

The site answers with the header that it was sent, and with the id that it understood.
"""

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.async_api import Page

from tests.conftest import NewPage, RunningServer, RunServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "frontend.md"
FORM = '<form hx-post="{address}" hx-target="#answer"><button>Go</button></form><p id="answer"></p>'


@pytest.fixture(scope="module")
def site(module_runserver: RunServer) -> RunningServer:
    """Return the site of the tests."""
    return module_runserver("memory", DJANGO_SETTINGS_MODULE="tests.e2e.swaps.settings")


def line_of(name: str) -> str:
    """Return the line of code that the documentation gives for `name`."""
    (code,) = re.findall(rf"^\| {re.escape(name)} \|.*?`([^`]+)`", DOCUMENT.read_text(), re.M)
    return str(code)


async def opened(page: Page, site: RunningServer, body: str = "", htmx: str = "") -> Page:
    """Go to a page with this body, and with this version of htmx."""
    await page.goto(f"{site.url}/page/?{urlencode({'body': body or '<p></p>', 'htmx': htmx})}")
    return page


async def connected(page: Page) -> str:
    """Wait until the page is connected, and return its socket's id."""
    await page.wait_for_function("() => Echo.connector.pusher.connection.state === 'connected'")
    socket_id: str = await page.evaluate("Echo.socketId()")
    return socket_id


async def never_connected(page: Page) -> None:
    """Keep the page from being connected."""
    await page.route_web_socket("**/app/**", lambda route: None)


async def heard_by_fetch(page: Page) -> dict[str, str | None]:
    """Ask with fetch, by the documented line; return what the site was told."""
    call = line_of("`fetch`").replace("url", '"/say/"')
    answer: dict[str, str | None] = await page.evaluate(f"async () => (await {call}).json()")
    return answer


async def test_fetch_is_told_by_the_page(page: Page, site: RunningServer) -> None:
    """By the line that the documentation gives."""
    await opened(page, site)
    socket_id = await connected(page)
    assert await heard_by_fetch(page) == {"header": socket_id, "socket_id": socket_id}


async def test_fetch_leaves_out_what_is_not_known(page: Page, site: RunningServer) -> None:
    """Before the page is connected there is no header, and not the word "undefined"."""
    await never_connected(page)
    await opened(page, site)
    assert await heard_by_fetch(page) == {"header": None, "socket_id": None}


async def heard_by_htmx(page: Page) -> dict[str, str | None]:
    """Press the button; return what the site was told."""
    async with page.expect_response("**/say/") as pending:
        await page.get_by_role("button").click()
    answer: dict[str, str | None] = await (await pending.value).json()
    return answer


@pytest.mark.parametrize("htmx", ["2", "4"])
async def test_htmx_tells_by_itself(page: Page, site: RunningServer, htmx: str) -> None:
    """Nothing to write, with either version."""
    await opened(page, site, FORM.format(address="/say/"), htmx)
    socket_id = await connected(page)
    assert await heard_by_htmx(page) == {"header": socket_id, "socket_id": socket_id}


@pytest.mark.parametrize("htmx", ["2", "4"])
async def test_htmx_leaves_out_what_is_not_known(
    page: Page, site: RunningServer, htmx: str
) -> None:
    """As with fetch."""
    await never_connected(page)
    await opened(page, site, FORM.format(address="/say/"), htmx)
    assert await heard_by_htmx(page) == {"header": None, "socket_id": None}


@pytest.mark.parametrize("htmx", ["2", "4"])
async def test_htmx_tells_no_other_site(new_page: NewPage, site: RunningServer, htmx: str) -> None:
    """The id is this site's business."""
    page = await new_page(".*")  # The content policy forbids the request, or the other site does.
    headers: list[dict[str, str]] = []
    event = {"2": "htmx:configRequest", "4": "htmx:config:request"}[htmx]
    await opened(page, site, FORM.format(address="https://other.test/say/"), htmx)
    await connected(page)
    await page.expose_function("note", lambda sent: headers.append(sent))
    await page.evaluate(
        """event => addEventListener(event, ({ detail }) =>
             note({ ...(detail.headers ?? detail.ctx.request.headers) }))""",
        event,
    )
    async with page.expect_event("console"):
        await page.get_by_role("button").click()
    (sent,) = headers
    assert "HX-Request" in sent
    assert "X-Socket-ID" not in sent
