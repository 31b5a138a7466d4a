"""One socket at work, from its first frame to its last."""

import asyncio
import gc
import logging
import weakref
from dataclasses import replace

import pytest

from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.connection import Connection
from broadcasting.protocol.errors import OverCapacity
from broadcasting.server.hub import Hub
from broadcasting.server.session import Session
from tests.server.fakes import APP, FakeBroker, FakeSocket, Tab, address, message, settle
from tests.utils import FakeClock, ping, pong

GREETED = ("pusher:connection_established", None)
JOINED = ("pusher_internal:subscription_succeeded", "x")


def refused_session(
    hub: Hub, origin: str | None = "http://evil.example"
) -> tuple[Session, FakeSocket]:
    """Return a session whose client was refused."""
    socket = FakeSocket()
    session = Session(hub, APP, Connection(APP, "1.1", "7"), socket, FakeClock())
    session.open(origin)
    return session, socket


class TestOpen:
    async def test_the_client_is_greeted_at_once(self, hub: Hub) -> None:
        """Without waiting for the bus; the socket counts from now on."""
        tab = Tab(hub)
        assert tab.socket.events == [GREETED]
        assert hub.session_count == 1

    async def test_a_refused_client_is_closed_with_its_code(self, hub: Hub) -> None:
        """It never counts."""
        session, socket = refused_session(hub)
        assert socket.closed == (4009, "Origin not allowed")
        assert socket.frames == []
        assert hub.session_count == 0
        session.closed()
        assert hub.session_count == 0

    @pytest.mark.parametrize("reason", ["origin", "quota"])
    async def test_a_refused_client_can_do_nothing(
        self, hub: Hub, broker: FakeBroker, reason: str
    ) -> None:
        """What it says is not even answered, and it hears of nothing."""
        if reason == "origin":
            session, socket = refused_session(hub)
        else:
            small = replace(APP, max_connections=1)
            Tab(hub, 8, app=small)
            tab = Tab(hub, 9, app=small)
            session, socket = tab.session, tab.socket
            assert socket.close_code == 4004
        session.receive('{"event":"pusher:subscribe","data":{"channel":"x"}}')
        session.receive(ping())
        await settle()
        assert hub.deliver(message("x")) == 0
        assert socket.frames == []
        assert broker.calls == []


class TestReceive:
    async def test_an_answer_is_sent_at_once(self, hub: Hub) -> None:
        """A ping needs no task."""
        tab = Tab(hub)
        tab.session.receive(ping())
        assert tab.socket.events == [GREETED, ("pusher:pong", None)]

    async def test_a_subscription_is_confirmed_after_the_bus(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """And not before."""
        broker.held = True
        tab = Tab(hub)
        tab.subscribe("x")
        await settle()
        broker.release()  # connect
        await settle()
        assert broker.calls == [("subscribe", address("x"))]
        assert tab.socket.events == [GREETED]
        broker.release()
        await settle()
        assert tab.socket.events == [GREETED, JOINED]

    async def test_applications_do_not_meet(self, hub: Hub, broker: FakeBroker) -> None:
        """The same channel of two applications is two topics."""
        for app_id in ("1", "2"):
            Tab(hub, int(app_id), app=replace(APP, id=app_id)).subscribe("x")
        await settle()
        assert broker.joined == {"1:x", "2:x"}
        assert hub.deliver(message("x")) == 1

    async def test_a_frame_that_closes_leaves_the_channels_to_the_adapter(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """The socket is told to close; `closed` then tidies up."""
        tab = Tab(hub)
        tab.subscribe("x")
        await settle()
        tab.session.receive("x" * 100_000)
        assert tab.socket.close_code == 4100
        tab.session.closed()
        await settle()
        assert hub.topics == {}
        assert broker.joined == set()


class TestFirstTurn:
    """A client may change its mind before the task of its subscription has begun."""

    async def test_leaving_in_the_same_turn_joins_nothing(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """The bus is not even asked, and nothing is received."""
        tab = Tab(hub)
        tab.subscribe("x")
        tab.unsubscribe("x")
        await settle()
        assert hub.deliver(message("x")) == 0
        assert tab.socket.events == [GREETED]
        assert hub.topics == {}
        assert broker.joined == set()

    async def test_going_in_the_same_turn_leaves_nothing_behind(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """A socket that is gone is in no topic."""
        tab = Tab(hub)
        tab.subscribe("x")
        tab.session.closed()
        await settle()
        assert hub.topics == {}
        assert broker.joined == set()
        assert hub.session_count == 0

    @pytest.mark.parametrize("joined_before", [True, False])
    async def test_coming_back_in_the_same_turn_joins_once(
        self, hub: Hub, broker: FakeBroker, joined_before: bool
    ) -> None:
        """One confirmation, and one copy of each message."""
        if joined_before:
            Tab(hub, 9).subscribe("x")
            await settle()
        tab = Tab(hub)
        tab.subscribe("x")
        tab.unsubscribe("x")
        tab.subscribe("x")
        await settle()
        hub.deliver(message("x", "1"))
        assert tab.heard("x") == ["joined", "1"]
        assert broker.joined == {address("x")}


class TestFailure:
    async def test_a_bus_that_does_not_confirm_closes_with_4100(
        self, hub: Hub, broker: FakeBroker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The client comes back by itself and joins all its channels again."""
        tab = Tab(hub)
        await settle()
        broker.held = True
        tab.subscribe("x")
        await settle()
        broker.release(error=BroadcastError("Redis is away"))
        await settle()
        assert tab.socket.closed == (4100, "Subscriptions are unavailable, try again")
        assert tab.socket.events == [GREETED]
        assert hub.topics == {}
        assert caplog.record_tuples == [
            ("broadcasting.server", logging.WARNING, "Cannot subscribe to 1:x: Redis is away")
        ]

    async def test_the_next_client_is_served_again(self, hub: Hub, broker: FakeBroker) -> None:
        """A failure is not remembered."""
        first, second = Tab(hub, 1), Tab(hub, 2)
        await settle()
        broker.held = True
        first.subscribe("x")
        await settle()
        second.subscribe("x")
        await settle()
        broker.release(error=BroadcastError("Redis is away"))
        broker.held = False
        await settle()
        assert first.socket.close_code == 4100
        assert second.heard("x") == ["joined"]
        assert broker.calls == [("subscribe", address("x"))] * 2
        first.session.closed()
        await settle()
        assert hub.deliver(message("x")) == 1
        assert broker.joined == {address("x")}

    async def test_an_unexpected_error_closes_too_and_is_logged_in_full(
        self, hub: Hub, broker: FakeBroker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No page is left waiting for a confirmation that never comes."""
        tab = Tab(hub)
        await settle()
        broker.held = True
        tab.subscribe("x")
        await settle()
        broker.release(error=RuntimeError("A bug"))
        await settle()
        assert tab.socket.close_code == 4100
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert record.exc_info is not None

    async def test_a_failure_for_a_channel_that_was_left_does_not_close(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """Nobody waits for it any more."""
        tab = Tab(hub)
        await settle()
        broker.held = True
        tab.subscribe("x")
        await settle()
        tab.unsubscribe("x")
        broker.release(error=BroadcastError("Redis is away"))
        await settle()
        assert tab.socket.closed is None
        assert hub.topics == {}

    async def test_a_failure_after_the_client_has_gone_says_nothing(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """Its socket is not touched."""
        tab = Tab(hub)
        await settle()
        broker.held = True
        tab.subscribe("x")
        await settle()
        tab.session.closed()
        broker.release(error=BroadcastError("Redis is away"))
        await settle()
        assert tab.socket.closed is None
        assert hub.topics == {}

    async def test_other_subscriptions_of_a_closed_socket_stay_silent(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """Those that are confirmed after the close are not passed on, and are given up."""
        tab = Tab(hub)
        await settle()
        broker.held = True
        tab.subscribe("x", "y")
        await settle()
        broker.release(error=BroadcastError("Redis is away"))
        await settle()
        broker.release_all()
        await settle()
        assert tab.socket.events == [GREETED]
        assert tab.connection.frames_to_send() == []
        tab.session.closed()
        await settle()
        assert hub.topics == {}
        assert broker.joined == set()


class TestTick:
    async def test_socket_and_connection_notice_the_time(self, hub: Hub) -> None:
        """Silence is pinged, then given up."""
        tab = Tab(hub)
        for _ in range(2):
            tab.session.tick(tab.clock.advance(30))
        assert tab.socket.ticks == [1030.0, 1060.0]
        assert tab.socket.events == [GREETED, ("pusher:ping", None)]
        assert tab.socket.closed == (4202, "Nothing subscribed and nothing said")

    async def test_the_time_of_a_frame_is_the_clocks(self, hub: Hub) -> None:
        """A pong that comes late is still one that came."""
        tab = Tab(hub)
        tab.session.tick(tab.clock.advance(30))
        tab.clock.advance(29)
        tab.session.receive(pong())
        tab.session.tick(tab.clock.advance(29))
        assert tab.socket.closed is None
        assert tab.connection.pongs == 1


class TestClosed:
    async def test_twice_is_once(self, hub: Hub, broker: FakeBroker) -> None:
        """Server and client may both end it."""
        tab = Tab(hub)
        tab.subscribe("x", "y")
        await settle()
        for _ in range(2):
            tab.session.closed()
            await settle()
        assert hub.session_count == 0
        assert hub.topics == {}
        unsubscribed = [call for call in broker.calls if call[0] == "unsubscribe"]
        assert sorted(unsubscribed) == [("unsubscribe", "1:x"), ("unsubscribe", "1:y")]

    async def test_the_second_time_does_not_take_what_another_socket_has(self, hub: Hub) -> None:
        """A late `closed` costs nobody else a subscription."""
        gone, other = Tab(hub, 1), Tab(hub, 2)
        gone.subscribe("x")
        await settle()
        gone.session.closed()
        other.subscribe("x")
        gone.session.closed()
        await settle()
        hub.deliver(message("x", "1"))
        assert other.heard("x") == ["joined", "1"]

    async def test_nothing_of_a_client_is_kept(self, hub: Hub) -> None:
        """Neither what it was in nor what was counted of it, such as its client events."""
        tab = Tab(hub)
        tab.sign_in("1")
        tab.subscribe("x")
        tab.join("presence-x", "1")
        await settle()
        for number in range(20):
            tab.whisper("presence-x", "client-a", number)
        await settle()
        connection = weakref.ref(tab.connection)
        tab.session.closed()
        del tab
        await settle()
        gc.collect()
        assert connection() is None

    async def test_frames_that_come_after_it_are_ignored(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """An adapter may have one in its hands still."""
        tab = Tab(hub)
        tab.session.closed()
        tab.subscribe("x")
        tab.session.receive(ping())
        await settle()
        assert tab.socket.events == [GREETED]
        assert broker.calls == []

    @pytest.mark.parametrize("held_call", ["connect", "subscribe"])
    async def test_while_subscribing_it_leaves_nothing_behind(
        self, hub: Hub, broker: FakeBroker, held_call: str
    ) -> None:
        """Whether the bus was being connected to or being joined."""
        broker.held = True
        tab = Tab(hub)
        tab.subscribe("x")
        await settle()
        if held_call == "subscribe":
            broker.release()
            await settle()
        assert [call for call, _ in broker.waiting] == [held_call]
        tab.session.closed()
        await settle()
        broker.release_all()
        await settle()
        assert hub.topics == {}
        assert broker.joined == set()
        assert tab.socket.events == [GREETED]


class TestOverflow:
    async def test_too_much_while_subscribing_closes_with_4100(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """The limit is in bytes of frames; the last byte is allowed."""
        broker.held = True
        tab = Tab(hub)
        tab.subscribe("x")
        await settle()
        broker.release()
        await settle()
        envelope = len('{"event":"e","channel":"x","data":""}')
        hub.deliver(message("x", "d" * (hub.MAX_BUFFERED - envelope)))
        assert tab.socket.is_open
        hub.deliver(message("x", ""))
        assert tab.socket.closed == (OverCapacity.code, "Too many messages while subscribing")
        hub.deliver(message("x", ""))
        broker.release_all()
        await settle()
        assert tab.socket.events == [GREETED]

    async def test_it_costs_only_the_socket_that_waits(self, hub: Hub, broker: FakeBroker) -> None:
        """Those that are live get every message."""
        live, late = Tab(hub, 1), Tab(hub, 2)
        live.subscribe("x")
        await settle()
        # A socket that is joining while the bus is already joined waits for nobody, so
        # its turn has to be held up: by the topic's lock.
        hub.MAX_BUFFERED = 10
        task = asyncio.create_task(hub.subscribe(late.socket, late.socket_id, address("x")))
        async with hub._topics[address("x")].lock:
            await settle()
            assert hub.deliver(message("x", "1")) == 1
        await task
        assert live.heard("x") == ["joined", "1"]
        assert live.socket.closed is None
        assert late.socket.close_code == 4100
