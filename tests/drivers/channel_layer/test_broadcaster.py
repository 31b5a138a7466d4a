"""The channel layer driver, over every layer that ships with Channels."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from broadcasting.applications import Application
from broadcasting.drivers import serving
from broadcasting.drivers.base import Broadcaster, Broker
from broadcasting.drivers.channel_layer.broadcaster import ChannelLayerBroadcaster
from broadcasting.drivers.channel_layer.broker import ChannelLayerBroker
from broadcasting.drivers.channel_layer.groups import GapCounter, GroupQueue, group_of
from broadcasting.drivers.channel_layer.layers import find_layer
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.messages import Message
from tests.conftest import RedisServer
from tests.drivers.contract import (
    FIRST,
    Inbox,
    Node,
    PresenceContract,
    RefusalContract,
    SharedContract,
)
from tests.utils import FakeClock, await_until, free_port


class LayerContract(PresenceContract, RefusalContract):
    """What holds over every layer."""

    async def advance(self, seconds: float) -> None:
        """Move the clock."""
        self.clock.advance(seconds)

    async def make_node(self, broadcaster: Broadcaster) -> Node:
        """Return a node whose presence goes by the test's clock."""
        node = await super().make_node(broadcaster)
        assert isinstance(node.broker, ChannelLayerBroker)
        node.broker.presence._store.clock = self.clock
        return node

    @pytest.fixture(autouse=True)
    def _clock(self) -> None:
        self.clock = FakeClock()

    def make(self, app: Application = FIRST) -> Broadcaster:
        """Return a write end over the layer of the settings in force."""
        return ChannelLayerBroadcaster(
            app=app, first_app_id="1", url=f"http://127.0.0.1:{free_port()}"
        )

    @pytest.fixture(autouse=True)
    def _patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    async def refuse(self, broadcaster: Broadcaster) -> Broadcaster:
        """Return a write end over a layer that has no room for one group."""
        layer = find_layer("default")
        send: Callable[..., Any] = layer.group_send

        async def group_send(group: str, message: dict[str, Any]) -> None:
            if group == group_of("1:refused"):
                raise ChannelFull
            await send(group, message)

        self.monkeypatch.setattr(layer, "group_send", group_send)
        return broadcaster

    async def test_joins_again_after_being_forgotten(
        self, broadcaster: Broadcaster, inbox: Inbox
    ) -> None:
        """A membership that the layer lost is back with the next round of joining."""
        broker = broadcaster.get_broker()
        assert isinstance(broker, ChannelLayerBroker)
        broker.PROBE_EVERY = broker.JOIN_EVERY = 0.05
        await broker.connect(inbox)
        await broker.subscribe("1:whik")
        mailbox = broker._mailbox
        assert mailbox is not None
        await find_layer("default").group_discard(group_of("1:whik"), mailbox)

        async def send_and_look() -> bool:
            await broadcaster.abroadcast(["whik"], "Hello", "{}")
            return bool(inbox)

        await await_until(send_and_look)
        await broker.close()

    async def test_malformed_messages_are_dropped(
        self, broker: Broker, inbox: Inbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A foreign message in the group is one warning, and the next good one arrives."""
        await broker.subscribe("1:whik")
        layer = find_layer("default")
        bad: list[dict[str, Any]] = [
            {"type": "something.else"},
            {"type": "broadcasting.message", "topic": 7},
            {"type": "broadcasting.probe"},
        ]
        for body in bad:
            await layer.group_send(group_of("1:whik"), body)
        await broker.publish(Message("1:whik", "Good", "{}"))
        await inbox.wait_for(1)
        assert [m.event for m in inbox] == ["Good"]
        assert caplog.text.count("malformed") == 2

    async def test_what_the_layer_drops_is_counted(
        self, broker: ChannelLayerBroker, inbox: Inbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A hole in a sender's numbers is counted and logged with the channel's name."""
        await broker.subscribe("1:whik")
        layer = find_layer("default")
        for number in (5, 6, 9, 10):
            body = {
                "type": "broadcasting.message",
                "topic": "1:whik",
                "event": "X",
                "data": "{}",
                "socket": None,
                "user": None,
                "sender": "s",
                "number": number,
            }
            await layer.group_send(group_of("1:whik"), body)
        await inbox.wait_for(4)
        assert broker.lost == 2
        assert "dropped 2 messages on whik (2 in all)" in caplog.text


class RedisLayerContract(LayerContract, SharedContract):
    """What holds over layers on Redis."""

    LACKS = ["broadcasting.I001", "broadcasting.W002"]

    def layers(self, server: RedisServer) -> dict[str, Any]:
        """Return the value of ``CHANNEL_LAYERS``."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _layer(self, redis_server: RedisServer) -> Iterator[None]:
        with override_settings(CHANNEL_LAYERS=self.layers(redis_server)):
            yield

    async def test_comes_back_after_a_restart(
        self,
        broadcaster: Broadcaster,
        broker: ChannelLayerBroker,
        inbox: Inbox,
        redis_server: RedisServer,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A killed and restarted, empty Redis costs one line each way and groups are back."""
        # channels_redis writes a traceback of its own every second.
        caplog.set_level("CRITICAL", "channels_redis")
        caplog.set_level("INFO", "broadcasting.drivers")
        await broker.subscribe("1:whik")
        assert (broker.is_up, broker.reconnects) == (True, 0)
        await asyncio.to_thread(redis_server.stop)
        await await_until(lambda: "Lost channel layer" in caplog.text)
        assert not broker.is_up
        with pytest.raises(BroadcastError, match="did not take the message"):
            await broadcaster.abroadcast(["whik"], "Hello", "{}")
        await asyncio.to_thread(redis_server.start)
        await await_until(lambda: "is back; 1 groups" in caplog.text, timeout=15)
        assert (broker.is_up, broker.reconnects) == (True, 1)
        await broadcaster.abroadcast(["whik"], "Hello", "{}")
        await inbox.wait_for(1)
        lines = [r.getMessage() for r in caplog.records if r.name == "broadcasting.drivers"]
        # What was refused while Redis was away is also counted as lost.
        assert [line.split(" ")[0] for line in lines if "dropped" not in line] == [
            "Lost",
            "Channel",
        ]

    async def test_subscribing_while_redis_is_away_fails_in_time(
        self, broker: ChannelLayerBroker, redis_server: RedisServer
    ) -> None:
        """A subscription that the layer does not confirm is an error and leaves nothing behind."""
        await asyncio.to_thread(redis_server.stop)
        broker.CONFIRM_TIMEOUT = 0.5
        with pytest.raises(BroadcastError, match="did not confirm"):
            await broker.subscribe("1:whik")
        assert broker._topics == set()

    async def test_publishing_keeps_one_thread(self, broadcaster: Broadcaster) -> None:
        """Any number of calls share one loop and its connection."""
        for _ in range(5):
            await broadcaster.abroadcast(["whik"], "Hello", "{}")
        names = [t.name for t in threading.enumerate()]
        assert names.count("broadcasting-channel-layer") == 1

    async def test_a_broken_mailbox_is_replaced(
        self, broadcaster: Broadcaster, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A mailbox whose probe does not come back is given up for a new one."""
        broker = broadcaster.get_broker()
        assert isinstance(broker, ChannelLayerBroker)
        broker.PROBE_EVERY = broker.PROBE_TIMEOUT = 0.1
        await broker.connect(inbox)
        await broker.subscribe("1:whik")
        first = broker._mailbox
        layer = find_layer("default")
        send: Callable[..., Any] = layer.send

        async def swallow(channel: str, message: dict[str, Any]) -> None:
            if channel != first:
                await send(channel, message)

        monkeypatch.setattr(layer, "send", swallow)
        await await_until(lambda: broker._mailbox not in (None, first))
        await broker.subscribe("1:other")
        await broadcaster.abroadcast(["whik"], "Hello", "{}")
        await inbox.wait_for(1)
        await broker.close()

    async def test_closes_on_the_thread_of_a_running_loop(self) -> None:
        """As happens when a test that is async overrides the settings."""
        broadcaster = self.make()
        await broadcaster.abroadcast(["whik"], "Hello", "{}")
        broadcaster.close()
        assert "broadcasting-channel-layer" not in [t.name for t in threading.enumerate()]

    async def test_a_busy_mailbox_is_kept(
        self, broadcaster: Broadcaster, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A probe that waits behind other messages is no sign of death."""
        broker = broadcaster.get_broker()
        assert isinstance(broker, ChannelLayerBroker)
        broker.PROBE_EVERY, broker.PROBE_TIMEOUT = 0.01, 0.3
        await broker.connect(inbox)
        await broker.subscribe("1:whik")
        mailbox, late = broker._mailbox, 0

        async def swallow(channel: str, message: dict[str, Any]) -> None:
            nonlocal late
            late += 1

        monkeypatch.setattr(find_layer("default"), "send", swallow)
        sent = 0
        while late < 4:
            await broadcaster.abroadcast(["whik"], "Hello", "{}")
            sent += 1
        assert broker._mailbox == mailbox
        await inbox.wait_for(sent)
        assert len(inbox) == sent
        await broker.close()


class TestInMemoryLayer(LayerContract):
    """Over the layer inside the process."""

    LACKS = ["broadcasting.I001"]

    @pytest.fixture(autouse=True)
    def _layer(self) -> Iterator[None]:
        layers = {
            "default": {
                "BACKEND": "channels.layers.InMemoryChannelLayer",
                "CONFIG": {"capacity": 10_000},
            }
        }
        with override_settings(CHANNEL_LAYERS=layers):
            yield

    async def test_wakes_an_idle_loop_from_another_thread(
        self, broadcaster: Broadcaster, broker: Broker, inbox: Inbox
    ) -> None:
        """The layer is not thread-safe; a message from a thread must not wait for a timer."""
        await broker.subscribe("1:whik")
        await asyncio.to_thread(broadcaster.broadcast, ["whik"], "Hello", "{}")
        # The watch over the mailbox wakes the loop only every two seconds.
        await inbox.wait_for(1, timeout=1)

    async def test_a_full_mailbox_is_seen(
        self,
        broadcaster: Broadcaster,
        broker: ChannelLayerBroker,
        inbox: Inbox,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """What a mailbox over its capacity drops is counted with the next message."""
        await broker.subscribe("1:whik")
        layer = find_layer("default")
        layer.capacity = 10
        sender = GroupQueue(layer)
        messages = [Message("1:whik", "X", str(n)) for n in range(30)]
        await sender.put(messages[0])
        await inbox.wait_for(1)
        # Without a pause in between the reader has no turn to empty the mailbox.
        mailbox = broker._mailbox
        assert mailbox is not None
        assert broker._reader is not None
        broker._reader.cancel()
        await asyncio.gather(broker._reader, return_exceptions=True)
        for message in messages[1:]:
            await sender.put(message)
        broker._reader = asyncio.create_task(broker._read())
        await inbox.wait_for(11)
        await sender.put(messages[-1])
        await inbox.wait_for(12)
        assert broker.lost == 19
        assert "Raise its capacity" in caplog.text

    async def test_nobody_listening_is_no_error(self, broadcaster: Broadcaster) -> None:
        """In a process where no socket was ever opened there is nothing to send to."""
        broadcaster.broadcast(["whik"], "Hello", "{}")

    async def test_blocking_the_serving_loop_is_refused(
        self, broadcaster: Broadcaster, broker: Broker
    ) -> None:
        """Called on the loop that must do the work it would wait for itself."""
        with pytest.raises(BroadcastError, match="await abroadcast"):
            broadcaster.broadcast(["whik"], "Hello", "{}")

    async def test_a_process_that_does_not_serve_posts(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With no server at the address, the error says what to start."""
        monkeypatch.setattr(serving, "_loops", frozenset())
        broadcaster = self.make()
        with pytest.raises(BroadcastError, match=r"manage\.py runserver"):
            await broadcaster.abroadcast(["whik"], "Hello", "{}")
        broadcaster.close()


class TestCoreLayer(RedisLayerContract):
    """Over ``channels_redis.core``."""

    BURST = 2_000

    def layers(self, server: RedisServer) -> dict[str, Any]:
        """Return the layer as the demo configures it."""
        hosts = [{"address": server.url, "socket_timeout": None, "health_check_interval": 15}]
        config = {"hosts": hosts, "capacity": 10_000, "group_expiry": 120}
        return {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": config}}


class TestPubSubLayer(RedisLayerContract):
    """Over ``channels_redis.pubsub``."""

    BURST = 5_000

    def layers(self, server: RedisServer) -> dict[str, Any]:
        """Return the layer as the demo configures it."""
        hosts = [{"address": server.url, "socket_timeout": None, "health_check_interval": 15}]
        return {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": hosts},
            }
        }


def test_missing_layer_is_named() -> None:
    """A connection whose layer is not configured says so, in its check and when used."""
    broadcaster = ChannelLayerBroadcaster(app=FIRST, first_app_id="1", layer="elsewhere")
    (error,) = broadcaster.check()
    assert error.id == "broadcasting.E002"
    assert "'elsewhere'" in error.msg
    with pytest.raises(ImproperlyConfigured, match="CHANNEL_LAYERS"):
        broadcaster.broadcast(["whik"], "Hello", "{}")


@pytest.mark.parametrize(
    "entry",
    [
        {"BACKEND": "no.such.Layer"},
        {"CONFIG": {}},
        {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capasity": 1}},
        {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": "redis://"}},
    ],
    ids=str,
)
def test_layer_that_cannot_be_made_is_named(entry: dict[str, object]) -> None:
    """Its package may be missing; the check says so and does not fail."""
    with override_settings(CHANNEL_LAYERS={"elsewhere": entry}):
        broadcaster = ChannelLayerBroadcaster(app=FIRST, first_app_id="1", layer="elsewhere")
        (error,) = broadcaster.check()
        assert error.id == "broadcasting.E002"
        assert "CHANNEL_LAYERS['elsewhere']" in error.msg
        with pytest.raises(ImproperlyConfigured, match="cannot be made"):
            broadcaster.broadcast(["whik"], "Hello", "{}")


def test_group_names_suit_channels() -> None:
    """Any Pusher name becomes a group name that Channels accepts."""
    layer = InMemoryChannelLayer()
    for topic in ("1:" + "x" * 200, "1:a@b=c,d.e;f", "12:presence-é"):
        assert layer.require_valid_group_name(group_of(topic))
    assert group_of("1:a") != group_of("2:a")


class TestGapCounter:
    """Numbers of senders."""

    def test_first_number_of_a_sender_is_no_gap(self) -> None:
        """Who begins to listen has missed nothing."""
        assert GapCounter().missing_before("t", "s", 41) == 0

    def test_hole_is_counted(self) -> None:
        """The distance to the last number tells how many are missing."""
        gaps = GapCounter()
        gaps.missing_before("t", "s", 1)
        assert gaps.missing_before("t", "s", 2) == 0
        assert gaps.missing_before("t", "s", 6) == 3

    def test_repetition_is_recognised(self) -> None:
        """A number that came before is not delivered again."""
        gaps = GapCounter()
        gaps.missing_before("t", "s", 2)
        assert gaps.missing_before("t", "s", 2) == -1
        assert gaps.missing_before("t", "s", 1) == -1

    def test_senders_and_topics_are_independent(self) -> None:
        """Each sender numbers each topic by itself."""
        gaps = GapCounter()
        gaps.missing_before("t", "s", 7)
        assert gaps.missing_before("t", "other", 1) == 0
        assert gaps.missing_before("u", "s", 1) == 0

    def test_forgotten_topic_begins_anew(self) -> None:
        """What was sent while nobody listened is not missing."""
        gaps = GapCounter()
        gaps.missing_before("t", "s", 1)
        gaps.forget("t")
        assert gaps.missing_before("t", "s", 9) == 0

    def test_senders_are_bounded(self) -> None:
        """Every shell command is a new sender; old ones are forgotten."""
        gaps = GapCounter()
        for number in range(10_000):
            gaps.missing_before("t", f"s{number}", 1)
        assert len(gaps._last["t"]) == GapCounter.SENDERS


async def test_counters_of_a_sender_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound a sender begins anew under another name, so that no number repeats."""
    monkeypatch.setattr(GroupQueue, "TOPICS", 3)
    sent: list[tuple[str, int]] = []

    class Layer(InMemoryChannelLayer):  # type: ignore[misc]  # channels ships no types
        async def group_send(self, group: str, message: dict[str, Any]) -> None:
            sent.append((message["sender"], message["number"]))

    sender = GroupQueue(Layer())
    for number in range(40):
        await sender.put(Message(f"1:c{number % 5}", "X", "{}"))
    assert len(sender._numbers) <= 3
    assert len({name for name, _ in sent}) > 1
