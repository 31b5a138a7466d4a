"""The read end over a channel layer."""

import asyncio
import logging
import secrets
import threading
from contextlib import suppress
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer

from ...exceptions import BroadcastError
from ...protocol.messages import Message
from ..base import Broker, Listener
from ..presence import LocalPresence, PresenceStore
from .groups import GapCounter, GroupQueue, group_of
from .layers import is_shared

logger = logging.getLogger("broadcasting.drivers")


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
    JOINS = 50  # Under way at once. redis-py lets a layer have 100 connections.
    PROBE_EVERY = 2.0
    PROBE_TIMEOUT = 10.0
    JOIN_EVERY = 40.0  # Below the shortest sensible `group_expiry`.
    BACKOFF = (0.1, 0.25, 0.5, 1.0, 2.0)

    def __init__(self, layer: BaseChannelLayer, alias: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_shared = is_shared(layer)
        self.queue = GroupQueue(layer)
        # A layer carries messages and remembers nothing: each process knows its own sockets.
        store = PresenceStore(self._deliver_here, threading.RLock())
        self.presence: LocalPresence = LocalPresence(store)
        self.lost = 0  # Messages that the layer dropped.
        self._layer = layer
        self._alias = alias
        self._listener: Listener | None = None
        self._mailbox: str | None = None
        self._topics: set[str] = set()
        self._joins = asyncio.Semaphore(self.JOINS)
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
                async with self._joins:
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
        await self.queue.put(message)

    def _deliver_here(self, message: Message) -> None:
        if self._listener is not None:
            self._listener.deliver(message)

    async def _confirm(self, topic: str) -> bool:
        """Join and send a probe through the group; return whether it came soon."""
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


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
