"""Sessions and hub together: members, users, client events, cache channels, numbers."""

import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from broadcasting.drivers.base import CONTROL, TERMINATE
from broadcasting.exceptions import BroadcastError, PublisherBusy
from broadcasting.protocol.members import Member
from broadcasting.protocol.messages import Message, subscription_count_data
from broadcasting.protocol.signatures import sign_channel
from broadcasting.server import counts
from broadcasting.server.hub import Hub
from tests.server.fakes import APP, APP_ID, FakeBroker, Tab, address, hub_on, message, settle
from tests.utils import subscribe

ROOM = "presence-room"
SUCCEEDED = "pusher_internal:subscription_succeeded"
ADDED = "pusher_internal:member_added"
REMOVED = "pusher_internal:member_removed"
COUNT = "pusher_internal:subscription_count"
WATCHED = "pusher_internal:watchlist_events"

WATCHING = replace(APP, watchlist=True)
COUNTING = replace(APP, subscription_count=True)
GRACEFUL = replace(APP, presence_grace=3)


def enter(broker: FakeBroker, channel: str, entry: str, user_id: str) -> None:
    """Let a socket of another process join."""
    member = Member(user_id)
    broker.store.join(object(), address(channel), entry, member, socket_id="9.9", limit=100)


@pytest_asyncio.fixture
async def tabs(hub: Hub) -> list[Tab]:
    """Return three tabs that have said nothing yet."""
    return [Tab(hub, number) for number in (1, 2, 3)]


class TestMembers:
    async def test_a_newcomer_hears_who_is_there_and_others_hear_of_it(
        self, tabs: list[Tab]
    ) -> None:
        """The newcomer is in its own list, and is told of itself in no other way."""
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
        """Reverb fails after such a join, and never tells that 0 has left."""
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

    async def test_joining_twice_is_being_there_once(self, tabs: list[Tab]) -> None:
        """One leave takes the member out."""
        ana, ben, _ = tabs
        ana.join(ROOM, "1")
        for _ in range(2):
            ben.join(ROOM, "2")
            await settle()
        assert len(ana.told(ADDED)) == 1
        ben.unsubscribe(ROOM)
        await settle()
        assert ana.members(ROOM) == {"1": None}

    async def test_tabs_that_vanish_together_are_told_once(self, tabs: list[Tab]) -> None:
        """As when a laptop is closed."""
        ana, one, two = tabs
        ana.join(ROOM, "1")
        one.join(ROOM, "2")
        two.join(ROOM, "2")
        await settle()
        one.session.closed()
        two.session.closed()
        await settle()
        assert len(ana.told(REMOVED)) == 1

    async def test_a_reload_within_the_grace_is_not_told(
        self, broker: FakeBroker, hub: Hub
    ) -> None:
        """Only a lost connection has one; who leaves has left."""
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
        """Not a moment before."""
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
        """Somebody else is refused, and may try again when there is room."""
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

    async def test_a_change_while_joining_is_told_once(
        self, tabs: list[Tab], broker: FakeBroker
    ) -> None:
        """Either by the list or after it: the versions say which."""
        ana, ben, eve = tabs
        ana.join(ROOM, "1")
        await settle()
        broker.held = True
        ben.join(ROOM, "2")
        await settle()
        # Ben waits before his step: who joins now is in his list.
        enter(broker, ROOM, "e1", "3")
        broker.release()
        await settle()
        # His step is done, the answer is under way: who joins now is not.
        enter(broker, ROOM, "e2", "4")
        broker.release_all()
        await settle()
        assert ben.members(ROOM) == {"1": None, "2": None, "3": None, "4": None}
        assert [frame["data"]["user_id"] for frame in ben.told(ADDED)] == ["4"]
        assert ana.members(ROOM) == ben.members(ROOM)
        assert eve.members(ROOM) is None

    @pytest.mark.parametrize("moment", ["before", "after"])
    @pytest.mark.parametrize("way", ["unsubscribe", "close", "come back"])
    async def test_who_changes_their_mind_leaves_nothing_behind(
        self, tabs: list[Tab], broker: FakeBroker, moment: str, way: str
    ) -> None:
        """While the presence is asked, before or after its step."""
        ana, ben, _ = tabs
        ana.join(ROOM, "1")
        await settle()
        broker.held = True
        ben.join(ROOM, "2")
        await settle()
        if moment == "after":
            broker.release()
            await settle()
        if way == "close":
            ben.session.closed()
        else:
            ben.unsubscribe(ROOM)
        if way == "come back":
            ben.join(ROOM, "2")
        broker.release_all()
        await settle()
        expected = {"1": None, "2": None} if way == "come back" else {"1": None}
        assert ana.members(ROOM) == expected
        stored = await broker.presence.members(address(ROOM))
        assert set(stored.infos) == set(expected)
        if way == "come back":
            assert ben.members(ROOM) == expected

    async def test_a_presence_that_fails_closes_the_socket_and_keeps_no_entry(
        self, tabs: list[Tab], broker: FakeBroker
    ) -> None:
        """What became of the join is not known, so it is taken back."""
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


class TestRandomMembers:
    @pytest.mark.parametrize("seed", range(60))
    async def test_lists_end_up_right(self, seed: int) -> None:
        """
        Tabs of four users join, leave, close and come back while calls wait.

        No list is ever told of the same member twice, or of one it has not; at rest
        every list is the set of users with a tab in the channel.
        """
        choose = random.Random(seed)
        broker = FakeBroker()
        with hub_on(broker) as hub:
            tabs = [Tab(hub, number) for number in range(8)]
            inside: dict[int, str] = {}
            broker.held = True
            for _ in range(120):
                await self.step(choose, broker, tabs, inside)
            broker.release_all()
            await settle()
            users = set(inside.values())
            for number, tab in enumerate(tabs):
                if number in inside:
                    assert set(self.current(tab) or {}) == users
            stored = await broker.presence.members(address(ROOM))
            assert set(stored.infos) == users
            for tab in tabs:
                tab.session.closed()
            await settle()
            assert (await broker.presence.members(address(ROOM))).infos == {}
            assert hub.topics == {}
            await hub.stop()

    async def step(
        self, choose: random.Random, broker: FakeBroker, tabs: list[Tab], inside: dict[int, str]
    ) -> None:
        """Let one thing happen."""
        number = choose.randrange(len(tabs))
        match choose.choice(["join", "leave", "release", "release", "settle"]):
            case "join" if number not in inside:
                inside[number] = str(number % 4)
                tabs[number].join(ROOM, inside[number])
            case "leave" if number in inside:
                del inside[number]
                tabs[number].unsubscribe(ROOM)
            case "release" if broker.waiting:
                broker.release(choose.randrange(len(broker.waiting)))
            case "settle":
                await settle()
        # The books of pusher-js hold at every moment.
        self.current(tabs[number])

    @staticmethod
    def current(tab: Tab) -> dict[str, object] | None:
        """Return the list of the tab's present subscription; frames keep their order."""
        return tab.members(ROOM)


class TestClientEvents:
    async def test_everybody_else_gets_it(self, tabs: list[Tab]) -> None:
        """Other tabs of the same user included; the sender never."""
        ana, again, ben = tabs
        for tab, user in ((ana, "1"), (again, "1"), (ben, "2")):
            tab.join(ROOM, user)
        await settle()
        ana.whisper(ROOM, "client-typing", {"on": True})
        await settle()
        frame = {"event": "client-typing", "channel": ROOM, "data": {"on": True}, "user_id": "1"}
        assert again.told("client-typing") == ben.told("client-typing") == [frame]
        assert ana.told("client-typing") == []

    async def test_on_private_channels_nobody_is_named(self, tabs: list[Tab]) -> None:
        """Since there are no members."""
        ana, ben, _ = tabs
        for tab in (ana, ben):
            tab.join("private-x")
        await settle()
        ana.whisper("private-x", "client-a", "text")
        await settle()
        assert ben.socket.decoded[-1] == {
            "event": "client-a",
            "channel": "private-x",
            "data": "text",
        }

    async def test_they_keep_their_order(self, tabs: list[Tab]) -> None:
        """Of one sender."""
        ana, ben, _ = tabs
        for tab in (ana, ben):
            tab.join("private-x")
        await settle()
        for number in range(10):
            ana.whisper("private-x", f"client-{number}", number)
        await settle()
        told = [frame["data"] for frame in ben.told() if frame["event"].startswith("client-")]
        assert told == list(range(10))

    async def test_a_bus_that_does_not_take_it_is_told_to_the_sender(
        self, tabs: list[Tab], broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With 4301; the connection stays."""

        async def refuse(message: Message) -> None:
            raise PublisherBusy("full")

        ana, *_ = tabs
        ana.join("private-x")
        await settle()
        monkeypatch.setattr(broker, "publish", refuse)
        ana.whisper("private-x", "client-a", {})
        await settle()
        assert ana.told("pusher:error")[-1]["data"]["code"] == 4301
        assert ana.socket.is_open


class TestCacheChannels:
    async def test_the_last_event_comes_before_what_is_newer(
        self, tabs: list[Tab], broker: FakeBroker
    ) -> None:
        """Nothing twice, nothing old after something new, whenever it was sent."""
        ana, *_ = tabs
        await broker.publish(message("cache-x", "1"))
        broker.held = True
        ana.subscribe("cache-x")
        await settle()
        await broker.publish(message("cache-x", "2"))  # Joined; the cache is not read yet.
        broker.release()
        await settle()
        await broker.publish(message("cache-x", "3"))  # Read; the answer is under way.
        broker.release_all()
        await settle()
        await broker.publish(message("cache-x", "4"))
        assert ana.heard("cache-x") == ["joined", "2", "3", "4"]

    async def test_the_last_event_outlives_the_last_subscriber(
        self, tabs: list[Tab], broker: FakeBroker
    ) -> None:
        """Reverb forgets it."""
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
        """Reverb keeps them."""
        ana, ben, _ = tabs
        ana.join("private-cache-x")
        await settle()
        ana.whisper("private-cache-x", "client-a", {})
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


class TestUsers:
    async def test_a_user_is_reached_wherever_signed_in(
        self, tabs: list[Tab], broker: FakeBroker
    ) -> None:
        """And nobody else."""
        one, two, other = tabs
        for tab, user in ((one, "1"), (two, "1"), (other, "2")):
            tab.sign_in(user)
            tab.subscribe(f"#server-to-user-{user}")
        await settle()
        await broker.publish(message("#server-to-user-1", '"secret"'))
        assert [tab.told("e") != [] for tab in tabs] == [True, True, False]

    async def test_ending_a_users_connections(self, tabs: list[Tab], broker: FakeBroker) -> None:
        """Those that signed in, with 4009; a member of the same id is somebody else."""
        one, two, member = tabs
        one.sign_in("1")
        two.sign_in("1")
        member.join(ROOM, "1")
        await settle()
        await broker.publish(Message(address(CONTROL), TERMINATE, '"1"'))
        assert [tab.socket.close_code for tab in tabs] == [4009, 4009, None]
        await broker.publish(Message(address(CONTROL), TERMINATE, '"1"'))
        await broker.publish(Message(f"2:{CONTROL}", TERMINATE, '"1"'))
        assert member.socket.is_open

    @pytest.mark.parametrize(("event", "data"), [("x", '"1"'), (TERMINATE, "{"), (TERMINATE, "1")])
    async def test_a_command_that_is_not_understood_is_logged(
        self,
        tabs: list[Tab],
        broker: FakeBroker,
        caplog: pytest.LogCaptureFixture,
        event: str,
        data: str,
    ) -> None:
        """It may come from a later version."""
        tabs[0].sign_in("1")
        await settle()
        await broker.publish(Message(address(CONTROL), event, data))
        assert "Ignored a command" in caplog.text
        assert tabs[0].socket.is_open

    async def test_a_user_who_has_gone_leaves_nothing_behind(self, tabs: list[Tab]) -> None:
        """Nor does one tab of two take the other along."""
        one, two, _ = tabs
        hub = one.session._hub
        one.sign_in("1")
        two.sign_in("1")
        one.session.closed()
        assert hub._users == {(APP_ID, "1"): {two.session}}
        two.session.closed()
        assert hub._users == {}


class TestWatchlists:
    @pytest_asyncio.fixture
    async def watchers(self, hub: Hub) -> list[Tab]:
        """Return four tabs of an application with watchlists."""
        return [Tab(hub, number, app=WATCHING) for number in (1, 2, 3, 4)]

    @staticmethod
    def heard(tab: Tab) -> list[dict[str, list[str]]]:
        """Return what each frame says: online or offline to ids."""
        return [
            {event["name"]: event["user_ids"] for event in frame["data"]["events"]}
            for frame in tab.told(WATCHED)
        ]

    async def test_first_who_is_there_then_each_change(self, watchers: list[Tab]) -> None:
        """A second tab is no change; the last one that goes is."""
        ana, ben, ben_too, _ = watchers
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

    async def test_a_watcher_may_come_later_and_hears_both_ways(self, watchers: list[Tab]) -> None:
        """Two who watch each other."""
        ana, ben, *_ = watchers
        ana.sign_in("1", "2")
        await settle()
        ben.sign_in("2", "1")
        await settle()
        assert self.heard(ana) == [{"offline": ["2"]}, {"online": ["2"]}]
        assert self.heard(ben) == [{"online": ["1"]}]

    async def test_who_watches_themselves_is_there(self, watchers: list[Tab]) -> None:
        """Nothing else is said of it, and nothing stays."""
        ana, *_ = watchers
        ana.sign_in("1", "1", "2")
        await settle()
        assert self.heard(ana) == [{"online": ["1"], "offline": ["2"]}]
        ana.session.closed()
        await settle()
        assert len(self.heard(ana)) == 1
        assert ana.session._hub.topics == {}

    async def test_a_change_while_reading_is_told_after(
        self, watchers: list[Tab], broker: FakeBroker
    ) -> None:
        """Once, and in order."""
        ana, ben, *_ = watchers
        await ana.session._hub.start()
        broker.held = True
        ana.sign_in("1", "2")
        for _ in range(2):  # Her own coming online: before and after its step.
            await settle()
            broker.release()
        await settle()
        broker.release()  # subscribe
        await settle()
        assert [call for call, _ in broker.waiting] == ["members"]
        enter(broker, "#watch-2", "e", "2")
        broker.release_all()
        await settle()
        assert self.heard(ana) == [{"offline": ["2"]}, {"online": ["2"]}]
        assert ben.told() == []

    async def test_who_goes_meanwhile_is_not_left_online(
        self, watchers: list[Tab], broker: FakeBroker
    ) -> None:
        """Whenever the socket was lost."""
        for steps in range(5):
            tab = Tab(watchers[0].session._hub, 10 + steps, app=WATCHING)
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
            assert tab.session._hub.topics == {}

    async def test_they_are_off_by_default(self, tabs: list[Tab], broker: FakeBroker) -> None:
        """Signing in then costs the presence nothing."""
        tabs[0].sign_in("1", "2")
        await settle()
        assert [frame["event"] for frame in tabs[0].told()] == ["pusher:signin_success"]
        assert (await broker.presence.members(address("#watch-1"))).infos == {}


class TestNumbers:
    @pytest_asyncio.fixture
    async def hub(self, broker: FakeBroker) -> AsyncIterator[Hub]:
        """Return a hub that serves an application with numbers."""
        with hub_on(broker, COUNTING) as hub:
            yield hub
            await hub.stop()

    async def test_subscribers_are_told_how_many_they_are(self, hub: Hub) -> None:
        """After the confirmation, and with each that comes or goes; not in presence channels."""
        one, two, _ = tabs = [Tab(hub, number, app=COUNTING) for number in (1, 2, 3)]
        one.subscribe("x")
        await settle()
        two.subscribe("x")
        await settle()
        two.unsubscribe("x")
        await settle()
        assert [frame["data"]["subscription_count"] for frame in one.told(COUNT)] == [1, 2, 1]
        assert [frame["event"] for frame in two.told()] == [SUCCEEDED, COUNT]
        for tab in tabs:
            tab.join(ROOM, tab.socket_id)
        await settle()
        assert len(one.told(COUNT)) == 3

    async def test_a_newcomer_is_told_though_another_has_left(self, hub: Hub) -> None:
        """In one turn of the loop: the number is the old one, but not to the newcomer."""
        one, two = [Tab(hub, number, app=COUNTING) for number in (1, 2)]
        one.subscribe("cache-x")
        await settle()
        two.subscribe("cache-x")
        one.unsubscribe("cache-x")
        await settle()
        assert [frame["event"] for frame in two.told()] == [SUCCEEDED, "pusher:cache_miss", COUNT]
        assert two.told(COUNT)[0]["data"] == {"subscription_count": 1}

    async def test_many_are_told_now_and_then(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Above a hundred, at most once in five seconds, and the last number always."""
        now = 0.0
        monkeypatch.setattr(hub._counts, "_clock", lambda: now)
        monkeypatch.setattr(counts, "MANY", 3)
        first, *others = [Tab(hub, number, app=COUNTING) for number in range(8)]
        first.subscribe("x")
        await settle()
        for tab in others:
            tab.subscribe("x")
            await settle()
        numbers = [frame["data"]["subscription_count"] for frame in first.told(COUNT)]
        assert numbers == [1, 2, 3]
        now = 4.9
        await hub._counts.announce_late()
        assert len(first.told(COUNT)) == 3
        now = 5.0
        await hub._counts.announce_late()
        await hub._counts.announce_late()
        numbers = [frame["data"]["subscription_count"] for frame in first.told(COUNT)]
        assert numbers == [1, 2, 3, 8]

    async def test_a_number_that_was_old_when_it_came_is_corrected(
        self, hub: Hub, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process had counted later and was sooner to tell."""
        publish = broker.publish

        async def overtaken(message: Message) -> None:
            monkeypatch.setattr(broker, "publish", publish)
            broker.store.count(object(), {address("x"): 1})
            await publish(replace(message, data=subscription_count_data(2)))
            await publish(message)

        monkeypatch.setattr(broker, "publish", overtaken)
        tab = Tab(hub, app=COUNTING)
        tab.subscribe("x")
        await settle()
        for _ in range(2):
            await hub._counts.announce_late()
        assert [frame["data"]["subscription_count"] for frame in tab.told(COUNT)] == [2, 1, 2]

    async def test_a_number_that_could_not_be_told_is_told_later(
        self, hub: Hub, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As long as the bus is away it waits."""

        async def fail(_: object) -> None:
            raise BroadcastError("away")

        tab = Tab(hub, app=COUNTING)
        with monkeypatch.context() as patch:
            patch.setattr(broker, "publish", fail)
            tab.subscribe("x")
            await settle()
            patch.setattr(broker.presence, "sizes", fail)
            with pytest.raises(BroadcastError):
                await hub._counts.announce_late()
        assert tab.told(COUNT) == []
        for _ in range(2):
            await hub._counts.announce_late()
        assert [frame["data"]["subscription_count"] for frame in tab.told(COUNT)] == [1]

    async def test_a_channel_is_counted_again_on_request(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """Its subscribers hear the number; those of a presence channel never do."""
        tab = Tab(hub, app=COUNTING)
        tab.subscribe("x")
        tab.join(ROOM, "1")
        await settle()
        broker.store.count(object(), {address("x"): 2, address(ROOM): 2})
        for channel in ("x", ROOM, "#server-to-user-1"):
            hub.recount(address(channel))
        for _ in range(2):
            await hub._counts.announce_late()
        assert [frame["data"]["subscription_count"] for frame in tab.told(COUNT)] == [1, 3]

    async def test_the_presence_knows_the_sockets_of_each_channel(
        self, tabs: list[Tab], broker: FakeBroker
    ) -> None:
        """Reserved channels are no channels."""
        for tab in tabs:
            tab.subscribe("x")
            tab.sign_in("1")
            tab.subscribe("#server-to-user-1")
        tabs[0].join(ROOM, "1")
        await settle()
        assert await broker.presence.occupied(APP_ID) == {"x": 3, ROOM: 1}
        assert await broker.presence.sizes([address(ROOM)]) == {address(ROOM): (1, 1)}
        for tab in tabs:
            tab.session.closed()
        await settle()
        assert await broker.presence.occupied(APP_ID) == {}


class TestQuota:
    async def test_an_application_has_so_many_sockets(self, hub: Hub) -> None:
        """Subscribed or not; a refused one does not count, a closed one makes room."""
        small = replace(APP, max_connections=2)
        one, two, three = [Tab(hub, number, app=small) for number in (1, 2, 3)]
        assert [tab.socket.close_code for tab in (one, two, three)] == [None, None, 4004]
        three.session.closed()
        assert Tab(hub, 4, app=small).socket.close_code == 4004
        one.session.closed()
        assert Tab(hub, 5, app=small).socket.is_open
        other = replace(small, id="2")
        assert Tab(hub, 6, app=other).socket.is_open

    async def test_those_of_other_processes_count(self, hub: Hub, broker: FakeBroker) -> None:
        """As far as the last heartbeat knew."""
        small = replace(APP, max_connections=2)
        Tab(hub, 1, app=small)
        other = type(broker.presence)(broker.store, broker.pause)
        await other.heartbeat({APP_ID: 1})
        await hub._keep_house(with_heartbeat=True)
        assert Tab(hub, 2, app=small).socket.close_code == 4004
