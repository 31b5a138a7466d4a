"""All kinds of channels, users, tabs and calls at once, in any order, against a simple model."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broadcasting.applications import Application
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.names import is_cache, is_encrypted, is_guarded, is_presence, is_reserved
from broadcasting.server.hub import Hub
from tests.server.fakes import APP, APP_ID, FakeBroker, Tab, address, hub_on, message, settle
from tests.utils import subscribe

USERS = 3
TABS = 5
CHANNELS = (
    *("x", "private-x", "presence-x", "private-encrypted-x"),
    *("cache-x", "private-cache-x", "presence-cache-x", "#server-to-user-0"),
)
GUARDED = tuple(name for name in CHANNELS if is_guarded(name) and not is_encrypted(name))


@st.composite
def scripts(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Return steps, as often many as few, on a few channels, so that they meet."""
    chosen = draw(st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3, unique=True))
    tab, channel = st.integers(0, TABS - 1), st.sampled_from(chosen)
    step = st.one_of(
        st.tuples(st.sampled_from(["join", "join", "leave"]), tab, channel),
        st.tuples(st.sampled_from(["send", "forge"]), tab, channel),
        st.tuples(st.just("publish"), channel, st.none() | tab),
        st.tuples(st.sampled_from(["release", "release", "release", "fail"]), st.integers(0, 3)),
        st.tuples(st.just("close"), tab),
        st.tuples(st.sampled_from(["turn", "settle", "settle", "release all", "second"])),
    )
    size = draw(st.integers(0, 80))
    return draw(st.lists(step, min_size=size, max_size=size))


@dataclass
class Room:
    """
    What one tab knows of one channel.

    Attributes:
        state: ``out``, ``asked`` or ``in``.
        last: The number of the last published event since the confirmation.
        is_fresh: Whether nothing was heard since the confirmation.
        members: Who is there, where there are members.
        count: The number of subscribers that was told last.
    """

    state: str = "out"
    last: int = 0
    is_fresh: bool = False
    members: set[str] = field(default_factory=set)
    count: int | None = None


class Visitor:
    """A tab and its books, which follow from what it said and what it was told alone."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.user = str(number % USERS)
        self.tab = Tab(world.hub, number, app=world.app)
        self.rooms = {channel: Room() for channel in CHANNELS}
        self.is_gone = False
        self.published: set[int] = set()  # The numbers it has heard as they were published.
        self.client_events: dict[tuple[str, str], int] = {}  # Channel, sender -> last number.
        self._read = 1  # The greeting.
        self.tab.sign_in(self.user)

    def join(self, channel: str) -> None:
        if is_presence(channel):
            self.tab.join(channel, self.user)
        elif is_guarded(channel):
            self.tab.join(channel)
        else:
            self.tab.subscribe(channel)
        room = self.rooms[channel]
        is_allowed = not is_reserved(channel) or channel.endswith(f"-{self.user}")
        if room.state == "out" and is_allowed:
            self.rooms[channel] = Room("asked")

    def forge(self, channel: str) -> None:
        """Ask for a channel with the signature of another socket."""
        data = json.dumps({"user_id": "forged"}) if is_presence(channel) else None
        self.tab.session.receive(subscribe(channel, auth=f"app-key:{'0' * 64}", channel_data=data))

    def leave(self, channel: str) -> None:
        """Leave a channel; what comes on it from now on is wrong."""
        self.read()
        self.tab.unsubscribe(channel)
        self.rooms[channel] = Room()

    def read(self) -> None:
        frames = self.tab.socket.decoded[self._read :]
        self._read += len(frames)
        assert not (self.is_gone and frames), "told something after it had gone"
        for frame in frames:
            channel = frame.get("channel")
            if channel is not None and frame["event"] != "pusher:subscription_error":
                self._enter(self.rooms[channel], channel, frame)

    def _enter(self, room: Room, channel: str, frame: dict[str, Any]) -> None:
        event, data = frame["event"], frame["data"]
        if event == "pusher_internal:subscription_succeeded":
            assert room.state == "asked", "confirmed without being asked, or twice"
            members = json.loads(data).get("presence", {"ids": []})["ids"]
            self.rooms[channel] = Room("in", is_fresh=True, members=set(members))
            assert len(members) == len(set(members))
            return
        assert room.state == "in", f"{event} to who is not in {channel}"
        match event:
            case "pusher:cache_miss":
                assert room.is_fresh
                assert is_cache(channel)
            case "pusher_internal:member_added":
                member = json.loads(data)["user_id"]
                assert member not in room.members, "a member who was there came"
                room.members.add(member)
            case "pusher_internal:member_removed":
                room.members.remove(json.loads(data)["user_id"])
            case "pusher_internal:subscription_count":
                room.count = json.loads(data)["subscription_count"]
            case "client-e":
                self._hear_client_event(channel, frame)
            case "e":
                self._hear(room, channel, int(data))
        room.is_fresh = False

    def _hear(self, room: Room, channel: str, number: int) -> None:
        assert number > room.last, "twice, out of order, or an older one after a newer one"
        if not (room.is_fresh and is_cache(channel)):  # The last event of a cache channel.
            assert number not in self.published, "twice"
            assert self.world.excluded.get(number) is not self, "told what it was left out of"
            self.published.add(number)
        room.last = number

    def _hear_client_event(self, channel: str, frame: dict[str, Any]) -> None:
        number = int(frame["data"])
        sender = self.world.senders[number]
        assert sender is not self, "told its own event"
        assert channel in GUARDED
        expected = {"event", "channel", "data"} | ({"user_id"} if is_presence(channel) else set())
        assert frame.keys() == expected
        assert frame.get("user_id", sender.user) == sender.user
        key = channel, sender.tab.socket_id
        assert number > self.client_events.get(key, 0), "twice or out of order"
        self.client_events[key] = number


class World:
    """Some visitors, a hub, and a bus that answers when the script says so."""

    def __init__(self, hub: Hub, broker: FakeBroker, app: Application) -> None:
        self.hub = hub
        self.broker = broker
        self.app = app
        self.number = 0
        self.opened = 0
        self.latest: dict[str, list[int]] = {channel: [] for channel in CHANNELS}
        self.excluded: dict[int, Visitor] = {}
        self.senders: dict[int, Visitor] = {}  # Of the client events that were allowed.
        self.gone: list[Visitor] = []
        self.visitors = [self.open() for _ in range(TABS)]

    def open(self) -> Visitor:
        self.opened += 1
        return Visitor(self, self.opened)

    async def play(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("join", index, channel):
                self.visitors[index].join(channel)
            case ("forge", index, channel) if is_guarded(channel):
                self.visitors[index].forge(channel)
            case ("leave", index, channel):
                self.visitors[index].leave(channel)
            case ("publish", channel, index):
                await self.publish(channel, None if index is None else self.visitors[index])
            case ("send", index, channel):
                self.send(self.visitors[index], channel)
            case ("release", index) if index < len(self.broker.waiting):
                self.broker.release(index)
            case ("fail", index) if index < len(self.broker.waiting):
                # The others do not raise, by contract.
                if self.broker.waiting[index][0] in {"subscribe", "join", "joined", "cached"}:
                    self.broker.release(index, BroadcastError("away"))
            case ("close", index):
                self.close(index)
            case ("turn",):
                await asyncio.sleep(0)
            case ("settle",):
                await settle()
            case ("release all",):
                self.broker.release_all()
                await settle()
                self.broker.held = True
            case ("second",):
                self.broker.clock.advance(1)
                await self.broker.presence.expire()
        self.look()

    async def publish(self, channel: str, excluded: Visitor | None = None) -> None:
        """Publish the next number; whoever is in hears it there and then."""
        self.number += 1
        if excluded is not None:
            self.excluded[self.number] = excluded
        self.latest[channel].append(self.number)
        socket_id = None if excluded is None else excluded.tab.socket_id
        await self.broker.publish(message(channel, str(self.number), socket_id))

    def send(self, sender: Visitor, channel: str) -> None:
        """Let a tab send a client event, which it may where it is in."""
        sender.read()
        self.number += 1
        if sender.rooms[channel].state == "in" and channel in GUARDED:
            self.senders[self.number] = sender
        sender.tab.send_event(channel, "client-e", str(self.number))

    def close(self, index: int) -> None:
        visitor = self.visitors[index]
        visitor.read()
        visitor.tab.session.closed()
        visitor.is_gone = True
        self.gone.append(visitor)
        self.visitors[index] = self.open()

    def look(self) -> None:
        for index, visitor in enumerate(self.visitors):
            visitor.read()
            for channel, room in visitor.rooms.items():
                if room.state == "in":
                    self.check_complete(visitor, channel, room)
            if not visitor.tab.socket.is_open:
                assert visitor.tab.socket.close_code == 4100
                self.close(index)  # As the server does when its client has gone.

    def check_complete(self, visitor: Visitor, channel: str, room: Room) -> None:
        """Check that who is in knows the last event, where it must."""
        meant = [n for n in self.latest[channel] if self.excluded.get(n) is not visitor]
        if is_cache(channel) and meant:
            assert room.last >= meant[-1], "the last event was missed"

    async def end(self) -> None:
        """Let everything come to rest, and compare it with the books."""
        self.broker.release_all()
        await settle()
        self.look()
        await self.rest()
        self.check_rest()
        await self.check_members()
        await self.check_delivery()
        for index in range(TABS):
            self.close(index)
        await self.rest()
        assert self.hub.topics == {}
        assert self.broker.joined == set()
        assert await self.broker.presence.occupied(APP_ID) == {}
        for channel in filter(is_presence, CHANNELS):
            assert (await self.broker.presence.members(address(channel))).infos == {}
        for visitor in self.gone:
            visitor.read()

    async def rest(self) -> None:
        await settle()
        self.broker.clock.advance(60)
        await self.broker.presence.expire()
        for _ in range(2):
            await self.hub.keep_up()
        await settle()
        self.look()

    def inside(self, channel: str) -> list[Visitor]:
        return [v for v in self.visitors if v.rooms[channel].state == "in"]

    def check_rest(self) -> None:
        """Check that nobody waits, and that the hub has the same books."""
        for visitor in self.visitors:
            assert all(room.state != "asked" for room in visitor.rooms.values())
        expected = {address(c): len(self.inside(c)) for c in CHANNELS if self.inside(c)}
        assert self.hub.topics == expected
        assert self.broker.joined == set(expected)

    async def check_members(self) -> None:
        """Check who is there, as the presence and as every tab has it, and how many."""
        occupied = {c: len(self.inside(c)) for c in CHANNELS if self.inside(c)}
        occupied.pop("#server-to-user-0", None)
        assert await self.broker.presence.occupied(APP_ID) == occupied
        for channel in CHANNELS:
            inside = self.inside(channel)
            if is_presence(channel):
                users = {visitor.user for visitor in inside}
                assert set((await self.broker.presence.members(address(channel))).infos) == users
                assert all(visitor.rooms[channel].members == users for visitor in inside)
            elif not is_reserved(channel):
                assert all(v.rooms[channel].count == len(inside) for v in inside)

    async def check_delivery(self) -> None:
        """Check that an event and a client event reach each who is in, and nobody else."""
        for channel in CHANNELS:
            await self.publish(channel)
            published = self.number
            for visitor in self.visitors:
                visitor.read()
                is_in = visitor in self.inside(channel)
                assert (published in visitor.published) is is_in
        heard: Counter[int] = Counter()
        for channel in GUARDED:
            for sender in self.inside(channel):
                self.send(sender, channel)
                await settle()
                for visitor in self.visitors:
                    visitor.read()
                    key = channel, sender.tab.socket_id
                    heard[self.number] += visitor.client_events.get(key) == self.number
                assert heard[self.number] == len(self.inside(channel)) - 1


@settings(max_examples=300, deadline=None)
@given(steps=scripts(), grace=st.sampled_from([0, 3]), is_started=st.booleans())
def test_any_order_of_things_agrees_with_the_books(
    steps: list[tuple[Any, ...]], grace: int, is_started: bool
) -> None:
    """
    Tabs join, leave, send and go, others publish, and the bus confirms late or fails.

    Nobody hears of a channel before the confirmation or after leaving, nor without a
    signature; nobody hears anything twice, out of order, or what it was left out of; an
    old event never follows a newer one. At rest all lists of members are the users who
    are there.
    """

    async def play() -> None:
        broker = FakeBroker()
        app = replace(
            APP, presence_grace=grace, subscription_count=True, max_client_event_rate=1000
        )
        with hub_on(broker, app) as hub:
            world = World(hub, broker, app)
            if is_started:
                await hub.start()
            broker.held = True
            for step in steps:
                await world.play(step)
            await world.end()
            await hub.stop()

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(play())
    finally:
        loop.close()
