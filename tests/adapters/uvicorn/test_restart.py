"""A restart that was asked for on the bus."""

import asyncio
from unittest.mock import create_autospec

import pytest

from broadcasting.adapters.uvicorn import restart
from broadcasting.adapters.uvicorn.restart import PAUSE, Restart
from broadcasting.drivers.base import Broker
from broadcasting.exceptions import BroadcastError
from tests.utils import await_until


class Bus:
    """A bus that gives one lease; `calls` are the ends of it."""

    def __init__(self) -> None:
        self.answers: list[bool | Exception] = []
        self.asked = 0
        self.ended: list[float] = []
        self.broker = create_autospec(Broker, instance=True)
        self.broker.acquire_lease.side_effect = self._acquire
        self.broker.release_lease.side_effect = self._release

    async def _acquire(self, name: str, seconds: float) -> bool:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _release(self, name: str, after: float = 0) -> None:
        self.ended.append(after)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart, "RETRY", 0.0)


async def test_it_begins_when_its_turn_comes() -> None:
    """Once, however often it is wanted; a bus that is away is asked again."""
    bus, begun = Bus(), asyncio.Event()
    bus.answers = [False, BroadcastError("away"), False, True]
    wanted = Restart(bus.broker, 20, begun.set)
    wanted.want()
    wanted.want()
    assert not begun.is_set()
    await begun.wait()
    assert bus.asked == 4
    wanted.cancel()


async def test_the_lease_is_kept_until_the_process_has_gone() -> None:
    """The next one waits for the clients to come back."""
    bus, begun = Bus(), asyncio.Event()
    wanted = Restart(bus.broker, 20, begun.set)
    wanted.want()
    await begun.wait()
    assert bus.ended == []
    wanted.cancel()
    await wanted.finish()
    assert bus.ended == [PAUSE]


async def test_a_process_that_stays_may_be_asked_again() -> None:
    """Its supervisor could not start another; the lease runs out."""
    bus, begun = Bus(), asyncio.Event()
    wanted = Restart(bus.broker, 20, begun.set)
    for _ in range(2):
        wanted.want()
        await begun.wait()
        begun.clear()
    assert bus.asked == 2


async def test_who_has_no_lease_gives_none_back() -> None:
    """A process that leaves while it waits, or that was never asked."""
    bus = Bus()
    bus.answers = [False] * 1_000
    wanted = Restart(bus.broker, 20, lambda: None)
    wanted.cancel()
    wanted.want()
    await await_until(lambda: bus.asked > 1, what="it waits")
    wanted.cancel()
    await wanted.finish()
    assert bus.ended == []
