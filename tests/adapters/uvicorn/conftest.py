"""Settings under which a `Visitor` is served in the test's own process."""

from collections.abc import AsyncIterator

import pytest_asyncio
from django.test import override_settings

from broadcasting.server.hubs import stop_hub
from tests.adapters.uvicorn.visitor import Visitor

BROADCASTING = {"DEFAULT": "memory", "APPS": [{"ALLOWED_ORIGINS": ["*"]}]}


@pytest_asyncio.fixture
async def served() -> AsyncIterator[None]:
    """Serve with the memory connection, until the test ends."""
    with override_settings(BROADCASTING=BROADCASTING, ALLOWED_HOSTS=["testserver"]):
        yield
        await stop_hub()


@pytest_asyncio.fixture
async def visitor(served: None) -> AsyncIterator[Visitor]:
    """Return a visitor who has been greeted."""
    visitor = Visitor()
    await visitor.hear()
    yield visitor
    visitor.leave()
