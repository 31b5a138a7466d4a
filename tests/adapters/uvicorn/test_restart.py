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
        self.broker.take_turn.side_effect = self._acquire
        self.broker.end_turn.side_effect = self._release

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
    monkeypatch.setattr(restart, "LEASE_SPARE", 0.0)


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
    wanted.stop_waiting()


async def test_the_lease_is_kept_until_the_process_has_gone() -> None:
    """It is prolonged meanwhile; the next process waits for the clients to come back."""
    bus, begun = Bus(), asyncio.Event()
    wanted = Restart(bus.broker, 20, begun.set)
    wanted.want()
    await begun.wait()
    await await_until(lambda: bus.asked > 3, what="it is prolonged")
    wanted.stop_waiting()
    assert bus.ended == []
    await wanted.finish()
    await wanted.finish()
    assert bus.ended == [PAUSE]


async def test_a_process_that_stays_lets_others_have_their_turn() -> None:
    """And may be asked again."""
    bus, begun = Bus(), asyncio.Event()
    wanted = Restart(bus.broker, 20, begun.set)
    wanted.want()
    await begun.wait()
    wanted.call_off()
    await await_until(lambda: bus.ended == [0], what="the lease is given back")
    begun.clear()
    wanted.want()
    await begun.wait()
    wanted.stop_waiting()


async def test_who_has_no_lease_gives_none_back() -> None:
    """A process that leaves while it waits, or that was never asked."""
    bus = Bus()
    bus.answers = [False] * 1_000
    wanted = Restart(bus.broker, 20, lambda: None)
    wanted.call_off()
    wanted.want()
    await await_until(lambda: bus.asked > 1, what="it waits")
    wanted.stop_waiting()
    await wanted.finish()
    assert bus.ended == []
