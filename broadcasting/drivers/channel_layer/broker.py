"""The read end over a channel layer."""

import asyncio
import logging
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    One mailbox for the process. It is in the group of every subscribed topic.

    Layers fail in different ways. The core Redis layer raises from `receive`, and forgets its
    groups when Redis restarts; the pub/sub layer is silent. So the broker sends a message to
    its mailbox every few seconds, and one through the group of each new topic, and sees
    whether these arrive. It joins all groups again after any error, and now and then.
    """

    CONFIRM_TIMEOUT = 5.0
    CONFIRM_AGAIN = 0.25
    JOINS = 50  # Under way at once. redis-py lets a layer have 100 connections.
    PROBE_EVERY = 2.0
    PROBE_TIMEOUT = 10.0
    JOIN_EVERY = 40.0  # Less than the shortest sensible `group_expiry`.
    BACKOFF = (0.1, 0.25, 0.5, 1.0, 2.0)

    def __init__(self, layer: BaseChannelLayer, alias: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_shared = is_shared(layer)
        self.queue = GroupQueue(layer)
        # A layer stores nothing, so each process knows its own sockets only.
        store = PresenceStore(self._deliver, threading.RLock())
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
        self._heard = 0  # Messages that arrived, of whatever kind.

    @property
    def is_connected(self) -> bool:
        """Whether `connect` was called and `close` was not."""
        return self._listener is not None

    async def connect(self, listener: Listener) -> None:
        self._listener = listener
        self.presence.connect(listener)
        self._reader = asyncio.create_task(self._read())
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        self._listener = None
        self.presence.close()
        await self.queue.close()
        await _end(self._watcher)
        await _end(self._reader)

    async def subscribe(self, topic: str) -> None:
        self._topics.add(topic)
        with self._expected() as (probe, arrived):
            try:
                async with asyncio.timeout(self.CONFIRM_TIMEOUT), self._joins:
                    while not arrived.done():
                        await self._join(topic, probe)
                        await asyncio.wait([arrived], timeout=self.CONFIRM_AGAIN)
            except TimeoutError:
                await self.unsubscribe(topic)
                raise BroadcastError("The channel layer did not confirm the subscription") from None

    async def unsubscribe(self, topic: str) -> None:
        self._topics.discard(topic)
        self._gaps.forget(topic)
        if self._mailbox is not None:
            # A layer's errors have no common base. The membership expires by itself.
            with suppress(Exception):
                await self._layer.group_discard(group_of(topic), self._mailbox)

    async def publish(self, message: Message) -> None:
        await self.queue.put(message)

    def _deliver(self, message: Message) -> None:
        if self._listener is not None:
            self._listener.deliver(message)

    @contextmanager
    def _expected(self) -> Iterator[tuple[dict[str, Any], asyncio.Future[None]]]:
        """Make a message that this broker sends itself, and the future of its arrival."""
        token = secrets.token_hex(8)
        arrived = self._probes[token] = self.loop.create_future()
        try:
            yield {"type": "broadcasting.probe", "token": token}, arrived
        finally:
            del self._probes[token]

    async def _join(self, topic: str, probe: dict[str, Any]) -> None:
        """Join the group and send `probe` through it."""
        if self._mailbox is None:
            return
        try:
            await self._layer.group_add(group_of(topic), self._mailbox)
            await self._layer.group_send(group_of(topic), probe)
        except Exception as exc:  # A layer's errors have no common base.
            self._log_away(exc)

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
                self._log_away(exc)
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
                with self._expected() as (probe, arrived):
                    async with asyncio.timeout(self.PROBE_TIMEOUT):
                        await self._layer.send(self._mailbox, probe)
                        await arrived
            except ChannelFull:
                continue  # The mailbox is behind, not dead.
            except TimeoutError:
                if self._heard == heard:  # Else the probe waits behind other messages.
                    self._log_away(TimeoutError("its mailbox is dead"))
                    await _end(self._reader)
                    self._mailbox = None
                    self._reader = asyncio.create_task(self._read())
            except Exception as exc:  # A layer's errors have no common base.
                self._log_away(exc)
            else:
                self._log_back()

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
            message = Message(topic, body["event"], body["data"], body["socket"], body["user"])
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
        if missing >= 0:
            self._deliver(message)

    def _log_away(self, exc: Exception) -> None:
        if self.is_up:
            self.is_up = False
            reason = str(exc) or type(exc).__name__
            logger.warning("Lost channel layer %r: %s. Trying again.", self._alias, reason)

    def _log_back(self) -> None:
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
