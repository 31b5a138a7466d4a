"""One socket at work, from its first frame to its last."""

import gc
import logging
import weakref
from dataclasses import replace

import pytest

from broadcasting.exceptions import BroadcastError, PublisherBusy
from broadcasting.protocol.messages import Message
from broadcasting.server.hub import Hub
from tests.server.fakes import APP, FakeBroker, Tab, address, message, settle
from tests.utils import ping, pong, subscribe

GREETED = ("pusher:connection_established", None)
JOINED = ("pusher_internal:subscription_succeeded", "x")
ROOM = "presence-room"


class TestOpen:
    async def test_the_client_is_greeted_at_once(self, hub: Hub) -> None:
        """Without waiting for the bus; the socket counts from now on. A ping needs no task."""
        tab = Tab(hub)
        assert tab.socket.events == [GREETED]
        assert hub.session_count == 1
        tab.session.receive(ping())
        assert tab.socket.events == [GREETED, ("pusher:pong", None)]

    @pytest.mark.parametrize(
        ("origin", "quota", "code"), [("http://evil.example", None, 4009), (None, 0, 4004)]
    )
    async def test_a_client_that_may_not_stay_is_closed(
        self, hub: Hub, broker: FakeBroker, origin: str | None, quota: int | None, code: int
    ) -> None:
        app = replace(APP, max_connections=quota)
        tab = Tab(hub, app=app, origin=origin)
        assert (tab.socket.close_code, hub.session_count) == (code, 0)
        tab.subscribe("x")
        tab.session.receive(ping())
        await settle()
        tab.session.closed()
        assert hub.deliver(message("x")) == 0
        assert (tab.socket.frames, broker.calls, hub.session_count) == ([], [], 0)


class TestSubscribe:
    async def test_it_is_confirmed_after_the_bus(self, hub: Hub, broker: FakeBroker) -> None:
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

    @pytest.mark.parametrize("way", ["unsubscribe", "close"])
    async def test_changing_ones_mind_in_the_same_turn_joins_nothing(
        self, hub: Hub, broker: FakeBroker, way: str
    ) -> None:
        """The task of the subscription has not begun: the bus is not even asked."""
        tab = Tab(hub)
        tab.subscribe("x")
        if way == "close":
            tab.session.closed()
        else:
            tab.unsubscribe("x")
        await settle()
        assert hub.deliver(message("x")) == 0
        assert tab.socket.events == [GREETED]
        assert (hub.topics, broker.joined) == ({}, set())


class TestFailure:
    @pytest.mark.parametrize(
        ("error", "level"),
        [(BroadcastError("away"), logging.WARNING), (RuntimeError("A bug"), logging.ERROR)],
    )
    async def test_a_bus_that_does_not_confirm_closes_with_4100(
        self,
        hub: Hub,
        broker: FakeBroker,
        caplog: pytest.LogCaptureFixture,
        error: Exception,
        level: int,
    ) -> None:
        """The client comes back by itself and joins its channels again; the next is served."""
        first, second = Tab(hub, 1), Tab(hub, 2)
        await hub.start()
        broker.held = True
        first.subscribe("x", "y")
        await settle()
        second.subscribe("x")
        await settle()
        broker.release(error=error)
        broker.release_all()
        await settle()
        assert first.socket.closed == (4100, "Subscriptions are unavailable, try again")
        assert first.socket.events == [GREETED]  # Of y, which was confirmed later, nothing.
        assert second.heard("x") == ["joined"]
        (record,) = caplog.records
        assert (record.levelno, bool(record.exc_info)) == (level, level == logging.ERROR)
        assert "1:x" in record.getMessage()
        first.session.closed()
        await settle()
        assert broker.joined == {address("x")}
        assert hub.deliver(message("x")) == 1

    @pytest.mark.parametrize("way", ["unsubscribe", "close"])
    async def test_a_failure_that_matters_to_nobody_does_not_close(
        self, hub: Hub, broker: FakeBroker, way: str
    ) -> None:
        tab = Tab(hub)
        await hub.start()
        broker.held = True
        tab.subscribe("x")
        await settle()
        if way == "close":
            tab.session.closed()
        else:
            tab.unsubscribe("x")
        broker.release(error=BroadcastError("away"))
        await settle()
        assert tab.socket.closed is None
        assert hub.topics == {}

    async def test_a_client_event_that_is_not_taken_is_refused(
        self, hub: Hub, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With 4301; the connection goes on. A client that has gone is not told."""

        async def refuse(message: Message) -> None:
            raise PublisherBusy("full")

        tab, gone = [Tab(hub, number) for number in (1, 2)]
        tab.join("private-x")
        gone.join("private-x")
        await settle()
        monkeypatch.setattr(broker, "publish", refuse)
        tab.send_event("private-x", "client-a", {})
        gone.send_event("private-x", "client-a", {})
        gone.session.closed()
        await settle()
        assert tab.told("pusher:error")[-1]["data"]["code"] == 4301
        assert tab.socket.is_open
        assert gone.told("pusher:error") == []


class TestClientEvents:
    async def test_everybody_else_receives_them(self, hub: Hub) -> None:
        """Other tabs of the same user included; a member is named, and the sender left out."""
        ana, again, ben = [Tab(hub, number) for number in (1, 2, 3)]
        for tab, user in ((ana, "1"), (again, "1"), (ben, "2")):
            tab.join(ROOM, user)
            tab.join("private-x")
        await settle()
        ana.send_event(ROOM, "client-typing", {"on": True})
        for number in range(9):
            ana.send_event("private-x", "client-typing", number)
        await settle()
        named = {"event": "client-typing", "channel": ROOM, "data": {"on": True}, "user_id": "1"}
        in_order = [
            {"event": "client-typing", "channel": "private-x", "data": number}
            for number in range(9)
        ]
        assert again.told("client-typing") == ben.told("client-typing") == [named, *in_order]
        assert ana.told("client-typing") == []


class TestTick:
    async def test_a_silent_client_is_pinged_then_closed(self, hub: Hub) -> None:
        tab = Tab(hub)
        for _ in range(2):
            tab.session.tick(tab.clock.advance(30))
        assert tab.socket.ticks == [1030.0, 1060.0]
        assert tab.socket.events == [GREETED, ("pusher:ping", None)]
        assert tab.socket.closed == (4202, "Nothing subscribed and nothing said")

    async def test_any_sign_of_life_is_one(self, hub: Hub) -> None:
        """At the time of the clock: a pong, and a frame that is no message."""
        tab = Tab(hub)
        for is_message in (True, False):
            tab.session.tick(tab.clock.advance(30))
            tab.clock.advance(29)
            if is_message:
                tab.session.receive(pong())
            else:
                tab.session.note_activity()
            tab.session.tick(tab.clock.advance(29))
        assert tab.socket.closed is None
        assert tab.connection.pongs == 1


class TestClosed:
    async def test_a_frame_that_closes_leaves_the_rest_to_the_adapter(
        self, hub: Hub, broker: FakeBroker
    ) -> None:
        """The socket is told to close; `closed` then leaves the channels, once."""
        tab = Tab(hub)
        tab.subscribe("x", "y")
        await settle()
        tab.session.receive("x" * 100_000)
        assert tab.socket.close_code == 4100
        for _ in range(2):
            tab.session.closed()
            await settle()
        assert (hub.session_count, hub.topics, broker.joined) == (0, {}, set())
        unsubscribed = [call for call in broker.calls if call[0] == "unsubscribe"]
        assert sorted(unsubscribed) == [("unsubscribe", "1:x"), ("unsubscribe", "1:y")]

    async def test_a_late_one_takes_nothing_from_others(self, hub: Hub, broker: FakeBroker) -> None:
        gone, other = Tab(hub, 1), Tab(hub, 2)
        gone.subscribe("x")
        await settle()
        gone.session.closed()
        other.subscribe("x")
        gone.session.closed()
        gone.session.receive(subscribe("y"))
        gone.session.receive(ping())
        await settle()
        hub.deliver(message("x", "1"))
        assert other.heard("x") == ["joined", "1"]
        assert gone.socket.events == [GREETED, JOINED]
        assert broker.joined == {address("x")}

    async def test_nothing_of_a_client_is_kept(self, hub: Hub) -> None:
        tab = Tab(hub)
        tab.sign_in("1")
        tab.subscribe("x")
        tab.join(ROOM, "1")
        await settle()
        for number in range(20):
            tab.send_event(ROOM, "client-a", number)
        await settle()
        connection = weakref.ref(tab.connection)
        tab.session.closed()
        del tab
        await settle()
        gc.collect()
        assert connection() is None
