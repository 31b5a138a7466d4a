"""What tests of pages share: opening one, cutting its socket, looking at it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Page, WebSocketRoute, expect

SCREENSHOTS = Path(__file__).resolve().parent.parent.parent / "var" / "screenshots"

Scheme = Literal["light", "dark"]

# Each width and each colour scheme once: what is wrong at one width does not depend on colours.
LOOKS: list[tuple[int, Scheme]] = [(1280, "light"), (360, "dark")]
every_look = pytest.mark.parametrize(("width", "scheme"), LOOKS)


@asynccontextmanager
async def opened(
    browser: Browser,
    *,
    width: int = 1280,
    scheme: Scheme = "light",
    locale: str = "en",
    reduced_motion: bool = False,
) -> AsyncIterator[Page]:
    """
    Open an empty page with cookies of its own.

    An exception in a script, or something that the content policy forbids, fails the test.
    """
    context = await browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        locale=locale,
        reduced_motion="reduce" if reduced_motion else "no-preference",
    )
    errors: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            errors.append(message.text)

    try:
        page = await context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", on_console)
        yield page
    finally:
        await context.close()
    assert not errors


async def live(page: Page, url: str) -> Page:
    """Go to `url` and wait until each of its connections is live."""
    await page.goto(url)
    pills = page.locator("[data-pill]")
    await expect(page.locator("[data-pill][data-state=live]")).to_have_count(await pills.count())
    return page


async def picture(page: Page, name: str, width: int, scheme: str) -> None:
    """Leave a screenshot of the whole page, when nothing moves any more."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}-{width}-{scheme}.png"
    await page.screenshot(path=path, full_page=True, animations="disabled")


async def no_violation(page: Page) -> None:
    """Ask axe-core what it finds inaccessible."""
    results = await Axe().run(page)
    assert not results.violations_count, results.generate_report()


async def fits(page: Page) -> None:
    """The page is not wider than the window."""
    width, available = await page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert width <= available


class Socket:
    """Between the page and the server: lets sockets through, or cuts them."""

    def __init__(self) -> None:
        self.is_cut = False
        self.opened: list[WebSocketRoute] = []

    async def __call__(self, route: WebSocketRoute) -> None:
        """Take a socket that the page opens."""
        if self.is_cut:
            await route.close(code=1001)
        else:
            route.connect_to_server()
            self.opened.append(route)

    async def cut(self) -> None:
        """Close the socket as a server that goes away does, and let no other through."""
        self.is_cut = True
        await self.opened[-1].close(code=1001)
