"""What webhooks and signals are told, and what not."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from django.dispatch import Signal

from broadcasting import signals
from broadcasting.applications import Application
from broadcasting.server import notifier as module
from broadcasting.server.hub import Hub
from broadcasting.server.webhooks.endpoint import Endpoint
from tests.server.fakes import APP, APP_ID, FakeBroker, Tab, hub_on, message, settle
from tests.utils import await_until

ROOM = "presence-room"
COUNTING = replace(APP, subscription_count=True)


class Told:
    """Stands where the webhooks stand, and asks for everything."""

    events: list[tuple[str, dict[str, object]]]

    def __init__(self, apps: Iterable[Application]) -> None:
        type(self).events = []
        self.endpoints: list[Endpoint] = []

    def wants(self, app_id: str, name: str, channel: str) -> bool:
        return True

    def add(self, app_id: str, event: Mapping[str, object]) -> None:
        self.events.append((app_id, dict(event)))

    async def close(self, timeout: float) -> None:
        """Do nothing."""


@pytest_asyncio.fixture
async def hub(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    monkeypatch.setattr(module, "Webhooks", Told)
    with hub_on(broker, COUNTING) as hub:
        yield hub
        await hub.stop()


def told(name: str) -> list[dict[str, object]]:
    return [
        {key: value for key, value in event.items() if key != "name"}
        for app_id, event in Told.events
        if event["name"] == name and app_id == APP_ID
    ]


async def test_channels_are_occupied_and_vacated(hub: Hub, broker: FakeBroker) -> None:
    one, two = Tab(hub, 1), Tab(hub, 2)
    one.subscribe("x")
    two.subscribe("x")
    await settle()
    assert told("channel_occupied") == [{"channel": "x"}]
    one.session.closed()
    two.session.closed()
    await settle()
    await broker.presence.expire()
    assert told("channel_vacated") == []
    broker.clock.advance(3)
    await broker.presence.expire()
    assert told("channel_vacated") == [{"channel": "x"}]


async def test_members_come_and_go(hub: Hub, broker: FakeBroker) -> None:
    """Users, not sockets; who is back within three seconds was never away."""
    one, two, three = [Tab(hub, number) for number in (1, 2, 3)]
    one.join(ROOM, "7")
    two.join(ROOM, "7")
    await settle()
    assert told("member_added") == [{"channel": ROOM, "user_id": "7"}]
    one.session.closed()
    two.session.closed()
    await settle()
    three.join(ROOM, "7")
    await settle()
    broker.clock.advance(10)
    await broker.presence.expire()
    assert told("member_removed") == []
    assert len(told("member_added")) == 1
    assert len(told("channel_occupied")) == 1
    three.unsubscribe(ROOM)
    await settle()
    broker.clock.advance(3)
    await broker.presence.expire()
    assert told("member_removed") == [{"channel": ROOM, "user_id": "7"}]


async def test_client_events_name_their_sender(hub: Hub) -> None:
    tab = Tab(hub, 1)
    tab.join(ROOM, "7")
    tab.join("private-x")
    await settle()
    tab.send_event(ROOM, "client-a", {"b": 1})
    tab.send_event("private-x", "client-a", "text")
    tab.send_event("x", "client-a", "refused")
    await settle()
    assert told("client_event") == [
        {
            "channel": ROOM,
            "event": "client-a",
            "data": '{"b":1}',
            "socket_id": "1.1",
            "user_id": "7",
        },
        {"channel": "private-x", "event": "client-a", "data": "text", "socket_id": "1.1"},
    ]


async def test_a_miss_is_told_and_a_hit_is_not(hub: Hub, broker: FakeBroker) -> None:
    Tab(hub, 1).subscribe("cache-x")
    await settle()
    assert told("cache_miss") == [{"channel": "cache-x"}]
    await broker.publish(message("cache-x"))
    Tab(hub, 2).subscribe("cache-x")
    await settle()
    assert len(told("cache_miss")) == 1


async def test_numbers_are_told_as_to_the_subscribers(hub: Hub) -> None:
    tab = Tab(hub, 1)
    tab.subscribe("x")
    await settle()
    tab.unsubscribe("x")
    await settle()
    assert told("subscription_count") == [
        {"channel": "x", "subscription_count": 1},
        {"channel": "x", "subscription_count": 0},
    ]


async def test_nothing_is_told_of_the_servers_own_channels(hub: Hub, broker: FakeBroker) -> None:
    watching = replace(COUNTING, watchlist=True)
    tab = Tab(hub, 1, app=watching)
    tab.sign_in("1", "2")
    tab.subscribe("#server-to-user-1")
    await settle()
    tab.session.closed()
    await settle()
    broker.clock.advance(10)
    await broker.presence.expire()
    assert Told.events == []


@contextmanager
def received(signal: Signal) -> Iterator[list[dict[str, Any]]]:
    calls: list[dict[str, Any]] = []

    async def receiver(**arguments: Any) -> None:
        calls.append({k: v for k, v in arguments.items() if k not in {"signal", "sender"}})

    signal.connect(receiver)
    try:
        yield calls
    finally:
        signal.disconnect(receiver)


async def test_signals_say_the_same(hub: Hub) -> None:
    with (
        received(signals.connection_opened) as opened,
        received(signals.connection_closed) as closed,
        received(signals.channel_occupied) as occupied,
        received(signals.member_added) as added,
    ):
        small = replace(COUNTING, max_connections=1)
        tab = Tab(hub, 1, app=small)
        Tab(hub, 2, app=small).session.closed()
        tab.join(ROOM, "7")
        await settle()
        tab.session.closed()
        await await_until(lambda: closed)
    assert opened == [{"app_id": APP_ID, "socket_id": "1.1"}]
    assert closed == [{"app_id": APP_ID, "socket_id": "1.1", "code": None}]
    assert occupied == [{"app_id": APP_ID, "channel": ROOM}]
    assert added == [{"app_id": APP_ID, "channel": ROOM, "user_id": "7"}]
