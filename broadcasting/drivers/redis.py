"""
Redis pub/sub, in Laravel's wire format, so that foreign processes can take part.

``PUBLISH <prefix><channel> {"event": …, "data": …, "socket": …}``

The first application's channels bear their own names; another's are
``<prefix><app id>:<channel>``. A Pusher name holds no colon, so the two cannot meet.
``data`` is either a string, which is the final text, or any other JSON value, which
the reader encodes. Two more keys stand there where they have something to say:
``user_id``, who sent a client event, and ``version``, the place of a message among the
changes of its topic. Further keys are ignored.

The last event of a cache channel is kept when a server of ours sends it. What a foreign
process publishes on one is delivered, but not kept: Redis remembers no PUBLISH.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis.asyncio
from redis import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from ..credentials import Application
from ..exceptions import BroadcastError
from ..protocol.messages import (
    MEMBER_ADDED,
    MEMBER_REMOVED,
    SUBSCRIPTION_COUNT,
    Cached,
    Message,
    decode,
    encode,
)
from ..protocol.names import is_event_name, is_socket_id, is_utf8
from .base import CACHE_TTL, Broadcaster, Broker, Deliver, PublishQueue, Report, is_kept
from .redis_presence import RedisPresence
from .redis_scripts import NEXT_VERSION, Script, ScriptQueue

logger = logging.getLogger("broadcasting.drivers")

CONNECT_TIMEOUT = 2.0

# Keys: the counter of versions, the kept event. Arguments: the Redis channel, the message
# without its closing brace, the seconds that it is kept.
KEEP_AND_PUBLISH = Script(
    NEXT_VERSION
    + """
local message = ARGV[2] .. ',"version":' .. next_version(KEYS[1]) .. '}'
redis.call('SET', KEYS[2], message, 'EX', ARGV[3])
return redis.call('PUBLISH', ARGV[1], message)
"""
)
# Key: the kept event.
CACHED = Script("return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}")

# Events of the server itself that it sends over the bus.
_OWN_EVENTS = {MEMBER_ADDED, MEMBER_REMOVED, SUBSCRIPTION_COUNT}


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
        self._known: set[str] = set()  # Scripts that Redis has seen.

    def broadcast(
        self, channels: Sequence[str], event: str, data: str, *, socket_id: str | None = None
    ) -> None:
        """Publish to all `channels` in one round trip."""
        messages = [Message(self.app.id, name, event, data, socket_id) for name in channels]
        payload = encode_wire(messages[0], verbatim=False) if messages else ""
        try:
            while messages:
                pipeline = self._redis.pipeline(transaction=False)
                for message in messages:
                    command = publish_command(message, payload, self._names, self._known)
                    pipeline.execute_command(*command)
                answers = pipeline.execute(raise_on_error=False)
                messages = to_be_sent_again(messages, answers, self._known)
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
    supports_cache = True
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
        self._known: set[str] = set()  # Scripts that Redis has seen.
        self._scripts = ScriptQueue(self._redis)
        self.presence: RedisPresence = RedisPresence(
            self._scripts, base=names.state, prefix=names.prefix, first=names.first
        )
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
        self.presence.connect(deliver, report)
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End the reader, the publisher and this process's part of the presence."""
        await self._queue.close()
        await self.presence.close()
        await self._scripts.close()
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

    async def cached(self, topic: str) -> Cached | None:
        """Return the last event of a cache channel."""
        payload, ttl = await self._scripts.call(CACHED, [self._names.cache_of(topic)])
        if payload is None:
            return None
        message = decode_wire(topic, payload)
        return Cached(message.event, message.data, message.version or 0, ttl / 1000)

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
        self.presence.wake()
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
        try:
            while batch:
                pipeline = self._redis.pipeline(transaction=False)
                for message in batch:
                    payload = encode_wire(message, verbatim=True)
                    command = publish_command(message, payload, self._names, self._known)
                    pipeline.execute_command(*command)
                answers = await pipeline.execute(raise_on_error=False)
                batch = to_be_sent_again(batch, answers, self._known)
        except (RedisError, OSError) as exc:
            raise BroadcastError(f"Redis did not take the message: {exc}") from exc


class Names:
    """
    How topics are called in Redis.

    Attributes:
        prefix: Stands before every name.
        first: The start of the first application's topics.
        state: Stands before the keys of what is remembered. Its hash tag keeps them
            together, since one script touches several.
    """

    def __init__(self, prefix: str, first_app_id: str) -> None:
        self.prefix = prefix
        self.first = f"{first_app_id}:"
        self.state = f"{{{prefix}broadcasting}}:"

    def of(self, topic: str) -> str:
        """Return the Redis channel of `topic`."""
        return self.prefix + topic.removeprefix(self.first)

    def cache_of(self, topic: str) -> str:
        """Return the key of the last event of `topic`."""
        return f"{self.state}cached:{topic}"

    @property
    def version(self) -> str:
        """The key of the counter of versions."""
        return f"{self.state}version"


def publish_command(
    message: Message, payload: str, names: Names, known: set[str]
) -> list[str | int]:
    """
    Return the command that publishes `message`, and keeps it where that is due.

    `known` are the scripts that Redis has seen, this one included then.
    """
    if not is_kept(message):
        return ["PUBLISH", names.of(message.topic), payload]
    keys = [names.version, names.cache_of(message.topic)]
    arguments: list[str | int] = [names.of(message.topic), payload[:-1], int(CACHE_TTL)]
    command = KEEP_AND_PUBLISH.command(keys, arguments, known)
    known.add(KEEP_AND_PUBLISH.sha)
    return command


def to_be_sent_again(messages: list[Message], answers: list[Any], known: set[str]) -> list[Message]:
    """
    Return those whose script Redis has forgotten, as after a restart.

    Raises:
        RedisError: Redis refused one of the others.
    """
    again = []
    for message, answer in zip(messages, answers, strict=True):
        if isinstance(answer, NoScriptError):
            again.append(message)
        elif isinstance(answer, RedisError):
            raise answer
    if again:
        known.discard(KEEP_AND_PUBLISH.sha)
    return again


def encode_wire(message: Message, *, verbatim: bool) -> str:
    """
    Return one message as it stands in Redis.

    Data that must arrive byte for byte goes as a string; otherwise the JSON object in
    it goes as an object, which is what Laravel writes and its readers expect.
    """
    data = message.data
    value = encode(data) if verbatim or not data.startswith("{") else data
    more = "" if message.user_id is None else f',"user_id":{encode(message.user_id)}'
    if message.version is not None:
        more += f',"version":{message.version}'
    event, socket = encode(message.event), encode(message.socket_id)
    return f'{{"event":{event},"data":{value},"socket":{socket}{more}}}'


def decode_wire(topic: str, payload: bytes) -> Message:
    """Return the message in `payload`. Raise `ValueError` that says what is wrong with it."""
    value = decode(payload)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    event, data, socket_id = value.get("event"), value.get("data"), value.get("socket")
    if not (is_event_name(event) or (isinstance(event, str) and event in _OWN_EVENTS)):
        raise ValueError("its event is not a valid event name")
    if socket_id is not None and not is_socket_id(socket_id):
        raise ValueError("its socket is not a socket id")
    text = data if isinstance(data, str) else encode(data)
    if not is_utf8(text):
        raise ValueError("its data cannot be encoded as UTF-8")
    user_id, version = value.get("user_id"), value.get("version")
    if user_id is not None and not (isinstance(user_id, str) and is_utf8(user_id)):
        raise ValueError("its user_id is not a text")
    if version is not None and type(version) is not int:
        raise ValueError("its version is not an integer")
    app_id, _, channel = topic.partition(":")
    return Message(app_id, channel, event, text, socket_id, user_id, version)
