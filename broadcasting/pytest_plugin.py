"""
Fixtures for the tests of projects. pytest finds them in every installed package.

Nothing of Django is imported before a fixture is used, since pytest loads this module first.
"""

from collections.abc import Awaitable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from .testing import AsyncBroadcastClient, BroadcastClient, Broadcasts


class Connect(Protocol):
    """A function that opens a client. Arguments as for `BroadcastClient`."""

    def __call__(self, user: Any = None, **options: Any) -> "BroadcastClient": ...


class AConnect(Protocol):
    """A function that opens an async client. Arguments as for `AsyncBroadcastClient`."""

    def __call__(self, user: Any = None, **options: Any) -> "Awaitable[AsyncBroadcastClient]": ...


@pytest.fixture
def fake_broadcasts() -> "Iterator[Broadcasts]":
    """Record what is broadcast, and send nothing."""
    from .testing import fake_broadcasts

    with fake_broadcasts() as broadcasts:
        yield broadcasts


@pytest.fixture
def broadcast_client() -> Iterator[Connect]:
    """Return a function that connects a client, which is closed after the test."""
    from .testing import BroadcastClient

    with ExitStack() as stack:
        yield lambda user=None, **options: stack.enter_context(BroadcastClient(user, **options))


@pytest.fixture
def async_broadcast_client() -> Iterator[AConnect]:
    """Return an async function that connects a client, which is closed after the test."""
    from .testing import AsyncBroadcastClient

    with ExitStack() as stack:

        async def connect(user: Any = None, **options: Any) -> "AsyncBroadcastClient":
            client = await AsyncBroadcastClient(user, **options).__aenter__()
            stack.callback(client.close)
            return client

        yield connect
