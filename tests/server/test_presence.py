"""Sessions and hub together: members of presence channels, and the events of cache channels."""

from dataclasses import replace

import pytest_asyncio

from broadcasting.exceptions import PublisherBusy
from broadcasting.protocol.signatures import sign_channel
from broadcasting.server.hub import Hub
from tests.server.fakes import APP, FakeBroker, Tab, address, message, settle
from tests.utils import subscribe

ROOM = "presence-room"
SUCCEEDED = "pusher_internal:subscription_succeeded"
ADDED = "pusher_internal:member_added"
REMOVED = "pusher_internal:member_removed"
GRACEFUL = replace(APP, presence_grace=3)


@pytest_asyncio.fixture
async def tabs(hub: Hub) -> list[Tab]:
    return [Tab(hub, number) for number in (1, 2, 3)]


class TestMembers:
    async def test_a_newcomer_hears_who_is_there_and_others_hear_of_it(
        self, tabs: list[Tab]
    ) -> None:
        ana, ben, _ = tabs
        ana.join(ROOM, "1", {"name": "Ana"})
        await settle()
        ben.join(ROOM, "2", {"name": "Ben"})
        await settle()
        assert ben.members(ROOM) == {"1": {"name": "Ana"}, "2": {"name": "Ben"}}
        assert ben.told(ADDED) == []
        assert ana.told(ADDED) == [
            {
                "event": ADDED,
                "channel": ROOM,
                "data": {"user_id": "2", "user_info": {"name": "Ben"}},
            }
        ]

    async def test_tabs_of_one_user_are_one_member(self, tabs: list[Tab]) -> None:
        """First and last are told, the others are not; every id is listed once."""
        ana, one, two = tabs
        ana.join(ROOM, "1")
        await settle()
        one.join(ROOM, "2", "old")
        two.join(ROOM, "2", "new")
        await settle()
        assert two.members(ROOM) == {"1": None, "2": "new"}
        assert len(ana.told(ADDED)) == 1
        one.session.closed()
        await settle()
        assert ana.told(REMOVED) == []
        two.unsubscribe(ROOM)
        await settle()
        assert ana.told(REMOVED) == [{"event": REMOVED, "channel": ROOM, "data": {"user_id": "2"}}]

    async def test_a_member_needs_no_information_and_may_be_number_0(self, tabs: list[Tab]) -> None:
        ana, zero, _ = tabs
        ana.join(ROOM, "1")
        await settle()
        data = '{"user_id":0}'
        auth = sign_channel(APP, zero.socket_id, ROOM, data)
        zero.session.receive(subscribe(ROOM, auth=auth, channel_data=data))
        await settle()
        assert zero.members(ROOM) == ana.members(ROOM) == {"1": None, "0": None}
        zero.session.closed()
        await settle()
        assert ana.told(REMOVED) == [{"event": REMOVED, "channel": ROOM, "data": {"user_id": "0"}}]

    async def test_a_reload_within_the_grace_is_not_told(
        self, broker: FakeBroker, hub: Hub
    ) -> None:
        ana, one, two = [Tab(hub, number, app=GRACEFUL) for number in (1, 2, 3)]
        ana.join(ROOM, "1")
        one.join(ROOM, "2")
        await settle()
        one.session.closed()
        await settle()
        broker.clock.advance(2.9)
        await broker.presence.expire()
        two.join(ROOM, "2")
        await settle()
        broker.clock.advance(10)
        await broker.presence.expire()
        assert two.members(ROOM) == ana.members(ROOM) == {"1": None, "2": None}
        two.unsubscribe(ROOM)
        await settle()
        assert len(ana.told(REMOVED)) == 1

    async def test_after_the_grace_the_member_has_left(self, broker: FakeBroker, hub: Hub) -> None:
        ana, one = [Tab(hub, number, app=GRACEFUL) for number in (1, 2)]
        ana.join(ROOM, "1")
        one.join(ROOM, "2")
        await settle()
        one.session.closed()
        await settle()
        broker.clock.advance(2.9)
        await broker.presence.expire()
        assert ana.told(REMOVED) == []
        broker.clock.advance(0.1)
        await broker.presence.expire()
        assert len(ana.told(REMOVED)) == 1

    async def test_a_full_channel_admits_further_tabs_of_its_members(self, hub: Hub) -> None:
        small = replace(APP, max_members=1)
        one, two, other = [Tab(hub, number, app=small) for number in (1, 2, 3)]
        one.join(ROOM, "1")
        await settle()
        two.join(ROOM, "1")
        other.join(ROOM, "2")
        await settle()
        assert two.members(ROOM) == {"1": None}
        assert [frame["data"]["status"] for frame in other.told("pusher:subscription_error")] == [
            4100
        ]
        assert one.told(ADDED) == []
        assert hub.topics[address(ROOM)] == 2
        one.session.closed()
        two.session.closed()
        await settle()
        other.join(ROOM, "2")
        await settle()
        assert other.members(ROOM) == {"2": None}

    async def test_a_presence_that_fails_closes_the_socket_and_keeps_no_entry(
        self, tabs: list[Tab], broker: FakeBroker
    ) -> None:
        ana, ben, _ = tabs
        ana.join(ROOM, "1")
        await settle()
        broker.held = True
        ben.join(ROOM, "2")
        await settle()
        broker.release()
        await settle()
        broker.release(error=PublisherBusy("away"))
        broker.release_all()
        await settle()
        assert ben.socket.close_code == 4100
        assert ana.members(ROOM) == {"1": None}


class TestCacheChannels:
    async def test_the_last_event_outlives_the_last_subscriber(
        self, tabs: list[Tab], broker: FakeBroker
    ) -> None:
        ana, ben, _ = tabs
        ana.subscribe("cache-x")
        await settle()
        await broker.publish(message("cache-x", "1", socket_id=ben.socket_id))
        ana.session.closed()
        await settle()
        ben.subscribe("cache-x")
        await settle()
        assert ben.heard("cache-x") == ["joined", "1"]

    async def test_client_events_are_not_kept(self, tabs: list[Tab], broker: FakeBroker) -> None:
        ana, ben, _ = tabs
        ana.join("private-cache-x")
        await settle()
        ana.send_event("private-cache-x", "client-a", {})
        await settle()
        ben.join("private-cache-x")
        await settle()
        assert [frame["event"] for frame in ben.told()] == [SUCCEEDED, "pusher:cache_miss"]

    async def test_members_and_last_event_come_together(
        self, tabs: list[Tab], broker: FakeBroker
    ) -> None:
        """A change of members does not replace the event, as it does in Reverb."""
        ana, ben, _ = tabs
        await broker.publish(message("presence-cache-x", "1"))
        ana.join("presence-cache-x", "1")
        await settle()
        ben.join("presence-cache-x", "2")
        await settle()
        assert [frame["event"] for frame in ben.told()] == [SUCCEEDED, "e"]
        assert ben.members("presence-cache-x") == {"1": None, "2": None}
