"""A hub, its bus and its sockets."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from broadcasting.server.hub import Hub
from tests.server.fakes import FakeBroker, hub_on


@pytest.fixture
def broker() -> FakeBroker:
    """Return a bus that confirms at once until `held` is set."""
    return FakeBroker()


@pytest_asyncio.fixture
async def hub(broker: FakeBroker) -> AsyncIterator[Hub]:
    """Return a hub on `broker`; it is stopped after the test."""
    with hub_on(broker) as hub:
        yield hub
        broker.release_all()
        await hub.stop()
