"""A process that serves two applications, and what a listener of it hears."""

from collections.abc import AsyncIterator

import pytest_asyncio
from django.test import override_settings

from broadcasting.drivers.registry import server_broadcaster
from broadcasting.protocol.messages import Message
from broadcasting.server.hubs import get_hub, stop_hub
from tests.api.api_calls import TWO_APPS
from tests.drivers.contract import Inbox


@pytest_asyncio.fixture
async def two_apps() -> AsyncIterator[None]:
    """Serve `TWO_APPS` with the memory driver."""
    with override_settings(BROADCASTING=TWO_APPS):
        await get_hub().start()
        yield
        await stop_hub()


@pytest_asyncio.fixture
async def heard(two_apps: None) -> AsyncIterator[list[Message]]:
    """Yield the messages of the channels a to e, of servers and of a user, of both applications."""
    messages = Inbox()
    broker = server_broadcaster().get_broker()  # Beside that of the hub.
    await broker.connect(messages)
    for app in ("42", "43"):
        for channel in (*"abcde", "#control", "#server-to-user-u@1"):
            await broker.subscribe(f"{app}:{channel}")
    yield messages
    await broker.close()
