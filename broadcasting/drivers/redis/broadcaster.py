"""
Redis pub/sub: one server, several that share the channels, Sentinel, or a cluster.

What is written there, and how it is called, is in redis_wire.py and redis_names.py. Here
are the two ends. Each part of the bus (redis_names.py) has a `RedisBroker` of its own,
which knows of no other; redis_shards.py makes one broker of several.
"""

import logging
import secrets
import time
from asyncio import sleep
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from django.core.checks import CheckMessage, Warning
from redis.exceptions import NoScriptError, RedisError
from redis.utils import HIREDIS_AVAILABLE

from ...applications import Application
from ...exceptions import BroadcastError
from ...protocol.messages import Cached, Message, topic_of
from ..base import Broadcaster, Broker, Listener, PublishQueue
from ..diagnosis import Finding
from . import diagnosis as redis_examination
from .names import Layout, Names
from .presence import RedisPresence
from .reader import Reader
from .scripts import Script, ScriptQueue
from .servers import (
    Clients,
    Cluster,
    ClusterServer,
    Endpoint,
    SentinelServer,
    Server,
    pause_before,
)
from .shards import ShardedBroker
from .wire import CACHED, KEEP_AND_PUBLISH, decode_wire, encode_wire, publish_command

logger = logging.getLogger("broadcasting.drivers")

DEFAULT_URL = "redis://127.0.0.1:6379/0"

# Key: whose turn it is. Arguments: who asks, and for how many milliseconds.
TAKE_TURN = Script(
    """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
)
# As above; until the milliseconds are over it is nobody's turn.
END_TURN = Script(
    """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  if tonumber(ARGV[2]) > 0 then
    redis.call('SET', KEYS[1], '', 'PX', ARGV[2])
  else
    redis.call('DEL', KEYS[1])
  end
end
"""
)


class RedisBroadcaster(Broadcaster):
    """
    Publish through pools of blocking connections.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://`` address, as redis-py takes it. A
            list of several: each has its share of the channels. Every process must
            have the same list.
        prefix: Stands before every channel's name in Redis.
        max_connections: Size of a server's pool. A thread that finds it empty waits.
        timeout: Seconds to wait for a free connection, and for an answer.
        sentinels: Host and port of each Sentinel. The `url` says how the master is
            logged in to; its host is of no account.
        service: What the Sentinels call the master.
        sentinel_options: redis-py's options of connections to the Sentinels.
        cluster: Whether `url` names nodes of a Redis Cluster.
    """

    def __init__(
        self,
        *,
        app: Application,
        first_app_id: str,
        url: str | Sequence[str] = DEFAULT_URL,
        prefix: str = "",
        max_connections: int = 10,
        timeout: float = 5.0,
        sentinels: Sequence[Sequence[Any]] | None = None,
        service: str | None = None,
        sentinel_options: Mapping[str, Any] | None = None,
        cluster: bool = False,
    ) -> None:
        super().__init__(app=app, first_app_id=first_app_id)
        urls = _urls(url)
        if sentinels is not None:
            _forbid('"SENTINELS"', {'"CLUSTER"': cluster, 'a list as "URL"': len(urls) > 1})
            if not service:
                raise ValueError('it has "SENTINELS" and no "SERVICE", the name of their master')
            options = {name.lower(): value for name, value in (sentinel_options or {}).items()}
            self._servers: list[Server] = [
                SentinelServer(urls[0], _addresses(sentinels), service, options)
            ]
        elif service is not None or sentinel_options is not None:
            raise ValueError('"SERVICE" and "SENTINEL_OPTIONS" need "SENTINELS"')
        elif not cluster:
            self._servers = [Server(each) for each in urls]
        if not cluster:
            self._layout = Layout(prefix, first_app_id, len(self._servers))
        else:
            if set(prefix) & set("{}"):
                raise ValueError('its "PREFIX" has a brace, which "CLUSTER" does not allow')
            self._layout = Layout(prefix, first_app_id, None)
            nodes = Cluster(urls)
            self._servers = [ClusterServer(nodes, names.tag) for names in self._layout.parts]
        self._clients = Clients(max_connections=max_connections, timeout=timeout)
        self._known: list[set[str]] = [set() for _ in self._servers]  # Scripts, by part.

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
        """Publish to all `channels`, in one round trip for each part of the bus."""
        if not channels:
            return
        messages = [
            Message(topic_of(self.app.id, name), event, data, socket_id) for name in channels
        ]
        payload = encode_wire(messages[0], verbatim=False)
        parts: dict[int, list[Message]] = {}
        for message in messages:
            parts.setdefault(self._layout.part_of(message.topic), []).append(message)
        error: Exception | None = None
        for number, group in parts.items():
            try:
                self._send(number, group, payload)
            except (BroadcastError, RedisError, OSError) as exc:
                self._servers[number].forget()
                error = exc  # What belongs to another part is sent all the same.
        if error is not None:
            raise BroadcastError(f"Redis did not take the message: {error}") from error

    def get_broker(self) -> Broker:
        """Return a read end for the running loop."""
        brokers = [
            RedisBroker(server, names)
            for server, names in zip(self._servers, self._layout.parts, strict=True)
        ]
        return brokers[0] if len(brokers) == 1 else ShardedBroker(brokers, self._layout.part_of)

    def check(self) -> list[CheckMessage]:
        """Warn of a slow reader."""
        if HIREDIS_AVAILABLE:
            return []
        return [
            Warning(
                "hiredis is not installed. Without it a process that serves sockets reads "
                "from Redis so slowly that Redis ends its connection in a burst of messages.",
                hint='pip install "whik[redis]". See docs/checks.md#broadcastingw004',
                id="broadcasting.W004",
            )
        ]

    def examine(self) -> list[Finding]:
        """Look at each server, once."""
        found: list[Finding] = []
        seen: set[int] = set()
        for server, names in zip(self._servers, self._layout.parts, strict=True):
            try:
                client = self._clients.of(server)
            except (RedisError, OSError) as exc:
                server.forget()
                fix = "Start it there, or correct URL, SENTINELS and SERVICE of the connection."
                return [*found, Finding("error", "Redis", f"It was not found: {exc}.", fix)]
            if id(client) not in seen:  # Partitions of a cluster share nodes.
                seen.add(id(client))
                found += redis_examination.examine(client, names)
        return found

    def close(self) -> None:
        """Close the pools."""
        self._clients.close()

    def _send(self, number: int, messages: list[Message], payload: str) -> None:
        server, names = self._servers[number], self._layout.parts[number]
        tries = 0
        while messages:
            tries += 1
            pipeline = self._clients.of(server).pipeline(transaction=False)
            for message in messages:
                command = publish_command(message, payload, names, self._known[number])
                pipeline.execute_command(*command)
            answers = pipeline.execute(raise_on_error=False)
            messages = to_be_sent_again(messages, answers, server, self._known[number])
            if messages and (pause := pause_before(answers, server, tries)):
                time.sleep(pause)


class RedisBroker(Broker):
    """
    Read a process's topics of one part of the bus through one connection.

    Args:
        server: Where that part is.
        names: How things are called there.
    """

    is_shared = True
    supports_cache = True
    TIMEOUT = 5.0  # Seconds that a batch of messages may take.

    def __init__(self, server: Server, names: Names) -> None:
        self._names = names
        self._endpoint = Endpoint(server)
        self._queue = PublishQueue(self._publish)
        self._queue.TIMEOUT = self.TIMEOUT
        self._known: set[str] = set()  # Scripts that Redis has seen.
        self._scripts = ScriptQueue(self._endpoint)
        self.presence: RedisPresence = RedisPresence(self._scripts, names)
        self._reader = Reader(
            self._endpoint,
            take=self._take,
            is_sharded=names.is_sharded,
            doubt=self.presence.doubt,
        )
        self._listener: Listener | None = None
        self._me = secrets.token_hex(8)  # In turns.

    @property
    def is_up(self) -> bool:  # type: ignore[override]  # Nobody but the reader sets it.
        """Whether the reader is connected and has subscribed to all that is wanted."""
        return self._reader.is_up

    @property
    def reconnects(self) -> int:  # type: ignore[override]  # As above.
        """How often that was lost and found again."""
        return self._reader.reconnects

    async def connect(self, listener: Listener) -> None:
        """Start the reader. It connects in the background."""
        self._listener = listener
        self.presence.connect(listener)
        self._reader.start()

    async def close(self) -> None:
        """End the reader, the publisher and this process's part of the presence."""
        await self._queue.close()
        await self.presence.close()
        await self._scripts.close()
        await self._reader.close()
        await self._endpoint.aclose()

    async def subscribe(self, topic: str) -> None:
        """Return when Redis has confirmed the subscription."""
        await self._reader.subscribe(self._names.of(topic), topic)

    async def unsubscribe(self, topic: str) -> None:
        """Deliver no more of it. Redis is told some seconds later."""
        self._reader.unsubscribe(self._names.of(topic))

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

    async def take_turn(self, name: str, seconds: float) -> bool:
        """Ask Redis, which forgets a turn when its `seconds` are over."""
        arguments: list[str | int] = [self._me, max(1, int(seconds * 1000))]
        is_taken = await self._scripts.call(TAKE_TURN, [self._names.turn_of(name)], arguments)
        return bool(is_taken)

    async def end_turn(self, name: str, after: float = 0) -> None:
        """Tell Redis, if it can be told; else the turn ends when its seconds are over."""
        with suppress(BroadcastError):
            arguments: list[str | int] = [self._me, max(0, int(after * 1000))]
            await self._scripts.call(END_TURN, [self._names.turn_of(name)], arguments)

    def _take(self, topic: str, payload: bytes) -> None:
        if self._listener is None:
            return
        try:
            message = decode_wire(topic, payload)
        except ValueError as exc:
            channel = self._names.of(topic)
            logger.warning("Dropped a malformed message on Redis channel %r: %s", channel, exc)
            return
        self._listener.deliver(message)

    async def _publish(self, batch: list[Message]) -> None:
        server = self._endpoint.server
        tries = 0
        try:
            while batch:
                tries += 1
                pipeline = (await self._endpoint.client()).pipeline(transaction=False)
                for message in batch:
                    payload = encode_wire(message, verbatim=True)
                    command = publish_command(message, payload, self._names, self._known)
                    pipeline.execute_command(*command)
                answers = await pipeline.execute(raise_on_error=False)
                batch = to_be_sent_again(batch, answers, server, self._known)
                if batch:
                    await sleep(pause_before(answers, server, tries))
        except (RedisError, OSError) as exc:
            server.forget()
            raise BroadcastError(f"Redis did not take the message: {exc}") from exc


def to_be_sent_again(
    messages: list[Message], answers: list[Any], server: Server, known: set[str]
) -> list[Message]:
    """
    Return those whose script Redis has forgotten, as after a restart, or that belong elsewhere.

    Raises:
        RedisError: Redis refused one of the others.
    """
    again = []
    for message, answer in zip(messages, answers, strict=True):
        if isinstance(answer, NoScriptError):
            known.discard(KEEP_AND_PUBLISH.sha)
            again.append(message)
        elif server.is_elsewhere(answer):
            again.append(message)
        elif isinstance(answer, RedisError):
            raise answer
    return again


def _urls(value: str | Sequence[str]) -> list[str]:
    urls = [value] if isinstance(value, str) else list(value)
    if not urls or not all(isinstance(url, str) for url in urls):
        raise ValueError('its "URL" is neither an address nor a list of addresses')
    for url in urls:
        try:
            urlsplit(url).port  # noqa: B018 (raises ValueError, as urlsplit does)
        except ValueError:
            # Python's reason would repeat a part of the password.
            raise ValueError(
                'its "URL" cannot be read. In a password / is written as %2F, and [ as %5B'
            ) from None
    return urls


def _addresses(value: Sequence[Sequence[Any]]) -> list[tuple[str, int]]:
    addresses = []
    for entry in [] if isinstance(value, str) else value:
        if isinstance(entry, str) or len(entry) != 2:
            raise ValueError(f'its "SENTINELS" have {entry!r}, which is no [host, port]')
        host, port = entry
        addresses.append((str(host), int(port)))
    if not addresses:
        raise ValueError('its "SENTINELS" are no list of [host, port]')
    return addresses


def _forbid(option: str, others: Mapping[str, object]) -> None:
    for other, is_given in others.items():
        if is_given:
            raise ValueError(f"{option} and {other} do not go together")
