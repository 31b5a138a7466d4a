"""Who hears what: the fan-out, its joins and leaves, and every interleaving of them."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broadcasting.conf import get_settings
from broadcasting.drivers.base import CONTROL, RESTART
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.errors import UserTerminated
from broadcasting.server import hub as hub_module
from broadcasting.server.hub import Hub
from broadcasting.server.hubs import get_hub, open_session, stop_hub
from tests.server.fakes import FakeBroker, FakeSocket, Tab, address, hub_on, message, settle
from tests.utils import await_until

SUBSCRIBED = ("subscribe", address("x"))
UNSUBSCRIBED = ("unsubscribe", address("x"))
CLOSED = ("close", "")


class LoopWithClock:
    """A loop whose time is another."""

    def __init__(self, loop: asyncio.AbstractEventLoop, time: Callable[[], float]) -> None:
        self._loop = loop
        self.time = time

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


async def joined_tabs(hub: Hub, count: int, channel: str = "x") -> list[Tab]:
    """Return tabs that are in `channel`."""
    tabs = [Tab(hub, number) for number in range(1, count + 1)]
    for tab in tabs:
        tab.subscribe(channel)
    await settle()
    return tabs


class TestFanOut:
    async def test_the_bus_is_joined_once_for_many_sockets(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """And connected to once."""
        await joined_tabs(hub, 5)
        assert broker.calls == [SUBSCRIBED]
        assert broker.connections == 1
        assert hub.topics == {address("x"): 5}

    async def test_it_is_left_after_the_last_one(self, hub: Hub, broker: FakeBroker) -> None:
        """Not before; nothing of the topic remains."""
        first, second = await joined_tabs(hub, 2)
        first.unsubscribe("x")
        await settle()
        assert broker.calls == [SUBSCRIBED]
        second.session.closed()
        await settle()
        assert broker.calls == [SUBSCRIBED, UNSUBSCRIBED]
        assert hub.topics == {}

    async def test_a_message_is_encoded_once(self, hub: Hub) -> None:
        """Every socket sends the very same frame."""
        tabs = await joined_tabs(hub, 3)
        assert hub.deliver(message("x", "data")) == 3
        frames = [tab.socket.frames[-1] for tab in tabs]
        assert frames[0].text == '{"event":"e","channel":"x","data":"data"}'
        assert all(frame is frames[0] for frame in frames)

    async def test_the_named_socket_is_left_out(self, hub: Hub, broker: FakeBroker) -> None:
        """Whether it is live or joining; a stranger's id leaves out nobody."""
        first, second = await joined_tabs(hub, 2)
        assert hub.deliver(message("x", "1", socket_id=first.socket_id)) == 1
        assert hub.deliver(message("x", "2", socket_id="9.9")) == 2
        assert first.heard("x") == ["joined", "2"]
        assert second.heard("x") == ["joined", "1", "2"]

        broker.held = True
        first.subscribe("y")
        await settle()
        hub.deliver(message("y", "1", socket_id=first.socket_id))
        hub.deliver(message("y", "2"))
        broker.release()
        await settle()
        assert first.heard("y") == ["joined", "2"]

    async def test_only_the_topic_hears_it(self, hub: Hub) -> None:
        """Another channel, or a channel without sockets, gets nothing."""
        (tab,) = await joined_tabs(hub, 1)
        assert hub.deliver(message("y")) == 0
        assert tab.heard("x") == ["joined"]

    async def test_a_message_that_cannot_be_encoded_is_dropped(
        self, hub: Hub, caplog: pytest.LogCaptureFixture
    ) -> None:
        """`deliver` does not raise: the reader of the bus would not survive it."""
        (tab,) = await joined_tabs(hub, 1)
        assert hub.deliver(message("x", "\ud800")) == 0
        assert hub.deliver(message("x", "1")) == 1
        assert tab.heard("x") == ["joined", "1"]
        assert "1:x" in caplog.text

    async def test_unsubscribing_takes_effect_at_once(self, hub: Hub) -> None:
        """Without a turn of the loop between."""
        (tab,) = await joined_tabs(hub, 1)
        tab.unsubscribe("x")
        assert hub.deliver(message("x")) == 0
        assert tab.heard("x") == ["joined"]

    async def test_leaving_what_was_never_joined_does_nothing(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """An adapter may say it twice."""
        (tab,) = await joined_tabs(hub, 1)
        hub.unsubscribe(tab.socket_id, "1:y")
        hub.unsubscribe("9.9", address("x"))
        await settle()
        assert hub.topics == {address("x"): 1}
        assert broker.calls == [SUBSCRIBED]


class TestBuffering:
    async def test_confirmation_then_what_was_kept_then_live(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """Nothing is missed, nothing comes twice, the order is the bus's."""
        broker.held = True
        tab = Tab(hub)
        tab.subscribe("x")
        await settle()
        broker.release()
        await settle()
        for number in ("1", "2"):
            assert hub.deliver(message("x", number)) == 0
        assert tab.heard("x") == []
        broker.release()
        # The loop has not turned: the bus has confirmed, but nobody knows yet.
        hub.deliver(message("x", "3"))
        await settle()
        hub.deliver(message("x", "4"))
        assert tab.heard("x") == ["joined", "1", "2", "3", "4"]

    async def test_two_sockets_that_wait_get_one_copy_each(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """The second does not ask the bus again."""
        await Tab(hub, 9).session._hub.start()
        broker.held = True
        tabs = [Tab(hub, number) for number in (1, 2)]
        for tab in tabs:
            tab.subscribe("x")
        await settle()
        hub.deliver(message("x", "1"))
        broker.release()
        await settle()
        hub.deliver(message("x", "2"))
        assert [tab.heard("x") for tab in tabs] == [["joined", "1", "2"]] * 2
        assert broker.calls == [SUBSCRIBED]

    async def test_what_was_kept_is_gone_with_the_attempt(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """Who leaves and comes back hears nothing from before."""
        broker.held = True
        tab = Tab(hub)
        tab.subscribe("x")
        await settle()
        broker.release()
        await settle()
        hub.deliver(message("x", "old"))
        tab.unsubscribe("x")
        tab.subscribe("x")
        await settle()
        hub.deliver(message("x", "new"))
        broker.release_all()
        await settle()
        assert tab.heard("x") == ["joined", "new"]


class TestInterleavings:
    """A late leave must not cancel a new subscriber, wherever it is overtaken."""

    async def test_a_leave_that_has_not_begun(self, hub: Hub, broker: FakeBroker) -> None:
        """It looks again, and stays."""
        (old,) = await joined_tabs(hub, 1)
        new = Tab(hub, 2)
        new.subscribe("x")
        old.unsubscribe("x")  # The topic is empty: the newcomer's task has not begun.
        await settle()
        hub.deliver(message("x", "1"))
        assert new.heard("x") == ["joined", "1"]
        assert broker.calls == [SUBSCRIBED]

    async def test_a_leave_under_way(self, hub: Hub, broker: FakeBroker) -> None:
        """The newcomer waits for it, then joins anew."""
        (old,) = await joined_tabs(hub, 1)
        broker.held = True
        old.unsubscribe("x")
        await settle()
        new = Tab(hub, 2)
        new.subscribe("x")
        await settle()
        assert broker.calls == [SUBSCRIBED, UNSUBSCRIBED]
        assert new.heard("x") == []
        broker.release()
        await settle()
        broker.release()
        await settle()
        assert broker.calls == [SUBSCRIBED, UNSUBSCRIBED, SUBSCRIBED]
        assert broker.joined == {address("x")}
        assert new.heard("x") == ["joined"]

    async def test_a_join_that_is_no_longer_wanted(self, hub: Hub, broker: FakeBroker) -> None:
        """The bus is left once it has confirmed."""
        await hub.start()
        broker.held = True
        tab = Tab(hub)
        tab.subscribe("x")
        await settle()
        tab.unsubscribe("x")
        await settle()
        broker.release()
        await settle()
        broker.release()
        await settle()
        assert broker.calls == [SUBSCRIBED, UNSUBSCRIBED]
        assert hub.topics == {}

    async def test_a_join_that_another_socket_still_wants(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """It is not made twice."""
        await hub.start()
        broker.held = True
        first, second = Tab(hub, 1), Tab(hub, 2)
        first.subscribe("x")
        await settle()
        first.unsubscribe("x")
        second.subscribe("x")
        await settle()
        broker.release()
        await settle()
        assert broker.calls == [SUBSCRIBED]
        assert second.heard("x") == ["joined"]
        assert first.heard("x") == []

    async def test_a_join_that_waits_behind_a_leave_and_is_given_up(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """The topic is forgotten by the leave; what waited on it must not touch the bus."""
        (old,) = await joined_tabs(hub, 1)
        broker.held = True
        old.unsubscribe("x")
        await settle()
        hasty, new = Tab(hub, 2), Tab(hub, 3)
        hasty.subscribe("x")
        await settle()
        hasty.unsubscribe("x")
        broker.release_all()  # The leave ends; the hasty one has the lock next.
        await asyncio.sleep(0)
        new.subscribe("x")
        await settle()
        hub.deliver(message("x", "1"))
        assert new.heard("x") == ["joined", "1"]
        assert broker.joined == {address("x")}

    async def test_a_join_that_waits_for_the_start_and_is_given_up(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """Nor when the topic was forgotten before the bus was connected to."""
        broker.held = True
        hasty, new = Tab(hub, 1), Tab(hub, 2)
        hasty.subscribe("x")
        await settle()
        hasty.unsubscribe("x")
        await settle()
        new.subscribe("x")
        await settle()
        broker.release_all()
        await settle()
        hub.deliver(message("x", "1"))
        assert new.heard("x") == ["joined", "1"]
        assert broker.joined == {address("x")}
        assert broker.calls == [SUBSCRIBED]

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

    async def test_one_who_waits_for_the_start_is_cancelled(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """The start goes on for the others."""
        broker.held = True
        task = asyncio.create_task(hub.subscribe(FakeSocket(), "1.1", address("x")))
        await settle()
        tab = Tab(hub, 2)
        tab.subscribe("x")
        await settle()
        task.cancel()
        await settle()
        broker.release_all()
        await settle()
        assert task.cancelled()
        assert tab.heard("x") == ["joined"]
        assert broker.connections == 1

    async def test_the_one_who_joins_is_cancelled(self, hub: Hub, broker: FakeBroker) -> None:
        """The next in line joins in its place."""
        await hub.start()
        broker.held = True
        first, second = FakeSocket(), Tab(hub, 2)
        task = asyncio.create_task(hub.subscribe(first, "1.1", address("x")))
        await settle()
        second.subscribe("x")
        await settle()
        task.cancel()
        broker.held = False
        await settle()
        assert task.cancelled()
        assert second.heard("x") == ["joined"]
        assert hub.topics == {address("x"): 1}


CHANNELS = ("x", "y")
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["subscribe", "unsubscribe"]),
            st.integers(0, 2),
            st.sampled_from(CHANNELS),
        ),
        st.tuples(st.just("publish"), st.sampled_from(CHANNELS)),
        st.tuples(st.sampled_from(["release", "fail"]), st.integers(0, 3)),
        st.tuples(st.just("close"), st.integers(0, 2)),
        st.tuples(st.just("turn")),
        st.tuples(st.just("settle")),
    ),
    max_size=40,
)


class Scene:
    """Three tabs, two channels, and a bus that answers when the script says so."""

    def __init__(self, hub: Hub, broker: FakeBroker) -> None:
        self.hub = hub
        self.broker = broker
        self.numbers = 0
        self.opened = 0
        self.tabs = [self.open() for _ in range(3)]
        # Frames that a tab had when it left a channel last.
        self.left: dict[tuple[Tab, str], int] = {}

    def open(self) -> Tab:
        """Open a tab."""
        self.opened += 1
        return Tab(self.hub, self.opened)

    async def play(self, step: tuple[Any, ...]) -> None:
        """Take one step."""
        match step:
            case ("subscribe", index, channel):
                self.tabs[index].subscribe(channel)
            case ("unsubscribe", index, channel):
                self.tabs[index].unsubscribe(channel)
                self.left[self.tabs[index], channel] = len(self.tabs[index].socket.frames)
            case ("publish", channel):
                await self.publish(channel)
            case ("release", index) if index < len(self.broker.waiting):
                self.broker.release(index)
            case ("fail", index) if index < len(self.broker.waiting):
                # Only a join may fail: the others do not raise, by contract.
                if self.broker.waiting[index][0] == "subscribe":
                    self.broker.release(index, BroadcastError("away"))
            case ("close", index):
                self.close(index)
            case ("turn",):
                await asyncio.sleep(0)
            case ("settle",):
                await settle()

    async def publish(self, channel: str) -> None:
        """Publish a number; whoever was confirmed must hear it there and then."""
        self.numbers += 1
        await self.broker.publish(message(channel, str(self.numbers)))
        for tab in self.tabs:
            if tab.socket.closed is None and channel in tab.connection._joined:
                assert tab.heard(channel)[-1] == str(self.numbers)

    def close(self, index: int) -> None:
        """Let the client go, and another come in its place."""
        self.tabs[index].session.closed()
        self.check_tab(self.tabs[index])
        self.tabs[index] = self.open()

    def check(self) -> None:
        """Check what holds at any time."""
        for tab in self.tabs:
            self.check_tab(tab)

    def check_tab(self, tab: Tab) -> None:
        """Check what one tab has heard."""
        for channel in CHANNELS:
            heard = tab.heard(channel)
            numbers = [int(data) for data in heard if data != "joined"]
            assert numbers == sorted(set(numbers)), "doubled or out of order"
            assert heard[:1] in ([], ["joined"]), "a message before the confirmation"
            since = self.left.get((tab, channel), 0)
            later = [f for f in tab.socket.decoded[since:] if f.get("channel") == channel]
            if later:
                assert later[0]["event"].startswith("pusher"), "a message after leaving"

    async def end(self) -> None:
        """Let everything come to rest; the bus is joined to what is listened to."""
        self.broker.release_all()
        await settle()
        for index, tab in enumerate(self.tabs):
            if tab.socket.closed is not None:
                self.close(index)
        await settle()
        wanted = [channel for tab in self.tabs for channel in tab.connection.channels]
        assert self.hub.topics == {address(c): wanted.count(c) for c in set(wanted)}
        assert self.broker.joined == set(self.hub.topics)
        for tab in self.tabs:
            assert tab.connection._joining == {}
        for channel in CHANNELS:
            await self.publish(channel)
        self.check()
        for index in range(3):
            self.close(index)
        await settle()
        assert self.hub.topics == {}
        assert self.broker.joined == set()


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, started=st.booleans())
def test_any_interleaving_ends_well(steps: list[tuple[Any, ...]], started: bool) -> None:
    """
    Sockets come, join, leave and go while the bus confirms, fails and carries messages.

    Nobody hears a message twice, before the confirmation or after leaving; at rest the
    bus is joined to exactly the topics that sockets are in.
    """

    async def play() -> None:
        broker = FakeBroker()
        with hub_on(broker) as hub:
            if started:
                await hub.start()
            broker.held = True
            scene = Scene(hub, broker)
            for step in steps:
                await scene.play(step)
                scene.check()
            await scene.end()
            await hub.stop()

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(play())
    finally:
        loop.close()


class TestSweep:
    async def test_every_open_socket_is_ticked(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With the loop's time, whether subscribed or not, until it is gone."""
        monkeypatch.setattr(hub_module, "SWEEP_EVERY", 0)
        tabs = [Tab(hub, number) for number in (1, 2)]
        await settle()
        now = asyncio.get_running_loop().time()
        assert all(0 <= now - tab.socket.ticks[-1] < 60 for tab in tabs)
        tabs[0].session.closed()
        count = len(tabs[0].socket.ticks)
        await settle()
        assert len(tabs[0].socket.ticks) == count
        assert len(tabs[1].socket.ticks) > count

    async def test_one_that_fails_does_not_end_the_sweep(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is logged; the others are ticked all the same, and it again, too."""
        monkeypatch.setattr(hub_module, "SWEEP_EVERY", 0)
        broken, sound = [Tab(hub, number) for number in (1, 2)]
        with monkeypatch.context() as patch:
            patch.setattr(broken.socket, "tick", lambda now: 1 / 0)
            await settle()
        assert "A socket could not be ticked" in caplog.text
        assert "ZeroDivisionError" in caplog.text
        counts = [len(tab.socket.ticks) for tab in (broken, sound)]
        await settle()
        assert len(broken.socket.ticks) > counts[0]
        assert len(sound.socket.ticks) > counts[1]

    async def test_each_sweep_is_reported_and_the_bus_is_timed(
        self, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """To whoever made the hub, about once a second."""
        monkeypatch.setattr(hub_module, "SWEEP_EVERY", 0)
        heartbeat = broker.presence.heartbeat

        async def slow_heartbeat(connections: Mapping[str, int]) -> Mapping[str, int]:
            await asyncio.sleep(0.02)
            return await heartbeat(connections)

        monkeypatch.setattr(broker.presence, "heartbeat", slow_heartbeat)
        swept: list[Hub] = []
        with hub_on(broker, on_sweep=swept.append) as hub:
            Tab(hub, 1)
            await await_until(lambda: hub.stats.bus_lag > 0)
            assert hub.stats.bus_lag >= 0.01
            assert set(swept) == {hub}
            await hub.stop()


class TestStart:
    async def test_a_bus_that_cannot_be_connected_is_tried_again(
        self, hub: Hub, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first socket is closed for it, the next one may find it well."""

        async def fail(listener: Hub) -> None:
            raise OSError("away")

        with monkeypatch.context() as patch:
            patch.setattr(broker, "connect", fail)
            first = Tab(hub, 1)
            first.subscribe("x")
            await settle()
        assert first.socket.close_code == 4100
        first.session.closed()
        second = Tab(hub, 2)
        second.subscribe("x")
        await settle()
        assert second.socket.is_open
        assert hub.topics == {address("x"): 1}


class TestSpawn:
    async def test_a_failure_is_logged(self, hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
        """With its traceback, once; the hub goes on."""

        async def fail() -> None:
            raise RuntimeError("A bug")

        hub.spawn(fail())
        await settle()
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("broadcasting.server", logging.ERROR)
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], RuntimeError)

    async def test_a_cancelled_task_is_not(
        self, hub: Hub, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Somebody wanted it so."""

        async def cancel() -> None:
            raise asyncio.CancelledError

        hub.spawn(cancel())
        await settle()
        assert caplog.records == []


class TestStop:
    async def test_everybody_is_asked_to_reconnect(self, hub: Hub, broker: FakeBroker) -> None:
        """With 4200, after which clients come back at once; the bus is left and closed."""
        tabs = await joined_tabs(hub, 2)
        await hub.stop()
        assert [tab.socket.closed for tab in tabs] == [(4200, "Server is going away")] * 2
        assert hub.session_count == 0
        assert hub.topics == {}
        assert broker.calls == [SUBSCRIBED, UNSUBSCRIBED, CLOSED]

    async def test_adapters_may_report_the_end_afterwards(self, hub: Hub) -> None:
        """As they do when the socket has really closed."""
        (tab,) = await joined_tabs(hub, 1)
        await hub.stop()
        tab.session.closed()
        tab.session.receive("{}")
        assert hub.topics == {}

    async def test_nothing_touches_the_bus_after_it_was_closed(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """A join under way is waited for, and left first."""
        await hub.start()
        broker.held = True
        tab = Tab(hub)
        tab.subscribe("x")
        await settle()
        stopping = asyncio.create_task(hub.stop())
        await settle()
        assert broker.calls == [SUBSCRIBED]
        broker.release_all()
        await stopping
        assert broker.calls == [SUBSCRIBED, UNSUBSCRIBED, CLOSED]
        assert hub.topics == {}

    async def test_a_hub_that_has_just_been_born_stops_too(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """Its first socket came in the same turn."""
        tab = Tab(hub)
        await asyncio.wait_for(hub.stop(), 5)
        await settle()
        assert tab.socket.close_code == 4200
        assert broker.calls == [CLOSED]
        assert hub._sweeper is not None
        assert hub._sweeper.cancelled()

    async def test_a_hub_that_nobody_used_stops_too(self, hub: Hub, broker: FakeBroker) -> None:
        """Without having connected."""
        await hub.stop()
        assert broker.connections == 0


class TestDrain:
    async def test_clients_are_sent_away_evenly(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So many in each step that the last goes when the time is over; in their order."""
        tabs = await joined_tabs(hub, 40)
        began = now = hub._loop.time()
        open_at: list[int] = []

        async def next_step(seconds: float) -> None:
            nonlocal now
            open_at.append(hub.session_count)
            now += seconds

        monkeypatch.setattr(asyncio, "sleep", next_step)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hub, "_loop", LoopWithClock(hub._loop, lambda: now))
            await hub.drain(1.0)
        assert hub.is_draining
        assert all(1 <= before - after <= 3 for before, after in pairwise([40, *open_at]))
        assert 0.9 <= now - began <= 1.1
        assert all(tab.socket.close_code == 4200 for tab in tabs)

    async def test_who_comes_meanwhile_is_sent_away_too(self, hub: Hub) -> None:
        """At once, and is never one of the hub's."""
        await hub.drain(0)
        late = Tab(hub)
        assert late.socket.closed == (4200, "Server is going away")
        assert hub.session_count == 0

    async def test_a_process_that_will_go_still_serves(self, hub: Hub) -> None:
        """`is_draining` alone is for those who ask whether it is ready."""
        hub.is_draining = True
        (tab,) = await joined_tabs(hub, 1)
        assert tab.socket.is_open


class TestStats:
    async def test_what_happens_is_counted(self, hub: Hub) -> None:
        """Connections, deliveries with their bytes, errors by their class, ends by their code."""
        tabs = await joined_tabs(hub, 3)
        hub.deliver(message("x", data="123", socket_id=tabs[0].socket_id))
        (frame,) = tabs[1].socket.frames[-1:]
        tabs[0].session.receive("nonsense")
        tabs[0].session.closed()
        tabs[1].session.dismiss(UserTerminated("Connection terminated"))
        stats = hub.stats
        assert (stats.opened, stats.closed) == (3, {None: 1, 4009: 1})
        assert (stats.delivered, stats.delivered_bytes) == (2, 2 * frame.size)
        assert stats.errors == {"InvalidFrame": 1, "UserTerminated": 1}

    async def test_whoever_was_refused_is_counted_with_the_reason(self, hub: Hub) -> None:
        """It never was a connection."""
        hub.is_closing = True
        Tab(hub)
        assert hub.stats.opened == 0
        assert hub.stats.errors == {"Reconnect": 1}

    async def test_a_slow_reader_is_counted_and_ends_in_a_moment(self, hub: Hub) -> None:
        """Not while its message is being delivered: the hub goes through the topic then."""
        tab, other = await joined_tabs(hub, 2)
        tab.session.give_up()
        assert hub.session_count == 2
        await settle()
        assert tab.socket.closed == (4100, "Too slow a reader")
        assert other.socket.is_open
        assert (hub.stats.slow_readers, hub.stats.closed) == (1, {4100: 1})


class TestBus:
    async def test_a_bus_that_does_not_answer_counts_as_away(
        self, hub: Hub, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A frozen one keeps its connections; the heartbeat finds it out, and its return."""
        await hub.start()
        assert hub.has_bus

        async def fail(connections: Mapping[str, int]) -> Mapping[str, int]:
            raise BroadcastError("no answer")

        with monkeypatch.context() as patch:
            patch.setattr(broker.presence, "heartbeat", fail)
            await hub._keep_house(with_heartbeat=True)
            found = [hub.has_bus]
        await hub._keep_house(with_heartbeat=True)
        found.append(hub.has_bus)
        broker.is_up = False
        found.append(hub.has_bus)
        assert found == [False, True, False]


class TestRestart:
    async def test_the_request_reaches_who_can_restart(self, hub: Hub, broker: FakeBroker) -> None:
        """Once for each message on the control channel; without anybody it goes nowhere."""
        asked: list[str] = []
        hub.deliver(replace(message(CONTROL), event=RESTART))
        hub.on_restart = lambda: asked.append("restart")
        hub.deliver(replace(message(CONTROL), event=RESTART))
        assert asked == ["restart"]


class TestGetHub:
    async def test_a_loop_has_one_hub(self) -> None:
        """And gets a new one after it was stopped."""
        hub = get_hub()
        assert get_hub() is hub
        await stop_hub()
        assert get_hub() is not hub
        await stop_hub()
        await stop_hub()

    async def test_loops_do_not_share(self) -> None:
        """Another loop's hub is another, and is forgotten when that loop is closed."""

        async def other() -> Hub:
            return get_hub()

        hub = get_hub()
        theirs = await asyncio.to_thread(lambda: asyncio.run(other()))
        assert theirs is not hub
        assert get_hub() is hub
        await stop_hub()


class TestOpenSession:
    @pytest.mark.parametrize(
        ("key", "version", "origin", "code"),
        [
            ("no-such-key", "7", None, 4001),
            ("", None, None, 4001),
            (None, "x", None, 4006),
            (None, "3", None, 4007),
            (None, "7", "http://evil.example", 4009),
            (None, "7", "null", 4009),
        ],
    )
    async def test_refusals(
        self, key: str | None, version: str | None, origin: str | None, code: int
    ) -> None:
        """Each with its code, in a socket that was accepted before."""
        known = get_settings().apps[0].key
        socket = FakeSocket()
        open_session(known if key is None else key, version, origin, socket)
        assert socket.close_code == code
        await stop_hub()

    @pytest.mark.parametrize("origin", [None, "http://testserver", "https://localhost:8443"])
    async def test_the_sites_own_pages_are_welcome(self, origin: str | None) -> None:
        """And clients that are no browsers."""
        socket = FakeSocket()
        session = open_session(get_settings().apps[0].key, "7", origin, socket)
        assert socket.closed is None
        assert socket.events == [("pusher:connection_established", None)]
        assert get_hub().session_count == 1
        session.closed()
        await stop_hub()

    async def test_socket_ids_are_new_and_well_formed(self) -> None:
        """Two numbers with a dot, which nobody can guess."""
        key = get_settings().apps[0].key
        sessions = [open_session(key, "7", None, FakeSocket()) for _ in range(100)]
        ids = [session.connection.socket_id for session in sessions]
        assert len(set(ids)) == 100
        for socket_id in ids:
            first, second = socket_id.split(".")
            assert first.isdecimal()
            assert second.isdecimal()
        await stop_hub()

    async def test_messages_reach_it_through_the_configured_bus(self) -> None:
        """From `publish` of the loop's broker to the socket."""
        socket = FakeSocket()
        app = get_settings().apps[0]
        session = open_session(app.key, "7", None, socket)
        session.receive('{"event":"pusher:subscribe","data":{"channel":"x"}}')
        await settle()
        await get_hub()._broker.publish(message("x", "1"))
        await settle()
        assert socket.decoded[-1] == {"event": "e", "channel": "x", "data": "1"}
        await stop_hub()
        assert socket.close_code == 4200
