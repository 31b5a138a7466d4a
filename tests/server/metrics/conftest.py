"""A hub with numbers, and the worker that it belongs to."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from broadcasting.server.hub import Hub
from broadcasting.server.hubs import get_hub, stop_hub
from broadcasting.server.metrics.workers import Worker, get_worker, set_worker


@pytest_asyncio.fixture
async def hub() -> AsyncIterator[Hub]:
    yield get_hub()
    await stop_hub()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Be the first of two workers, which share this directory."""
    before = get_worker()
    set_worker(Worker(1, tmp_path, 2))
    yield tmp_path
    set_worker(before)
