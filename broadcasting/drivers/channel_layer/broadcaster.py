"""
Django Channels groups as a bus: any channel layer, one group membership per process
and channel instead of one per socket.
"""

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Unpack

from channels.layers import BaseChannelLayer
from django.core.checks import CheckMessage, Error, Info, Warning
from django.core.exceptions import ImproperlyConfigured

from ...exceptions import BroadcastError
from ...protocol.messages import Message, topic_of
from ..base import DEFAULT_URL, Broadcaster, Common, raise_refused
from ..diagnosis import Diagnosis
from ..pusher import ServingProcess
from ..serving import is_serving_here
from .broker import ChannelLayerBroker
from .groups import GroupQueue
from .layers import find_layer, is_shared

# Seconds that a publishing thread waits for the layer, and then for the loop to say so.
SEND_TIMEOUT = 10.0
GRACE = 1.0


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
        self, *, layer: str = "default", url: str = DEFAULT_URL, **common: Unpack[Common]
    ) -> None:
        super().__init__(**common)
        self._alias = layer
        self._brokers: list[ChannelLayerBroker] = []
        self._outside: OutsideLoop | None = None
        self._lock = threading.Lock()
        self._serving = ServingProcess(url=url, **common)

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
        if not channels:
            return
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
        raise_refused(_publish(queue, loop, messages), len(channels))

    def get_broker(self) -> "ChannelLayerBroker":
        """Return a read end for the running loop."""
        broker = ChannelLayerBroker(find_layer(self._alias), self._alias)
        with self._lock:
            self._brokers = [other for other in self._brokers if not other.loop.is_closed()]
            self._brokers.append(broker)
        return broker

    def terminate_user_connections(self, user_id: str) -> None:
        """Notify every server process, or the one that serves."""
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

    def diagnose(self) -> list[Diagnosis]:
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
            return [Diagnosis("error", subject, text, fix)]
        return [Diagnosis("ok", subject, f"A message takes {took * 1000:.1f} ms.")]

    def close(self) -> None:
        """End the publishing thread."""
        self._serving.close()
        with self._lock:
            outside, self._outside = self._outside, None
        if outside is not None:
            outside.stop()

    def _outside_loop(
        self, layer: BaseChannelLayer
    ) -> tuple[asyncio.AbstractEventLoop, GroupQueue]:
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
        self.queue = GroupQueue(layer)
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


def _publish(
    queue: GroupQueue, loop: asyncio.AbstractEventLoop, messages: Sequence[Message]
) -> dict[str, BroadcastError]:
    """
    Publish on another thread's `loop`, and wait.

    Return why, for each channel that is without its message.
    """
    with suppress(RuntimeError):
        if asyncio.get_running_loop() is loop:
            raise BroadcastError("Called on the event loop that must do the work; await abroadcast")
    future = asyncio.run_coroutine_threadsafe(_publish_all(queue, messages), loop)
    try:
        return future.result(SEND_TIMEOUT + GRACE)
    except TimeoutError:
        future.cancel()
        return dict.fromkeys((message.channel for message in messages), _late())


async def _publish_all(queue: GroupQueue, messages: Sequence[Message]) -> dict[str, BroadcastError]:
    # The tasks begin in this order, and so do their messages.
    tasks = {message.channel: asyncio.create_task(queue.put(message)) for message in messages}
    await asyncio.wait(tasks.values(), timeout=SEND_TIMEOUT)
    refused: dict[str, BroadcastError] = {}
    for channel, task in tasks.items():
        if not task.done() or task.cancelled():
            task.cancel()
            refused[channel] = _late()
        elif isinstance(exc := task.exception(), BroadcastError):
            refused[channel] = exc
    return refused


def _late() -> BroadcastError:
    return BroadcastError(f"The channel layer did not answer in {SEND_TIMEOUT:g} seconds")
