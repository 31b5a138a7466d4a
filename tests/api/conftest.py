"""A process that serves two applications, and what a listener of it hears."""

import threading
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from django.test import override_settings

from broadcasting.drivers import base
from broadcasting.drivers.registry import close_broker, get_broker
from broadcasting.protocol.messages import Message
from tests.api.api_calls import TWO_APPS
from tests.drivers.contract import Inbox


@pytest.fixture
def two_apps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve `TWO_APPS` with the memory driver."""
    # The test's process is the one that serves, whatever other tests imported.
    monkeypatch.setattr(base, "_serving", threading.Event())
    base.serve_here()
    with override_settings(BROADCASTING=TWO_APPS):
        yield


@pytest_asyncio.fixture
async def heard(two_apps: None) -> AsyncIterator[list[Message]]:
    """Yield what a listener of the channels a to e, of both applications, hears."""
    messages = Inbox()
    broker = get_broker()
    await broker.connect(messages)
    for app in ("42", "43"):
        for channel in "abcde":
            await broker.subscribe(f"{app}:{channel}")
    yield messages
    await close_broker()
