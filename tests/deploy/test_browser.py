"""A real browser behind each proxy, which chooses its own version of HTTP."""

import pytest
from playwright.async_api import Browser

from tests.deploy.conftest import Front

pytestmark = pytest.mark.asyncio(loop_scope="session")

# The greeting, and over which version of HTTP the page came.
GREETING = """
(address) => new Promise((resolve) => {
  const [page] = performance.getEntriesByType("navigation");
  const socket = new WebSocket(address);
  socket.onmessage = (message) => resolve([JSON.parse(message.data).event, page.nextHopProtocol]);
  socket.onclose = (event) => resolve([event.code, page.nextHopProtocol]);
})
"""


async def test_a_browser_connects(browser: Browser, front: Front) -> None:
    """Also where pages come over HTTP/2, in which a WebSocket is asked for differently."""
    is_tls = front.proxy.is_tls
    context = await browser.new_context(ignore_https_errors=True)
    page = await context.new_page()
    await page.goto(f"{'https' if is_tls else 'http'}://127.0.0.1:{front.proxy.port}/")
    address = f"{'wss' if is_tls else 'ws'}://127.0.0.1:{front.proxy.port}/app/main-key?protocol=7"
    # Twice: now there is a connection that may be used for it, too.
    for _ in range(2):
        found = await page.evaluate(GREETING, address)
        assert found == ["pusher:connection_established", "h2" if is_tls else "http/1.1"]
    await context.close()
