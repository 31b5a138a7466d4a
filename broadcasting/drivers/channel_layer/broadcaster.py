"""
The write end over a channel layer of Django Channels.

Any layer will do. A process joins the group of a channel once, whatever its number of sockets.
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
from ...protocol.messages import Message
from ..base import DEFAULT_URL, Common
from ..diagnosis import Diagnosis
from ..in_process import InProcessBroadcaster
from .broker import ChannelLayerBroker
from .groups import GroupQueue
from .layers import find_layer, is_shared

# Seconds that a publishing thread waits for the layer, and then for the loop to say so.
SEND_TIMEOUT = 10.0
GRACE = 1.0


class ChannelLayerBroadcaster(InProcessBroadcaster):
    """
    Sends to the group of each channel.

    A layer that reaches other processes is used from a thread with one event loop for the
    life of the process: `async_to_sync` would make a loop and a connection per call. The
    in-memory layer is used on the loop that serves. A process that does not serve posts to
    the one that does.

    Args:
        layer: Alias in ``CHANNEL_LAYERS``.
        url: Where the process that serves listens, for a layer that ends at its process.
    """

    def __init__(
        self, *, layer: str = "default", url: str = DEFAULT_URL, **common: Unpack[Common]
    ) -> None:
        super().__init__(url=url, **common)
        self._alias = layer
        self._brokers: list[ChannelLayerBroker] = []
        self._outside: OutsideLoop | None = None
        self._lock = threading.Lock()

    def get_broker(self) -> ChannelLayerBroker:
        broker = ChannelLayerBroker(find_layer(self._alias), self._alias)
        with self._lock:
            self._brokers = [other for other in self._brokers if not other.loop.is_closed()]
            self._brokers.append(broker)
        return broker

    def check(self) -> list[CheckMessage]:
        """Report a layer that cannot be made, and what a layer cannot do."""
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
        """Time a message through a layer that reaches other processes."""
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
        super().close()
        with self._lock:
            outside, self._outside = self._outside, None
        if outside is not None:
            outside.stop()

    def _ends_here(self) -> bool:
        return not is_shared(find_layer(self._alias))

    def _publish(self, messages: Sequence[Message]) -> dict[str, BroadcastError]:
        end = self._serving_broker() if self._ends_here() else self._outside_loop()
        if end is None:
            return {}  # No socket was ever opened here: nobody listens.
        with suppress(RuntimeError):
            if asyncio.get_running_loop() is end.loop:
                raise BroadcastError(
                    "Called on the event loop that must do the work; await abroadcast"
                )
        future = asyncio.run_coroutine_threadsafe(_publish_all(end.queue, messages), end.loop)
        try:
            return future.result(SEND_TIMEOUT + GRACE)
        except TimeoutError:
            future.cancel()
            return dict.fromkeys((message.channel for message in messages), _late())

    def _outside_loop(self) -> "OutsideLoop":
        with self._lock:
            # A fork copies this object but not its thread.
            if self._outside is None or self._outside.pid != os.getpid():
                self._outside = OutsideLoop(find_layer(self._alias))
            return self._outside

    def _serving_broker(self) -> ChannelLayerBroker | None:
        with self._lock:
            connected = [b for b in self._brokers if b.is_connected and not b.loop.is_closed()]
        return connected[-1] if connected else None


class OutsideLoop:
    """An event loop in a daemon thread, with the queue in front of the layer there."""

    def __init__(self, layer: BaseChannelLayer) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.queue = GroupQueue(layer)
        self._thread = threading.Thread(
            target=self._run, name="broadcasting-channel-layer", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and close what the layer opened on its loop."""
        if self.pid == os.getpid():
            asyncio.run_coroutine_threadsafe(self.queue.close(), self.loop).result(SEND_TIMEOUT)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(SEND_TIMEOUT)

    def _run(self) -> None:
        self.loop.run_forever()
        # Here, because channels_redis runs the loop once more to close its connections.
        self.loop.close()


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
