"""
Django Channels groups as a bus: any channel layer, one group membership per process
and channel instead of one per socket.

A layer drops messages in silence when a mailbox is full or a server restarts. So each
message carries who sent it and a running number per channel; a reader that sees a
hole counts and logs it.
"""

import asyncio
import hashlib
import logging
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer, InMemoryChannelLayer, get_channel_layer
from django.core.checks import CheckMessage, Error, Info, Warning
from django.core.exceptions import ImproperlyConfigured

from ...applications import Application
from ...exceptions import BroadcastError
from ...protocol.messages import Message, topic_of
from ..base import (
    DEFAULT_URL,
    Broadcaster,
    Broker,
    Listener,
    PublishQueue,
)
from ..diagnosis import Finding
from ..presence import LocalPresence, PresenceStore
from ..pusher import ServingProcess
from ..serving import is_serving_here

logger = logging.getLogger("broadcasting.drivers")

SEND_TIMEOUT = 10.0  # Seconds that a publishing thread waits for the layer.


class ChannelLayerBroadcaster(Broadcaster):
    """
    Send to the group of each channel.

    A layer over Redis is used from a thread of its own with one event loop for the
    life of the process: `async_to_sync` would make a loop and a connection per call.
    The in-memory layer belongs to the loop that serves, so messages are handed to it;
    a process that does not serve posts them to the one that does.

    Args:
        layer: Alias in ``CHANNEL_LAYERS``.
        url: Where the serving process listens, for a layer that stays in its process.
    """

    def __init__(
        self,
        *,
        app: Application,
        first_app_id: str,
        layer: str = "default",
        url: str = DEFAULT_URL,
    ) -> None:
        super().__init__(app=app, first_app_id=first_app_id)
        self._alias = layer
        self._brokers: list[ChannelLayerBroker] = []
        self._outside: OutsideLoop | None = None
        self._lock = threading.Lock()
        self._serving = ServingProcess(app=app, first_app_id=first_app_id, url=url)

    def broadcast(
        self,
        channels: Sequence[str],
        event: str,
        data: str,
        *,
        socket_id: str | None = None,
        message_id: str | None = None,
        is_transient: bool = False,
    ) -> None:
        """Send one group message per channel and wait until the layer has taken them."""
        layer = find_layer(self._alias)
        if is_shared(layer):
            loop, queue = self._outside_loop(layer)
        elif not is_serving_here():
            self._serving.broadcast(
                channels,
                event,
                data,
                socket_id=socket_id,
                message_id=message_id,
                is_transient=is_transient,
            )
            return
        else:
            broker = self._serving_broker()
            if broker is None:
                return  # No socket was ever opened here: nobody listens.
            loop, queue = broker.loop, broker.queue
        messages = [
            Message(topic_of(self.app.id, name), event, data, socket_id) for name in channels
        ]
        _wait_for(_publish_all(queue, messages), loop)

    def get_broker(self) -> "ChannelLayerBroker":
        """Return a read end for the running loop."""
        broker = ChannelLayerBroker(find_layer(self._alias), self._alias)
        with self._lock:
            self._brokers = [other for other in self._brokers if not other.loop.is_closed()]
            self._brokers.append(broker)
        return broker

    def terminate_user_connections(self, user_id: str) -> None:
        """Tell every server process, or the one that serves."""
        if is_shared(find_layer(self._alias)) or is_serving_here():
            super().terminate_user_connections(user_id)
        else:
            self._serving.terminate_user_connections(user_id)

    @property
    def posts_to(self) -> str | None:
        """The address of the serving process, for a layer that stays in it."""
        return None if is_shared(find_layer(self._alias)) else self._serving.url

    def check(self) -> list[CheckMessage]:
        """Report a layer that is not configured, and what no layer can do."""
        try:
            layer = find_layer(self._alias)
        except ImproperlyConfigured as exc:
            hint = "docs/settings.md has an example. See docs/checks.md#broadcastinge002"
            return [Error(str(exc), hint=hint, id="broadcasting.E002")]
        hint = "Use a redis connection, or a memory one for a single process."
        found: list[CheckMessage] = [
            Info(
                f"Channel layer {self._alias!r} keeps no events: a cache channel always misses.",
                hint=f"{hint} See docs/checks.md#broadcastingi001",
                id="broadcasting.I001",
            )
        ]
        if is_shared(layer):
            found.append(
                Warning(
                    f"Channel layer {self._alias!r} carries messages and remembers nobody: each "
                    f"server process knows the members and numbers of its own sockets only.",
                    hint=f"{hint} See docs/checks.md#broadcastingw002",
                    id="broadcasting.W002",
                )
            )
        return found

    def examine(self) -> list[Finding]:
        """Send a message through a layer that leads out of the process."""
        layer = find_layer(self._alias)
        if not is_shared(layer):
            return []
        subject = f"Channel layer {self._alias!r}"
        try:
            took = asyncio.run(_round_trip(layer))
        except Exception as exc:  # Whatever a layer raises.
            text = f"A message did not come back: {str(exc) or type(exc).__name__}."
            fix = f"Start what CHANNEL_LAYERS[{self._alias!r}] leads to, or correct its CONFIG."
            return [Finding("error", subject, text, fix)]
        return [Finding("ok", subject, f"A message takes {took * 1000:.1f} ms.")]

    def close(self) -> None:
        """End the publishing thread."""
        self._serving.close()
        with self._lock:
            outside, self._outside = self._outside, None
        if outside is not None:
            outside.stop()

    def _outside_loop(
        self, layer: BaseChannelLayer
    ) -> tuple[asyncio.AbstractEventLoop, PublishQueue]:
        with self._lock:
            # A fork copies this object but not its thread.
            if self._outside is None or self._outside.pid != os.getpid():
                self._outside = OutsideLoop(layer)
            return self._outside.loop, self._outside.queue

    def _serving_broker(self) -> "ChannelLayerBroker | None":
        with self._lock:
            connected = [b for b in self._brokers if b.is_connected and not b.loop.is_closed()]
        return connected[-1] if connected else None


class OutsideLoop:
    """An event loop in a daemon thread, and the queue in front of the layer there."""

    def __init__(self, layer: BaseChannelLayer) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.queue = PublishQueue(GroupSender(layer).send, batch=1)
        self._thread = threading.Thread(
            target=self._run, name="broadcasting-channel-layer", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread, having closed what the layer opened on its loop."""
        if self.pid == os.getpid():
            asyncio.run_coroutine_threadsafe(self.queue.close(), self.loop).result(SEND_TIMEOUT)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(SEND_TIMEOUT)

    def _run(self) -> None:
        self.loop.run_forever()
        # Here, because channels_redis runs the loop once more to close its connections.
        self.loop.close()


class GroupSender:
    """
    Sends messages to their groups, numbered per topic.

    One task at a time calls `send`, so numbers go out in order.
    """

    TOPICS = 100_000  # Past this many counters, a new sender begins and they are dropped.

    def __init__(self, layer: BaseChannelLayer) -> None:
        self._layer = layer
        self._id = secrets.token_hex(8)
        self._numbers: dict[str, int] = {}

    async def send(self, batch: list[Message]) -> None:
        """Send `batch` in order. Raise `BroadcastError` when the layer refuses."""
        for message in batch:
            body = {
                "type": "broadcasting.message",
                "topic": message.topic,
                "event": message.event,
                "data": message.data,
                "socket": message.socket_id,
                "user": message.user_id,
                # After `_next`, which may begin a new sender.
                "number": self._next(message.topic),
                "sender": self._id,
            }
            try:
                await self._layer.group_send(group_of(message.topic), body)
            except Exception as exc:  # A layer's errors have no common base.
                raise BroadcastError(f"The channel layer did not take the message: {exc}") from exc

    def _next(self, topic: str) -> int:
        if len(self._numbers) >= self.TOPICS and topic not in self._numbers:
            self._id = secrets.token_hex(8)
            self._numbers.clear()
        self._numbers[topic] = self._numbers.get(topic, 0) + 1
        return self._numbers[topic]


class GapCounter:
    """Finds holes in, and repetitions of, the numbers that senders gave their messages."""

    SENDERS = 100  # Remembered per topic; every command run from a shell is a new one.

    def __init__(self) -> None:
        self._last: dict[str, OrderedDict[str, int]] = {}

    def missing_before(self, topic: str, sender: str, number: int) -> int:
        """Return how many messages were lost before this one, -1 if it came before."""
        senders = self._last.setdefault(topic, OrderedDict())
        last = senders.get(sender)
        if last is not None and number <= last:
            return -1
        senders[sender] = number
        senders.move_to_end(sender)
        if len(senders) > self.SENDERS:
            senders.popitem(last=False)
        return 0 if last is None else number - last - 1

    def forget(self, topic: str) -> None:
        """Begin anew for `topic`: what was sent while nobody listened was not lost."""
        self._last.pop(topic, None)


class ChannelLayerBroker(Broker):
    """
    One mailbox for the process, in the group of every topic somebody here listens to.

    Layers differ in how they fail: the core Redis layer raises from `receive` and
    forgets its groups when Redis restarts, the pub/sub layer stays silent. So the
    mailbox is probed by a message to itself, a subscription is confirmed by one
    through its group, and all groups are joined again now and then and after any error.
    """

    CONFIRM_TIMEOUT = 5.0
    CONFIRM_AGAIN = 0.25
    PROBE_EVERY = 2.0
    PROBE_TIMEOUT = 10.0
    JOIN_EVERY = 40.0  # Below the shortest sensible `group_expiry`.
    BACKOFF = (0.1, 0.25, 0.5, 1.0, 2.0)

    def __init__(self, layer: BaseChannelLayer, alias: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_shared = is_shared(layer)
        self.queue = PublishQueue(GroupSender(layer).send, batch=1)
        # A layer carries messages and remembers nothing: each process knows its own sockets.
        store = PresenceStore(self._deliver_here, threading.RLock())
        self.presence: LocalPresence = LocalPresence(store)
        self.lost = 0  # Messages that the layer dropped.
        self._layer = layer
        self._alias = alias
        self._listener: Listener | None = None
        self._mailbox: str | None = None
        self._topics: set[str] = set()
        self._gaps = GapCounter()
        self._probes: dict[str, asyncio.Future[None]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._heard = 0  # Messages that came, of whatever kind.

    @property
    def is_connected(self) -> bool:
        """Whether `connect` was called and `close` was not."""
        return self._listener is not None

    async def connect(self, listener: Listener) -> None:
        """Start the reader and the watch over it."""
        self._listener = listener
        self.presence.connect(listener)
        self._reader = asyncio.create_task(self._read())
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """End reader, watch and publisher."""
        self._listener = None
        self.presence.close()
        await self.queue.close()
        await _end(self._watcher)
        await _end(self._reader)

    async def subscribe(self, topic: str) -> None:
        """Join the topic's group and wait for a message through it."""
        self._topics.add(topic)
        try:
            async with asyncio.timeout(self.CONFIRM_TIMEOUT):
                while not await self._confirm(topic):
                    pass
        except TimeoutError:
            await self.unsubscribe(topic)
            raise BroadcastError("The channel layer did not confirm the subscription") from None

    async def unsubscribe(self, topic: str) -> None:
        """Leave the topic's group, if the layer can be told; else the membership expires."""
        self._topics.discard(topic)
        self._gaps.forget(topic)
        if self._mailbox is not None:
            with suppress(Exception):  # A layer's errors have no common base.
                await self._layer.group_discard(group_of(topic), self._mailbox)

    async def publish(self, message: Message) -> None:
        """Queue `message` for the layer and wait until it was taken."""
        await self.queue.publish(message)

    def _deliver_here(self, message: Message) -> None:
        if self._listener is not None:
            self._listener.deliver(message)

    async def _confirm(self, topic: str) -> bool:
        """Join and send a probe through the group; tell whether it came soon."""
        try:
            if self._mailbox is not None:
                group = group_of(topic)
                await self._layer.group_add(group, self._mailbox)
                await self._probe(self._layer.group_send, group, self.CONFIRM_AGAIN)
                return True
        except TimeoutError:
            return False
        except Exception as exc:  # A layer's errors have no common base.
            self._report_away(exc)
        await asyncio.sleep(self.CONFIRM_AGAIN)
        return False

    async def _probe(self, send: Any, address: str, timeout: float) -> None:
        """Send a message to ourselves. Raise `TimeoutError` if it does not come."""
        token = secrets.token_hex(8)
        arrived = self._probes[token] = self.loop.create_future()
        try:
            async with asyncio.timeout(timeout):
                await send(address, {"type": "broadcasting.probe", "token": token})
                await arrived
        finally:
            del self._probes[token]

    async def _read(self) -> None:
        failures = 0
        while True:
            try:
                if self._mailbox is None:
                    self._mailbox = await self._layer.new_channel("broadcasting")
                await self._join_all(self._mailbox)
                while True:
                    message = await self._layer.receive(self._mailbox)
                    failures = 0
                    self._heard += 1
                    self._take(message)
            except Exception as exc:  # A layer's errors have no common base.
                self._report_away(exc)
            await asyncio.sleep(self.BACKOFF[min(failures, len(self.BACKOFF) - 1)])
            failures += 1

    async def _watch(self) -> None:
        joined = self.loop.time()
        while True:
            await asyncio.sleep(self.PROBE_EVERY)
            if self._mailbox is None:
                continue
            heard = self._heard
            try:
                if self.loop.time() - joined >= self.JOIN_EVERY:
                    joined = self.loop.time()
                    await self._join_all(self._mailbox)
                await self._probe(self._layer.send, self._mailbox, self.PROBE_TIMEOUT)
            except ChannelFull:
                continue  # The mailbox is behind, not dead.
            except TimeoutError:
                if self._heard == heard:  # Else the probe waits behind other messages.
                    self._report_away(TimeoutError("its mailbox is dead"))
                    await _end(self._reader)
                    self._mailbox = None
                    self._reader = asyncio.create_task(self._read())
            except Exception as exc:  # A layer's errors have no common base.
                self._report_away(exc)
            else:
                self._report_back()

    async def _join_all(self, mailbox: str) -> None:
        for topic in list(self._topics):
            await self._layer.group_add(group_of(topic), mailbox)

    def _take(self, body: dict[str, Any]) -> None:
        if body.get("type") == "broadcasting.probe":
            arrived = self._probes.get(body.get("token", ""))
            if arrived is not None and not arrived.done():
                arrived.set_result(None)
            return
        try:
            topic, sender, number = body["topic"], body["sender"], body["number"]
            if topic not in self._topics:
                return  # Unsubscribed while the message was under way.
            # "user" came later: a process of an older release may still run beside this one.
            user_id = body.get("user")
            message = Message(topic, body["event"], body["data"], body["socket"], user_id)
        except (KeyError, TypeError, AttributeError):
            logger.warning("Dropped a malformed message from channel layer %r.", self._alias)
            return
        missing = self._gaps.missing_before(topic, sender, number)
        if missing > 0:
            self.lost += missing
            logger.warning(
                "Channel layer %r dropped %d messages on %s (%d in all). Raise its capacity.",
                self._alias,
                missing,
                message.channel,
                self.lost,
            )
        if missing >= 0 and self._listener is not None:
            self._listener.deliver(message)

    def _report_away(self, exc: Exception) -> None:
        if self.is_up:
            self.is_up = False
            reason = str(exc) or type(exc).__name__
            logger.warning("Lost channel layer %r: %s. Trying again.", self._alias, reason)

    def _report_back(self) -> None:
        if not self.is_up:
            self.is_up = True
            self.reconnects += 1
            logger.info(
                "Channel layer %r is back; %d groups joined again.", self._alias, len(self._topics)
            )


def find_layer(alias: str) -> BaseChannelLayer:
    """Return a channel layer. Raise `ImproperlyConfigured` if it is not there or not made."""
    try:
        layer = get_channel_layer(alias)
    except (TypeError, ValueError) as exc:  # Of its class, its CONFIG, or Channels itself.
        raise ImproperlyConfigured(
            f"Channel layer {alias!r} cannot be made: {exc}. Correct CHANNEL_LAYERS[{alias!r}], "
            f"or install the package that it needs."
        ) from exc
    if layer is None:
        raise ImproperlyConfigured(
            f"There is no channel layer {alias!r}. Add it to CHANNEL_LAYERS, or set "
            f'BROADCASTING["DEFAULT"] to a connection that needs none, such as "memory".'
        )
    return layer


def is_shared(layer: BaseChannelLayer) -> bool:
    """Tell whether `layer` reaches other processes."""
    return not isinstance(layer, InMemoryChannelLayer)


def group_of(topic: str) -> str:
    """Return the group's name: Channels allows fewer characters, and fewer of them."""
    return f"broadcasting.{hashlib.sha256(topic.encode()).hexdigest()[:40]}"


async def _round_trip(layer: BaseChannelLayer) -> float:
    """Return the seconds that a message takes, the connection being made beforehand."""
    channel = await layer.new_channel()
    took = 0.0
    for _ in range(2):
        began = time.perf_counter()
        await layer.send(channel, {"type": "doctor"})
        async with asyncio.timeout(SEND_TIMEOUT):
            await layer.receive(channel)
        took = time.perf_counter() - began
    return took


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _publish_all(queue: PublishQueue, messages: list[Message]) -> None:
    # The tasks begin in this order, and so do their messages.
    await asyncio.gather(*(queue.publish(message) for message in messages))


def _wait_for(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
    """Run `work` on another thread's `loop` and wait for it."""
    try:
        if asyncio.get_running_loop() is loop:
            work.close()
            raise BroadcastError("Called on the event loop that must do the work; await abroadcast")
    except RuntimeError:
        pass
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        future.result(SEND_TIMEOUT)
    except TimeoutError:
        future.cancel()
        raise BroadcastError(
            f"The channel layer did not answer within {SEND_TIMEOUT:.0f} seconds"
        ) from None
