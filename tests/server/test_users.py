"""Users who sign in: how they are reached, closed and watched."""

from dataclasses import replace

import pytest

from broadcasting.drivers.base import CONTROL, TERMINATE
from broadcasting.protocol.members import Member
from broadcasting.protocol.messages import Message
from broadcasting.server.hub import Hub
from tests.server.fakes import APP, FakeBroker, Tab, address, message, settle

WATCHED = "pusher_internal:watchlist_events"
WATCHING = replace(APP, watchlist=True)


async def test_a_user_is_reached_wherever_signed_in(hub: Hub, broker: FakeBroker) -> None:
    tabs = [Tab(hub, number) for number in (1, 2, 3)]
    for tab, user in zip(tabs, "112", strict=True):
        tab.sign_in(user)
        tab.subscribe(f"#server-to-user-{user}")
    await settle()
    await broker.publish(message("#server-to-user-1", '"secret"'))
    assert [tab.told("e") != [] for tab in tabs] == [True, True, False]


async def test_connections_of_a_user_are_closed_on_command(hub: Hub, broker: FakeBroker) -> None:
    """Those that signed in and are open, with 4009; a member of that id is somebody else."""
    gone, one, two, member = [Tab(hub, number) for number in range(4)]
    for tab in (gone, one, two):
        tab.sign_in("1")
    gone.session.closed()
    member.join("presence-room", "1")
    await settle()
    for _ in range(2):
        await broker.publish(Message(f"2:{CONTROL}", TERMINATE, '"1"'))
        assert [tab.socket.close_code for tab in (one, two)] == [None, None]
    for _ in range(2):
        await broker.publish(Message(address(CONTROL), TERMINATE, '"1"'))
        codes = [tab.socket.close_code for tab in (gone, one, two, member)]
        assert codes == [None, 4009, 4009, None]


class TestWatchlists:
    @pytest.fixture
    async def watchers(self, hub: Hub) -> list[Tab]:
        return [Tab(hub, number, app=WATCHING) for number in (1, 2, 3)]

    @staticmethod
    def heard(tab: Tab) -> list[dict[str, list[str]]]:
        """Return what each frame says: online or offline to ids."""
        return [
            {event["name"]: event["user_ids"] for event in frame["data"]["events"]}
            for frame in tab.told(WATCHED)
        ]

    async def test_first_who_is_online_then_each_change(self, watchers: list[Tab]) -> None:
        ana, ben, ben_too = watchers
        ben.sign_in("2")
        await settle()
        ana.sign_in("1", "2", "3")
        await settle()
        assert ana.told()[0]["event"] == "pusher:signin_success"
        assert self.heard(ana) == [{"online": ["2"], "offline": ["3"]}]
        ben_too.sign_in("2")
        ben.session.closed()
        await settle()
        assert len(self.heard(ana)) == 1
        ben_too.session.closed()
        await settle()
        assert self.heard(ana)[1:] == [{"offline": ["2"]}]
        assert ben_too.told(WATCHED) == []

    async def test_a_user_may_watch_themselves(self, hub: Hub, watchers: list[Tab]) -> None:
        ana, *_ = watchers
        ana.sign_in("1", "1", "2")
        await settle()
        assert self.heard(ana) == [{"online": ["1"], "offline": ["2"]}]
        ana.session.closed()
        await settle()
        assert len(self.heard(ana)) == 1
        assert hub.topics == {}

    async def test_a_change_while_reading_is_told_after(
        self, hub: Hub, watchers: list[Tab], broker: FakeBroker
    ) -> None:
        ana, ben, _ = watchers
        await hub.start()
        broker.held = True
        ana.sign_in("1", "2")
        for _ in range(2):  # Her own coming online: before and after its step.
            await settle()
            broker.release()
        await settle()
        broker.release()  # subscribe
        await settle()
        assert [call for call, _ in broker.waiting] == ["members"]
        there = address("#watch-2"), "e", Member("2")
        await broker.elsewhere.join(*there, socket_id="9.9", limit=100)
        broker.release_all()
        await settle()
        assert self.heard(ana) == [{"offline": ["2"]}, {"online": ["2"]}]
        assert ben.told() == []

    async def test_who_goes_meanwhile_is_not_left_online(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        for steps in range(5):
            tab = Tab(hub, 10 + steps, app=WATCHING)
            broker.held = True
            tab.sign_in("9", "8")
            for _ in range(steps):
                await settle()
                if broker.waiting:
                    broker.release()
            tab.session.closed()
            broker.release_all()
            await settle()
            assert (await broker.presence.members(address("#watch-9"))).infos == {}
            assert hub.topics == {}

    @pytest.mark.parametrize("call", ["join", "subscribe", "members"])
    async def test_a_bus_that_fails_closes_the_watcher(
        self, hub: Hub, broker: FakeBroker, watchers: list[Tab], call: str
    ) -> None:
        """With 4100, after which clients come back; the hub is in no topic then."""
        await hub.start()
        broker.held = True
        ana, *_ = watchers
        ana.sign_in("1", "2")
        await settle()
        while broker.waiting[0][0] != call:
            broker.release()
            await settle()
        broker.release(error=ConnectionError("away"))
        broker.release_all()
        await settle()
        assert ana.socket.close_code == 4100
        assert hub.topics == {}

    async def test_they_are_off_by_default(self, hub: Hub, broker: FakeBroker) -> None:
        tab = Tab(hub)
        tab.sign_in("1", "2")
        await settle()
        assert [frame["event"] for frame in tab.told()] == ["pusher:signin_success"]
        assert (await broker.presence.members(address("#watch-1"))).infos == {}
