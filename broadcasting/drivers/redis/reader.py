"""
The one connection over which a process reads its channels of one server.

Theory of operation
-------------------

redis-py's `PubSub` is not used: after an error it reconnects by itself, and nobody learns that
messages were lost in between. Here a connection lives until its first error. The next one
begins by subscribing to everything that is wanted then.

Subscriptions are sent in batches: what is asked for in one turn of the loop is one command.
An UNSUBSCRIBE is sent some seconds after a channel lost its last listener. So a visitor who
goes from page to page costs one SUBSCRIBE for each page and no UNSUBSCRIBE.

A channel whose UNSUBSCRIBE was not sent yet is subscribed to again all the same. The answer
stands in line with the messages: what comes before it was published before the channel was
wanted again, and is not delivered.

Rules of this file:

* `_wanted` is what callers want, `_held` what this connection has subscribed to. What is held
  and not wanted is in `_leaving`.
* A channel is in `_live`, and is delivered, from the answer to the last SUBSCRIBE for it
  until it is not wanted or the connection is lost.
* These books change in the same step, without an await, in which a command is given to the
  connection, so Redis follows their order.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from ...exceptions import BroadcastError
from .clients import async_pool, find_address
from .servers import Server

logger = logging.getLogger("broadcasting.drivers")

Take = Callable[[str, bytes], object]


class Reader:
    """
    Reads from one server, and goes on trying while that is away.

    Args:
        server: Where it is.
        take: Called with the topic and the payload of each message.
        is_sharded: Whether the channels are those of a cluster's slot.
        doubt: Called when the server is there, at first and after each loss. What was
            stored or read before may be lost.

    Attributes:
        is_up: Whether it is connected and has subscribed to all that is wanted.
        reconnects: How often that was lost and found again.
    """

    CONFIRM_TIMEOUT = 5.0  # Seconds.
    # Seconds of silence after which Redis is pinged. After three times that it is lost.
    IDLE = 10.0
    BATCH = 512  # Channels in one command.
    LEAVE_AFTER = 5.0  # Seconds that a channel is kept after its last listener has gone.
    LEAVE_EVERY = 1.0  # Seconds, more or less, between two looks at these.
    MAX_LEAVING = 10_000  # Channels that are kept.
    # Seconds before another attempt: random, up to the first, which is doubled each time up
    # to the second. Otherwise all processes would come back in step.
    BACKOFF = 0.2
    MAX_BACKOFF = 3.0

    def __init__(
        self,
        server: Server,
        *,
        take: Take,
        is_sharded: bool = False,
        doubt: Callable[[], object] = lambda: None,
    ) -> None:
        self.is_up = False
        self.reconnects = 0
        self._server = server
        self._take = take
        self._doubt = doubt
        sign = "S" if is_sharded else ""
        self._subscribe, self._unsubscribe = f"{sign}SUBSCRIBE", f"{sign}UNSUBSCRIBE"
        self._message = f"{sign}message".lower().encode()
        self._subscribed = self._subscribe.lower().encode()
        self._unsubscribed = self._unsubscribe.lower().encode()
        # Channel -> topic, and who waits for the channel to be live.
        self._wanted: dict[str, str] = {}
        self._live: dict[bytes, str] = {}
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        # Of this connection: channels to subscribe to, as a set in order; those that it has;
        # commands without an answer, by channel; what is not wanted any more, and since when.
        self._unsent: dict[str, None] = {}
        self._held: set[str] = set()
        self._subscribing: Counter[str] = Counter()
        self._unsubscribing: Counter[str] = Counter()
        self._leaving: dict[str, float] = {}
        self._connection: AbstractConnection | None = None
        self._heard = 0.0
        # Whether a line in the log says that Redis is away, and whether it ever was there.
        self._is_lost = False
        self._was_up = False
        self._task: asyncio.Task[None] | None = None
        self._sender: asyncio.Task[None] | None = None
        self._leaver: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End, and take nothing more. Whoever waits for a subscription gets an error."""
        for task in (self._task, self._sender, self._leaver):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self.is_up = False
        for waiter in [waiter for waiters in self._waiters.values() for waiter in waiters]:
            if not waiter.done():
                waiter.set_exception(BroadcastError("The connection to Redis was closed"))
                waiter.exception()  # It may be that nobody waits any more.
        self._waiters.clear()

    async def subscribe(self, channel: str, topic: str) -> None:
        """
        Return when messages of `channel` are certain to be taken.

        Raises:
            BroadcastError: Redis did not confirm in time. The channel is not wanted then.
        """
        self._wanted[channel] = topic
        self._live.pop(channel.encode(), None)
        self._leaving.pop(channel, None)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(channel, [])
        waiters.append(waiter)
        self._unsent[channel] = None
        if self._sender is None or self._sender.done():
            # A task begins when this turn of the loop is over.
            self._sender = asyncio.create_task(self._send_subscribes())
        try:
            async with asyncio.timeout(self.CONFIRM_TIMEOUT):
                await waiter
        except BaseException as exc:
            waiters.remove(waiter)
            if not waiters:
                self.unsubscribe(channel)
            if isinstance(exc, TimeoutError):
                raise BroadcastError("Redis did not confirm the subscription") from None
            raise

    def unsubscribe(self, channel: str) -> None:
        """Take no more messages of `channel`."""
        if self._wanted.pop(channel, None) is None:
            return
        self._live.pop(channel.encode(), None)
        self._waiters.pop(channel, None)
        self._unsent.pop(channel, None)
        if channel in self._held:
            self._leaving[channel] = asyncio.get_running_loop().time()
            if self._leaver is None or self._leaver.done():
                self._leaver = asyncio.create_task(self._leave())

    # A connection and its end

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            try:
                await self._connect()
                await self._read_until_lost()
            except (RedisError, OSError) as exc:
                self._log_lost(exc)
            except Exception as exc:  # A bug must not leave the process deaf.
                logger.exception("The Redis reader failed")
                self._log_lost(exc)
            finally:
                await self._disconnect()
            self._server.forget()
            # One that takes connections and ends them at once is no better than none.
            failures = 0 if loop.time() - began > self.MAX_BACKOFF else failures + 1
            limit = min(self.MAX_BACKOFF, self.BACKOFF * 2 ** min(failures, 10) / 2)
            await asyncio.sleep(random.uniform(0, limit))  # noqa: S311  # No secret.

    async def _connect(self) -> None:
        pool = async_pool(self._server, await find_address(self._server))
        connection: AbstractConnection = pool.make_connection()
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        # Not before: a SUBSCRIBE between AUTH and SELECT would be taken for their answer.
        self._connection = connection
        self._heard = asyncio.get_running_loop().time()
        self._unsent = dict.fromkeys(self._wanted)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self.is_up = False
        for book in (self._live, self._unsent, self._held, self._leaving):
            book.clear()
        self._subscribing.clear()
        self._unsubscribing.clear()
        if connection is not None:
            with suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)

    async def _read_until_lost(self) -> None:
        assert self._connection is not None  # noqa: S101  # It was made just now.
        tasks = {
            asyncio.create_task(self._read(self._connection)),
            asyncio.create_task(self._watch()),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        """Raise when nothing is read any more, as after a lost route."""
        loop = asyncio.get_running_loop()
        await self._send_subscribes()
        await self._send("PING")  # Its answer comes after that to all of these.
        while True:
            await asyncio.sleep(self.IDLE)
            silent = loop.time() - self._heard
            if silent >= 3 * self.IDLE:
                raise ConnectionError(f"no answer for {silent:.0f} seconds")
            if silent >= self.IDLE:
                await self._send("PING")

    def _log_lost(self, exc: Exception) -> None:
        if not self._is_lost:
            self._is_lost = True
            reason = str(exc).rstrip(".")
            logger.warning("Lost Redis: %s. Trying again until it is back.", reason)

    def _log_back(self) -> None:
        self.is_up = True
        if self._was_up:
            self.reconnects += 1
        if self._is_lost:
            logger.info("Redis is back; %d channels subscribed again.", len(self._live))
        self._was_up, self._is_lost = True, False
        self._doubt()

    # Reading

    async def _read(self, connection: AbstractConnection) -> None:
        loop = asyncio.get_running_loop()
        while True:
            response = await connection.read_response(push_request=True)
            self._heard = loop.time()
            kind = response[0]
            if kind == self._message:
                topic = self._live.get(response[1])
                if topic is not None:  # Else it is not wanted any more, or not yet.
                    self._take(topic, response[2])
            elif kind == self._subscribed:
                self._confirm(response[1])
            elif kind == self._unsubscribed:
                self._note_end(response[1].decode())
            elif (kind == b"pong" or response == b"PONG") and not self.is_up:
                self._log_back()

    def _confirm(self, name: bytes) -> None:
        channel = name.decode()
        self._subscribing[channel] -= 1
        if self._subscribing[channel] > 0:
            return  # What comes before the last answer was published before the last call.
        del self._subscribing[channel]
        topic = self._wanted.get(channel)
        if topic is None or channel in self._unsent:
            return
        self._live[name] = topic
        for waiter in self._waiters.pop(channel, ()):
            if not waiter.done():
                waiter.set_result(None)

    def _note_end(self, channel: str) -> None:
        self._unsubscribing[channel] -= 1
        if self._unsubscribing[channel] < 0:
            # Redis, "Cluster": a node that loses a slot ends the subscriptions in it.
            raise ConnectionError(f"the slot of {channel} was moved to another node")
        if not self._unsubscribing[channel]:
            del self._unsubscribing[channel]

    # Subscribing

    async def _send_subscribes(self) -> None:
        """Subscribe to what was asked for since the last turn, or to all on a new connection."""
        while self._connection is not None and self._unsent:
            batch = list(islice(self._unsent, self.BATCH))
            for channel in batch:
                del self._unsent[channel]
            self._held.update(batch)
            self._subscribing.update(batch)
            await self._send(self._subscribe, *batch)

    async def _leave(self) -> None:
        """Unsubscribe, some seconds later, from what nobody wanted again meanwhile."""
        loop = asyncio.get_running_loop()
        while self._leaving:
            pause = self.LEAVE_EVERY * random.uniform(0.5, 1.5)  # noqa: S311  # No secret.
            await asyncio.sleep(pause)
            due = loop.time() - self.LEAVE_AFTER
            while batch := self._take_leaving(due):
                await self._send(self._unsubscribe, *batch)

    def _take_leaving(self, due: float) -> list[str]:
        surplus = len(self._leaving) - self.MAX_LEAVING
        batch: list[str] = []
        for channel, since in islice(self._leaving.items(), self.BATCH):
            if since > due and len(batch) >= surplus:
                break
            batch.append(channel)
        for channel in batch:
            del self._leaving[channel]
        self._held.difference_update(batch)
        self._unsubscribing.update(batch)
        return batch

    async def _send(self, *command: str) -> None:
        connection = self._connection
        if connection is None or not connection.is_connected:
            return  # The next connection subscribes to what is wanted then.
        with suppress(RedisError, OSError):  # The reader sees the same error and acts on it.
            await connection.send_command(*command, check_health=False)
