"""How the bus is joined and left, wherever sockets overtake each other."""

import asyncio

import pytest

from broadcasting.exceptions import BroadcastError
from broadcasting.server.hub import Hub
from tests.server.fakes import FakeBroker, FakeSocket, Tab, address, message, settle

SUBSCRIBED = ("subscribe", address("x"))
UNSUBSCRIBED = ("unsubscribe", address("x"))


@pytest.fixture
async def old(hub: Hub) -> Tab:
    tab = Tab(hub, 9)
    tab.subscribe("x")
    await settle()
    return tab


async def test_the_bus_is_joined_once_and_left_after_the_last_socket(
    hub: Hub, broker: FakeBroker
) -> None:
    tabs = [Tab(hub, number) for number in range(5)]
    for tab in tabs:
        tab.subscribe("x")
    await settle()
    assert (broker.calls, broker.connections) == ([SUBSCRIBED], 1)
    assert hub.topics == {address("x"): 5}
    tabs.pop().unsubscribe("x")
    await settle()
    assert broker.calls == [SUBSCRIBED]
    for tab in tabs:
        tab.session.closed()
    await settle()
    assert broker.calls == [SUBSCRIBED, UNSUBSCRIBED]
    assert hub.topics == {}


async def test_leaving_what_was_never_joined_does_nothing(
    hub: Hub, broker: FakeBroker, old: Tab
) -> None:
    hub.unsubscribe(old.socket_id, address("y"))
    hub.unsubscribe("9.9", address("x"))
    await settle()
    assert hub.topics == {address("x"): 1}
    assert broker.calls == [SUBSCRIBED]


class TestBuffering:
    async def test_confirmation_then_kept_messages_then_live_ones(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """Nothing is missed, nothing comes twice; a second socket does not ask again."""
        await hub.start()
        broker.held = True
        tabs = [Tab(hub, number) for number in (1, 2)]
        for tab in tabs:
            tab.subscribe("x")
        await settle()
        for number in ("1", "2"):
            assert hub.deliver(message("x", number)) == 0
        assert tabs[0].heard("x") == []
        broker.release()
        # The loop has not turned: the bus has confirmed, but nobody knows yet.
        hub.deliver(message("x", "3"))
        await settle()
        hub.deliver(message("x", "4"))
        assert [tab.heard("x") for tab in tabs] == [["joined", "1", "2", "3", "4"]] * 2
        assert broker.calls == [SUBSCRIBED]

    async def test_kept_messages_are_gone_with_the_attempt(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        await hub.start()
        broker.held = True
        tab = Tab(hub)
        tab.subscribe("x")
        await settle()
        hub.deliver(message("x", "old"))
        tab.unsubscribe("x")
        tab.subscribe("x")
        await settle()
        hub.deliver(message("x", "new", socket_id="9.9"))
        hub.deliver(message("x", "own", socket_id=tab.socket_id))
        broker.release_all()
        await settle()
        assert tab.heard("x") == ["joined", "new"]

    async def test_too_much_closes_the_socket(self, hub: Hub, broker: FakeBroker) -> None:
        """The limit is in bytes of frames, of which the last is allowed; live sockets go on."""
        hub.MAX_BUFFERED = 100
        await hub.start()
        broker.held = True
        tab = Tab(hub)
        tab.subscribe("x")
        await settle()
        envelope = len('{"event":"e","channel":"x","data":""}')
        hub.deliver(message("x", "d" * (100 - envelope)))
        assert tab.socket.is_open
        hub.deliver(message("x", ""))
        assert tab.socket.closed == (4100, "Too many messages while subscribing")
        hub.deliver(message("x", ""))
        broker.release_all()
        await settle()
        assert tab.heard("x") == []


class TestOvertaking:
    """A late leave must not cancel a new subscriber."""

    async def test_a_leave_that_has_not_begun(self, hub: Hub, broker: FakeBroker, old: Tab) -> None:
        new = Tab(hub, 2)
        new.subscribe("x")
        old.unsubscribe("x")  # The topic is empty: the newcomer's task has not begun.
        await settle()
        hub.deliver(message("x", "1"))
        assert new.heard("x") == ["joined", "1"]
        assert broker.calls == [SUBSCRIBED]

    async def test_a_leave_under_way(self, hub: Hub, broker: FakeBroker, old: Tab) -> None:
        broker.held = True
        old.unsubscribe("x")
        await settle()
        new = Tab(hub, 2)
        new.subscribe("x")
        await settle()
        assert broker.calls == [SUBSCRIBED, UNSUBSCRIBED]
        assert new.heard("x") == []
        broker.release_all()
        await settle()
        assert broker.calls == [SUBSCRIBED, UNSUBSCRIBED, SUBSCRIBED]
        assert broker.joined == {address("x")}
        assert new.heard("x") == ["joined"]

    async def test_a_join_that_fails_after_the_socket_has_come_back(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """The failure belongs to the first attempt; the second makes its own."""
        await hub.start()
        broker.held = True
        tab = Tab(hub)
        tab.subscribe("x")
        await settle()
        tab.unsubscribe("x")
        tab.subscribe("x")
        await settle()
        broker.release(error=BroadcastError("away"))
        broker.release_all()
        await settle()
        hub.deliver(message("x", "1"))
        assert tab.heard("x") == ["joined", "1"]
        assert broker.calls == [SUBSCRIBED, SUBSCRIBED]

    @pytest.mark.parametrize("call", ["connect", "subscribe"])
    async def test_a_join_that_is_cancelled(self, hub: Hub, broker: FakeBroker, call: str) -> None:
        if call == "subscribe":
            await hub.start()
        broker.held = True
        task = asyncio.create_task(hub.subscribe(FakeSocket(), "1.1", address("x")))
        await settle()
        assert [name for name, _ in broker.waiting] == [call]
        tab = Tab(hub, 2)
        tab.subscribe("x")
        await settle()
        task.cancel()
        broker.release_all()
        await settle()
        assert task.cancelled()
        assert tab.heard("x") == ["joined"]
        assert (hub.topics, broker.connections) == ({address("x"): 1}, 1)
