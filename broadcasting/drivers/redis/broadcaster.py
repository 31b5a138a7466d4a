"""
The write end over Redis pub/sub: one server, several that share the channels, Sentinel, or a
cluster.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Unpack
from urllib.parse import urlsplit

from django.core.checks import CheckMessage, Warning
from redis.exceptions import RedisError

from ...exceptions import BroadcastError
from ...protocol.messages import Message
from ..base import Broadcaster, Broker, Common, Options, raise_refused
from ..diagnosis import Diagnosis
from .broker import RedisBroker
from .clients import Clients
from .diagnosis import diagnose
from .history import publish
from .names import Layout
from .servers import Cluster, ClusterServer, SentinelServer, Server
from .shards import ShardedBroker
from .wire import encode_wire

DEFAULT_URL = "redis://127.0.0.1:6379/0"


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
        sentinels: Host and port of each Sentinel. The `url` says how to log in to the
            master; its host is not used.
        service: What the Sentinels call the master.
        sentinel_options: redis-py's options for the connections to Sentinels.
        cluster: Whether `url` names nodes of a Redis Cluster.
    """

    def __init__(
        self,
        *,
        url: str | Sequence[str] = DEFAULT_URL,
        prefix: str = "",
        max_connections: int = 10,
        timeout: float = 5.0,
        sentinels: Sequence[Sequence[Any]] | None = None,
        service: str | None = None,
        sentinel_options: Mapping[str, Any] | None = None,
        cluster: bool = False,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        urls = _urls(url)
        servers: list[Server]
        if sentinels is not None:
            if cluster or len(urls) > 1:
                other = '"CLUSTER"' if cluster else 'a list as "URL"'
                raise ValueError(f'"SENTINELS" and {other} do not go together')
            if not service:
                raise ValueError('it has "SENTINELS" and no "SERVICE", the name of their master')
            options = {name.lower(): value for name, value in (sentinel_options or {}).items()}
            servers = [SentinelServer(urls[0], _addresses(sentinels), service, options)]
        elif service is not None or sentinel_options is not None:
            raise ValueError('"SERVICE" and "SENTINEL_OPTIONS" need "SENTINELS"')
        elif cluster and set(prefix) & set("{}"):
            raise ValueError('its "PREFIX" has a brace, which "CLUSTER" does not allow')
        else:
            servers = [] if cluster else [Server(each) for each in urls]
        self._layout = Layout(prefix, self.first_app_id, None if cluster else len(servers))
        if cluster:
            nodes = Cluster(urls)
            servers = [ClusterServer(nodes, names.tag) for names in self._layout.parts]
        self._parts = list(zip(servers, self._layout.parts, strict=True))
        self._clients = Clients(max_connections=max_connections, timeout=timeout)

    def broadcast(
        self, channels: Sequence[str], event: str, data: str, **options: Unpack[Options]
    ) -> None:
        """Publish to all `channels`, in one round trip for each part of the bus."""
        if not channels:
            return
        messages = self.make_messages(channels, event, data, options)
        payload = encode_wire(messages[0], verbatim=False)
        parts: dict[int, list[Message]] = {}
        for message in messages:
            parts.setdefault(self._layout.part_of(message.topic), []).append(message)
        refused: dict[str, BroadcastError] = {}
        for number, group in parts.items():
            server, names = self._parts[number]
            try:
                answers = self._clients.run(server, [publish(m, payload, names) for m in group])
            except (RedisError, OSError) as exc:
                # What belongs to another part is sent all the same.
                error = BroadcastError(f"Redis is away: {exc}")
                error.__cause__ = exc
                answers = [error] * len(group)
            for message, answer in zip(group, answers, strict=True):
                if isinstance(answer, BroadcastError):
                    refused[message.channel] = answer
        raise_refused(refused, len(channels))

    def get_broker(self) -> Broker:
        brokers = [RedisBroker(server, names) for server, names in self._parts]
        return brokers[0] if len(brokers) == 1 else ShardedBroker(brokers, self._layout.part_of)

    def check(self) -> list[CheckMessage]:
        """Warn of a slow reader."""
        if find_spec("hiredis") is not None:
            return []
        return [
            Warning(
                "hiredis is not installed. Without it a process that serves sockets reads "
                "from Redis so slowly that Redis ends its connection in a burst of messages.",
                hint='pip install "whik[redis]". See docs/checks.md#broadcastingw004',
                id="broadcasting.W004",
            )
        ]

    def diagnose(self) -> list[Diagnosis]:
        """Look at each server once."""
        found: list[Diagnosis] = []
        seen: set[int] = set()
        for server, names in self._parts:
            try:
                client = self._clients.of(server)
            except (RedisError, OSError) as exc:
                server.forget()
                fix = "Start it there, or correct URL, SENTINELS and SERVICE of the connection."
                return [*found, Diagnosis("error", "Redis", f"It was not found: {exc}.", fix)]
            if id(client) not in seen:  # Partitions of a cluster share nodes.
                seen.add(id(client))
                found += diagnose(client, names)
        return found

    def close(self) -> None:
        self._clients.close()


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
