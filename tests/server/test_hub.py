"""Who receives what, and how a hub starts, sweeps, drains and stops."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest

from broadcasting.drivers.base import CONTROL, RESTART, TERMINATE
from broadcasting.drivers.serving import is_serving_here
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.errors import UserTerminated
from broadcasting.server import hub as hub_module
from broadcasting.server.hub import Hub
from tests.server.fakes import APP, APP_ID, FakeBroker, Tab, address, hub_on, message, settle
from tests.utils import await_until

SUBSCRIBED = ("subscribe", address("x"))
UNSUBSCRIBED = ("unsubscribe", address("x"))
CLOSED = ("close", "")


async def joined_tabs(hub: Hub, count: int, channel: str = "x") -> list[Tab]:
    tabs = [Tab(hub, number) for number in range(1, count + 1)]
    for tab in tabs:
        tab.subscribe(channel)
    await settle()
    return tabs


class TestFanOut:
    async def test_a_message_is_encoded_once(self, hub: Hub) -> None:
        """Every socket of the topic sends the very same frame; other topics send nothing."""
        tabs = await joined_tabs(hub, 3)
        assert hub.deliver(message("y")) == 0
        assert hub.deliver(message("x", "data")) == 3
        frames = [tab.socket.frames[-1] for tab in tabs]
        assert frames[0].text == '{"event":"e","channel":"x","data":"data"}'
        assert all(frame is frames[0] for frame in frames)

    async def test_the_named_socket_is_left_out(self, hub: Hub) -> None:
        first, second = await joined_tabs(hub, 2)
        assert hub.deliver(message("x", "1", socket_id=first.socket_id)) == 1
        assert hub.deliver(message("x", "2", socket_id="9.9")) == 2
        assert first.heard("x") == ["joined", "2"]
        assert second.heard("x") == ["joined", "1", "2"]

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
        (tab,) = await joined_tabs(hub, 1)
        tab.unsubscribe("x")
        assert hub.deliver(message("x")) == 0
        assert tab.heard("x") == ["joined"]


class TestCommands:
    async def test_a_restart_reaches_whoever_can_restart(self, hub: Hub) -> None:
        await hub.start()
        await settle()
        asked: list[str] = []
        hub.deliver(replace(message(CONTROL), event=RESTART))
        hub.on_restart = lambda: asked.append("restart")
        assert hub.deliver(replace(message(CONTROL), event=RESTART)) == 0
        assert asked == ["restart"]

    async def test_control_topics_are_joined_in_time(
        self, hub: Hub, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hub_module, "SWEEP_EVERY", 0)
        subscribe, failures = broker.subscribe, iter([BroadcastError("away")] * 3)

        async def fail_first(topic: str) -> None:
            if (failure := next(failures, None)) is not None:
                raise failure
            await subscribe(topic)

        monkeypatch.setattr(broker, "subscribe", fail_first)
        await hub.start()
        await await_until(lambda: broker.joined_controls == {address(CONTROL)})
        assert hub.topics == {}

    @pytest.mark.parametrize(("event", "data"), [("x", '"1"'), (TERMINATE, "{"), (TERMINATE, "1")])
    async def test_a_command_that_is_not_understood_is_logged(
        self, hub: Hub, caplog: pytest.LogCaptureFixture, event: str, data: str
    ) -> None:
        tab = Tab(hub)
        tab.sign_in("1")
        await settle()
        hub.deliver(replace(message(CONTROL, data), event=event))
        assert "Ignored a command" in caplog.text
        assert tab.socket.is_open


class TestSweep:
    @pytest.fixture(autouse=True)
    def _hasty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hub_module, "SWEEP_EVERY", 0)

    async def test_every_open_socket_is_ticked(self, hub: Hub) -> None:
        tabs = [Tab(hub, number) for number in (1, 2)]
        await settle()
        now = asyncio.get_running_loop().time()
        assert all(0 <= now - tab.socket.ticks[-1] < 60 for tab in tabs)
        tabs[0].session.closed()
        counts = [len(tab.socket.ticks) for tab in tabs]
        await settle()
        assert len(tabs[0].socket.ticks) == counts[0]
        assert len(tabs[1].socket.ticks) > counts[1]

    async def test_a_socket_that_fails_does_not_end_it(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is logged; the others are ticked all the same, and it again, too."""
        broken, sound = [Tab(hub, number) for number in (1, 2)]
        with monkeypatch.context() as patch:
            patch.setattr(broken.socket, "tick", lambda now: 1 / 0)
            await settle()
        assert "ZeroDivisionError" in caplog.text
        counts = [len(tab.socket.ticks) for tab in (broken, sound)]
        await settle()
        assert len(broken.socket.ticks) > counts[0]
        assert len(sound.socket.ticks) > counts[1]

    async def test_it_is_reported_and_the_bus_is_timed(
        self, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        heartbeat = broker.presence.heartbeat

        async def slow_heartbeat(connections: Mapping[str, int]) -> Mapping[str, int]:
            await asyncio.sleep(0.02)
            return await heartbeat(connections)

        monkeypatch.setattr(broker.presence, "heartbeat", slow_heartbeat)
        swept: list[Hub] = []
        with hub_on(broker, on_sweep=swept.append) as hub:
            await hub.start()
            await await_until(lambda: hub.stats.bus_lag > 0)
            assert hub.stats.bus_lag >= 0.01
            assert set(swept) == {hub}
            await hub.stop()

    async def test_a_bus_that_does_not_answer_counts_as_away(
        self, hub: Hub, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A frozen one keeps its connections; the heartbeat finds it out, and its return."""

        async def fail(connections: Mapping[str, int]) -> Mapping[str, int]:
            raise BroadcastError("no answer")

        found = [hub.has_bus]
        with monkeypatch.context() as patch:
            patch.setattr(broker.presence, "heartbeat", fail)
            await hub.keep_up(with_heartbeat=True)
            found.append(hub.has_bus)
        await hub.keep_up(with_heartbeat=True)
        found.append(hub.has_bus)
        broker.is_up = False
        assert [*found, hub.has_bus] == [True, False, True, False]


class TestQuota:
    async def test_an_application_has_so_many_connections(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """Subscribed or not, here and elsewhere; a refused one does not count."""
        small = replace(APP, max_connections=3)
        others = type(broker.presence)(broker.store, broker.pause)
        await others.heartbeat({APP_ID: 1})
        await hub.keep_up(with_heartbeat=True)
        one, two, three = [Tab(hub, number, app=small) for number in (1, 2, 3)]
        assert [tab.socket.close_code for tab in (one, two, three)] == [None, None, 4004]
        three.session.closed()
        assert Tab(hub, 4, app=small).socket.close_code == 4004
        one.session.closed()
        assert Tab(hub, 5, app=small).socket.is_open
        assert Tab(hub, 6, app=replace(small, id="2")).socket.is_open


class TestStart:
    async def test_a_bus_that_cannot_be_connected_is_tried_again(
        self, hub: Hub, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
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

    @pytest.mark.parametrize("is_cancelled", [True, False])
    async def test_a_task_that_fails_is_logged(
        self, hub: Hub, caplog: pytest.LogCaptureFixture, is_cancelled: bool
    ) -> None:
        """With its traceback, once; not so one that was cancelled. The hub goes on."""

        async def fail() -> None:
            raise asyncio.CancelledError if is_cancelled else RuntimeError("A bug")

        hub.spawn(fail())
        await settle()
        levels = [record.levelno for record in caplog.records if record.exc_info]
        assert levels == ([] if is_cancelled else [logging.ERROR])


class TestEnd:
    async def test_everybody_is_asked_to_reconnect(self, hub: Hub, broker: FakeBroker) -> None:
        """With 4200, after which clients come back at once; the bus is left and closed."""
        tabs = await joined_tabs(hub, 2)
        assert is_serving_here()
        await hub.stop()
        assert not is_serving_here()
        assert [tab.socket.closed for tab in tabs] == [(4200, "Server is going away")] * 2
        assert (hub.session_count, hub.topics) == (0, {})
        assert broker.calls == [SUBSCRIBED, UNSUBSCRIBED, CLOSED]
        for tab in tabs:  # Adapters report the end when the socket has really closed.
            tab.session.closed()
            tab.session.receive("{}")
        assert hub.topics == {}

    async def test_nothing_touches_the_bus_after_it_was_closed(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
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

    @pytest.mark.parametrize("has_client", [True, False])
    async def test_a_hub_that_was_hardly_used_stops_too(
        self, hub: Hub, broker: FakeBroker, has_client: bool
    ) -> None:
        """Its first client came in the same turn, or never; no task remains."""
        before = asyncio.all_tasks()
        tabs = [Tab(hub)] * has_client
        await asyncio.wait_for(hub.stop(), 30)
        await settle()
        assert [tab.socket.close_code for tab in tabs] == [4200] * has_client
        assert broker.calls == [CLOSED]
        assert asyncio.all_tasks() == before

    async def test_a_drain_closes_evenly(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        tabs = await joined_tabs(hub, 40)
        loop, sleep = asyncio.get_running_loop(), asyncio.sleep
        began = now = loop.time()
        counts: list[int] = [40]

        async def next_step(seconds: float) -> None:
            nonlocal now
            counts.append(hub.session_count)
            now += seconds
            await sleep(0)

        monkeypatch.setattr(loop, "time", lambda: now)
        monkeypatch.setattr(asyncio, "sleep", next_step)
        await hub.drain(1.0)
        monkeypatch.undo()
        assert hub.is_draining
        assert all(0 <= before - after <= 3 for before, after in pairwise(counts))
        assert 0.9 <= now - began <= 1.1
        assert all(tab.socket.close_code == 4200 for tab in tabs)
        late = Tab(hub)
        assert late.socket.closed == (4200, "Server is going away")
        assert hub.session_count == 0


async def test_what_happens_is_counted(hub: Hub) -> None:
    tabs = await joined_tabs(hub, 4)
    hub.deliver(message("x", data="123", socket_id=tabs[0].socket_id))
    (frame,) = tabs[1].socket.frames[-1:]
    tabs[0].session.receive("nonsense")
    tabs[0].session.closed()
    tabs[1].session.close(UserTerminated("Connection terminated"))
    tabs[2].session.close_slow_reader()
    hub.is_closing = True
    Tab(hub)  # It never was a connection.
    stats = hub.stats
    assert (stats.opened, stats.closed) == (4, {None: 1, 4009: 1})
    assert (stats.delivered, stats.delivered_bytes) == (3, 3 * frame.size)
    assert stats.errors == {"InvalidFrame": 1, "UserTerminated": 1, "Reconnect": 1}
    # Not while its message is being delivered: the hub goes through the topic then.
    assert hub.session_count == 2
    await settle()
    assert tabs[2].socket.closed == (4100, "Too slow a reader")
    assert (stats.slow_readers, stats.closed[4100], hub.session_count) == (1, 1, 1)
