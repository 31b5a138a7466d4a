"""How subscribers learn how many they are."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.messages import Message, subscription_count_data
from broadcasting.server import counts
from broadcasting.server.hub import Hub
from tests.server.fakes import APP, FakeBroker, Tab, address, hub_on, settle

ROOM = "presence-room"
SUCCEEDED = "pusher_internal:subscription_succeeded"
COUNT = "pusher_internal:subscription_count"
COUNTING = replace(APP, subscription_count=True)


@pytest_asyncio.fixture
async def hub(broker: FakeBroker) -> AsyncIterator[Hub]:
    """Return a hub that serves an application with numbers."""
    with hub_on(broker, COUNTING) as hub:
        yield hub
        await hub.stop()


def tabs_of(hub: Hub, count: int) -> list[Tab]:
    return [Tab(hub, number, app=COUNTING) for number in range(1, count + 1)]


def numbers(tab: Tab) -> list[int]:
    return [frame["data"]["subscription_count"] for frame in tab.told(COUNT)]


async def test_subscribers_are_told_how_many_they_are(hub: Hub) -> None:
    """After the confirmation, and with each that comes or goes; not in presence channels."""
    one, two, _ = tabs = tabs_of(hub, 3)
    one.subscribe("x")
    await settle()
    two.subscribe("x")
    await settle()
    two.unsubscribe("x")
    await settle()
    assert numbers(one) == [1, 2, 1]
    assert [frame["event"] for frame in two.told()] == [SUCCEEDED, COUNT]
    for tab in tabs:
        tab.join(ROOM, tab.socket_id)
    await settle()
    assert len(numbers(one)) == 3


async def test_a_newcomer_is_told_though_another_has_left(hub: Hub) -> None:
    """In one turn of the loop: the number is the old one, but not to the newcomer."""
    one, two = tabs_of(hub, 2)
    one.subscribe("cache-x")
    await settle()
    two.subscribe("cache-x")
    one.unsubscribe("cache-x")
    await settle()
    assert [frame["event"] for frame in two.told()] == [SUCCEEDED, "pusher:cache_miss", COUNT]
    assert numbers(two) == [1]


async def test_many_are_told_now_and_then(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MANY", 3)
    monkeypatch.setattr(counts, "EVERY", 1e9)
    first, *others = tabs_of(hub, 8)
    first.subscribe("x")
    await settle()
    for tab in others:
        tab.subscribe("x")
        await settle()
    await hub.keep_up()
    assert numbers(first) == [1, 2, 3]
    monkeypatch.setattr(counts, "EVERY", 0)
    await hub.keep_up()
    await hub.keep_up()
    assert numbers(first) == [1, 2, 3, 8]


async def test_a_number_that_was_old_when_it_came_is_corrected(
    hub: Hub, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = broker.publish

    async def overtaken(message: Message) -> None:
        monkeypatch.setattr(broker, "publish", publish)
        await broker.elsewhere.count({address("x"): 1})
        await publish(replace(message, data=subscription_count_data(2)))
        await publish(message)

    monkeypatch.setattr(broker, "publish", overtaken)
    (tab,) = tabs_of(hub, 1)
    tab.subscribe("x")
    await settle()
    await hub.keep_up()
    await hub.keep_up()
    assert numbers(tab) == [2, 1, 2]


async def test_a_number_that_could_not_be_told_is_told_later(
    hub: Hub, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise BroadcastError("away")

    (tab,) = tabs_of(hub, 1)
    with monkeypatch.context() as patch:
        patch.setattr(broker, "publish", fail)
        tab.subscribe("x")
        await settle()
        patch.setattr(broker.presence, "sizes", fail)
        await hub.keep_up()
    assert numbers(tab) == []
    await hub.keep_up()
    await hub.keep_up()
    assert numbers(tab) == [1]


async def test_a_channel_is_counted_again_when_the_broker_asks(
    hub: Hub, broker: FakeBroker
) -> None:
    """Its subscribers hear the number; those of a presence channel never do."""
    (tab,) = tabs_of(hub, 1)
    tab.subscribe("x")
    tab.join(ROOM, "1")
    await settle()
    await broker.elsewhere.count({address("x"): 2, address(ROOM): 2})
    for channel in ("x", ROOM, "#server-to-user-1"):
        hub.recount(address(channel))
    await hub.keep_up()
    await hub.keep_up()
    assert numbers(tab) == [1, 3]
