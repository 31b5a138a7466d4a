"""Webhooks whose clock a test moves, and receivers for them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from broadcasting.applications import Application, Webhook
from broadcasting.server.webhooks.endpoint import Endpoint
from broadcasting.server.webhooks.routes import Webhooks
from tests.server.webhooks.receiver import PEM, Receiver
from tests.utils import FakeClock, await_until

KEY, SECRET = "whik-key", "whik-secret-ż"
NOW = 1_700_000_000.123


class Site:
    """
    Makes webhooks for a test, with its clock and pauses that take no time.

    Attributes:
        pauses: The seconds of each pause between two attempts.
        held_at: The number of a pause that lasts until it is cancelled.
    """

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.pauses: list[float] = []
        self.held_at = 0
        self.made: list[Webhooks] = []

    def webhooks(self, *webhooks: Webhook, **options: Any) -> Webhooks:
        options = {"clock": self.clock, "sleep": self.sleep, **options}
        self.made.append(Webhooks([app_with(*webhooks)], **options))
        return self.made[-1]

    def endpoint(self, url: str, **options: Any) -> tuple[Webhooks, Endpoint]:
        """Return the webhooks of an application with one that may lead to this machine."""
        webhooks = self.webhooks(local(url), **options)
        return webhooks, webhooks.endpoints[0]

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) == self.held_at:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(0)
        self.clock.advance(seconds)


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    """Return a site whose webhooks are closed after the test."""
    site = Site()
    yield site
    for webhooks in site.made:
        await webhooks.close(0)
    await await_until(lambda: not threads(), 30, "the threads of webhooks end")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def secure_receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Return a receiver over TLS whose certificate is trusted, for hooks.test."""
    monkeypatch.setenv("SSL_CERT_FILE", str(PEM))
    receiver = Receiver(tls=True)
    yield receiver
    receiver.stop()


def app_with(*webhooks: Webhook) -> Application:
    return Application(id="1", key=KEY, secret=SECRET, secret_fallbacks=("old",), webhooks=webhooks)


def local(url: str, **options: Any) -> Webhook:
    return Webhook(url=url, allow_private=True, **options)


def occupied(channel: str, **more: object) -> dict[str, object]:
    return {"name": "channel_occupied", "channel": channel, **more}


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "webhook"]


async def sent(webhooks: Webhooks, count: int) -> Endpoint:
    """Wait until the first endpoint has taken `count` events; return it."""
    endpoint = webhooks.endpoints[0]
    await await_until(lambda: endpoint.sent >= count, 30, f"{count} events are taken")
    assert endpoint.sent == count
    return endpoint
