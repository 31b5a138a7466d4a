"""
Redis pub/sub, in Laravel's wire format, so that foreign processes can take part.

``PUBLISH <prefix><channel> {"event": …, "data": …, "socket": …}``

The first application's channels bear their own names; another's are
``<prefix><app id>:<channel>``. A Pusher name holds no colon, so the two cannot meet.
``data`` is either a string, which is the final text, or any other JSON value, which
the reader encodes. Further keys are ignored.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

import redis.asyncio
from redis import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from ..credentials import Application
from ..exceptions import BroadcastError
from ..protocol.messages import Message, decode, encode
from ..protocol.messages import topic as topic_of
from ..protocol.names import is_event_name, is_socket_id, is_utf8
from .base import Broadcaster, Broker, Deliver, PublishQueue, Report

logger = logging.getLogger("broadcasting.drivers")

CONNECT_TIMEOUT = 2.0


class RedisBroadcaster(Broadcaster):
    """
    Publish through a pool of blocking connections.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://`` address, as redis-py takes it.
        prefix: Stands before every channel's name in Redis.
        max_connections: Size of the pool. A thread that finds it empty waits.
        timeout: Seconds to wait for a free connection, and for an answer.
    """

    def __init__(
        self,
        *,
        app: Application,
        first_app_id: str,
        url: str = "redis://127.0.0.1:6379/0",
        prefix: str = "",
        max_connections: int = 10,
        timeout: float = 5.0,
    ) -> None:
        super().__init__(app=app, first_app_id=first_app_id)
        self._url = url
        self._names = Names(prefix, first_app_id)
        # Not retried: a PUBLISH whose answer was lost may have been delivered. A pooled
        # connection that Redis has closed meanwhile is noticed when it is taken.
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=CONNECT_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)

    def broadcast(
        self, channels: Sequence[str], event: str, data: str, *, socket_id: str | None = None
    ) -> None:
        """Publish to all `channels` in one round trip."""
        payload = encode_wire(event, data, socket_id, verbatim=False)
        pipeline = self._redis.pipeline(transaction=False)
        for channel in channels:
            pipeline.publish(self._names.of(topic_of(self.app.id, channel)), payload)
        try:
            pipeline.execute()
        except (RedisError, OSError) as exc:
            raise BroadcastError(f"Redis did not take the message: {exc}") from exc

    def get_broker(self) -> "RedisBroker":
        """Return a read end for the running loop."""
        return RedisBroker(self._url, self._names)

    def close(self) -> None:
        """Close the pool."""
        self._redis.close()


class RedisBroker(Broker):
    """
    Read all of a process's topics through one connection.

    redis-py's `PubSub` is not used: after an error it reconnects by itself, and the
    messages lost in between are lost without a word. Here a connection lives until
    its first error; the next one begins by subscribing to everything again.
    """

    is_shared = True
    CONFIRM_TIMEOUT = 5.0
    IDLE = 10.0  # Seconds of silence after which Redis is pinged; three times that is death.
    BATCH = 512  # Channels in one SUBSCRIBE.
    BACKOFF = (0.1, 0.25, 0.5, 1.0, 2.0)

    def __init__(self, url: str, names: "Names") -> None:
        self._names = names
        # Blocking reads: redis-py 8 would end them after five seconds. One reader needs
        # no client retries either, which would hide a lost connection.
        self._redis = redis.asyncio.Redis.from_url(
            url,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=CONNECT_TIMEOUT,
            retry=AsyncRetry(NoBackoff(), 0),
        )
        self._queue = PublishQueue(self._publish)
        self._deliver: Deliver | None = None
        self._topics: dict[str, str] = {}  # Redis channel -> topic
        self._confirmations: dict[str, asyncio.Future[None]] = {}
        self._connection: redis.asyncio.Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._heard = 0.0
        self._lost = False

    async def connect(self, deliver: Deliver, report: Report | None = None) -> None:
        """Start the reader. It connects in the background."""
        self._deliver = deliver
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End the reader and the publisher."""
        await self._queue.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._redis.aclose()

    async def subscribe(self, topic: str) -> None:
        """Return when Redis has confirmed the subscription."""
        channel = self._names.of(topic)
        confirmed = asyncio.get_running_loop().create_future()
        self._topics[channel] = topic
        self._confirmations[channel] = confirmed
        try:
            await self._command("SUBSCRIBE", channel)
            async with asyncio.timeout(self.CONFIRM_TIMEOUT):
                await confirmed
        except TimeoutError:
            await self.unsubscribe(topic)
            raise BroadcastError("Redis did not confirm the subscription") from None
        finally:
            self._confirmations.pop(channel, None)

    async def unsubscribe(self, topic: str) -> None:
        """Tell Redis, if it can be told."""
        channel = self._names.of(topic)
        if self._topics.pop(channel, None) is not None:
            await self._command("UNSUBSCRIBE", channel)

    async def publish(self, message: Message) -> None:
        """Queue `message` for the next round trip and wait for it."""
        await self._queue.publish(message)

    # The reader

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                connection = await self._connect()
                failures = 0
                await self._read_until_lost(connection)
            except (RedisError, OSError) as exc:
                self._report_lost(exc)
            except Exception as exc:  # A bug must not leave the process deaf.
                logger.exception("The Redis reader failed")
                self._report_lost(exc)
            finally:
                await self._disconnect()
            await asyncio.sleep(self.BACKOFF[min(failures, len(self.BACKOFF) - 1)])
            failures += 1

    async def _connect(self) -> redis.asyncio.Connection:
        connection: redis.asyncio.Connection = self._redis.connection_pool.make_connection()
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        # Not before: a SUBSCRIBE between AUTH and SELECT would be taken for their answer.
        self._connection = connection
        self._heard = asyncio.get_running_loop().time()
        channels = list(self._topics)
        for start in range(0, len(channels), self.BATCH):
            batch = channels[start : start + self.BATCH]
            await connection.send_command("SUBSCRIBE", *batch, check_health=False)
        if self._lost:
            self._lost = False
            logger.info("Redis is back; %d channels subscribed again.", len(channels))
        return connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)

    async def _read_until_lost(self, connection: redis.asyncio.Connection) -> None:
        tasks = {asyncio.create_task(self._read(connection)), asyncio.create_task(self._watch())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, connection: redis.asyncio.Connection) -> None:
        loop = asyncio.get_running_loop()
        while True:
            response = await connection.read_response(push_request=True)
            self._heard = loop.time()
            kind = response[0]
            if kind == b"message":
                self._take(response[1], response[2])
            elif kind == b"subscribe":
                confirmed = self._confirmations.get(response[1].decode())
                if confirmed is not None and not confirmed.done():
                    confirmed.set_result(None)

    async def _watch(self) -> None:
        """End a connection over which nothing comes any more, as after a lost route."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.IDLE)
            silent = loop.time() - self._heard
            if silent >= 3 * self.IDLE:
                raise ConnectionError(f"no answer for {silent:.0f} seconds")
            if silent >= self.IDLE:
                await self._command("PING")

    def _take(self, channel: bytes, payload: bytes) -> None:
        topic = self._topics.get(channel.decode(errors="replace"))
        if topic is None or self._deliver is None:
            return  # Unsubscribed while the message was under way.
        try:
            message = decode_wire(topic, payload)
        except ValueError as exc:
            logger.warning("Dropped a malformed message on Redis channel %r: %s", channel, exc)
            return
        self._deliver(message)

    async def _command(self, *command: str) -> None:
        connection = self._connection
        if connection is None or not connection.is_connected:
            return  # The next connection subscribes to what is wanted then.
        with suppress(RedisError, OSError):  # The reader sees the same error and acts on it.
            await connection.send_command(*command, check_health=False)

    def _report_lost(self, exc: Exception) -> None:
        if not self._lost:
            self._lost = True
            logger.warning("Lost Redis: %s. Trying again until it is back.", exc)

    # The publisher

    async def _publish(self, batch: list[Message]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for message in batch:
            payload = encode_wire(message.event, message.data, message.socket_id, verbatim=True)
            pipeline.publish(self._names.of(message.topic), payload)
        try:
            await pipeline.execute()
        except (RedisError, OSError) as exc:
            raise BroadcastError(f"Redis did not take the message: {exc}") from exc


class Names:
    """How topics are called in Redis."""

    def __init__(self, prefix: str, first_app_id: str) -> None:
        self._prefix = prefix
        self._first = f"{first_app_id}:"

    def of(self, topic: str) -> str:
        """Return the Redis channel of `topic`."""
        return self._prefix + topic.removeprefix(self._first)


def encode_wire(event: str, data: str, socket_id: str | None, *, verbatim: bool) -> str:
    """
    Return one message as it stands in Redis.

    `data` that must arrive byte for byte goes as a string; otherwise the JSON object in
    it goes as an object, which is what Laravel writes and its readers expect.
    """
    value = encode(data) if verbatim or not data.startswith("{") else data
    return f'{{"event":{encode(event)},"data":{value},"socket":{encode(socket_id)}}}'


def decode_wire(topic: str, payload: bytes) -> Message:
    """Return the message in `payload`. Raise `ValueError` that says what is wrong with it."""
    value = decode(payload)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    event, data, socket_id = value.get("event"), value.get("data"), value.get("socket")
    if not is_event_name(event):
        raise ValueError("its event is not a valid event name")
    if socket_id is not None and not is_socket_id(socket_id):
        raise ValueError("its socket is not a socket id")
    text = data if isinstance(data, str) else encode(data)
    if not is_utf8(text):
        raise ValueError("its data cannot be encoded as UTF-8")
    app_id, _, channel = topic.partition(":")
    return Message(app_id, channel, event, text, socket_id)
