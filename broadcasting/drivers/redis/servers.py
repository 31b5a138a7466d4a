"""
Where a part of the bus is, and the connections that lead there.

A `Server` has a fixed address, or finds it out: by asking the Sentinels for their
master, or the nodes of a cluster for the one that serves a slot. What was found out
counts until somebody says `forget`, which whoever meets an error does: the next one to
connect asks again. redis-py's cluster client is not used: it has no blocking pool, no
asynchronous sharded pub/sub, and chooses a node per command, where here all of a
pipeline goes to one.

One object is shared by all threads and loops. It asks with blocking calls; an
`Endpoint`, which is of one loop, has it do so in a worker thread.
"""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import redis.asyncio
from redis import (
    BlockingConnectionPool,
    Connection,
    Redis,
    UnixDomainSocketConnection,
)
from redis.asyncio.connection import AbstractConnection as AsyncConnection
from redis.asyncio.connection import parse_url as parse_async_url
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, parse_url
from redis.exceptions import AskError, MovedError, ReadOnlyError, RedisError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from redis.sentinel import Sentinel

from ...exceptions import BroadcastError
from .names import slot_of

Address = tuple[str, int]

CONNECT_TIMEOUT = 2.0  # Seconds, of a connection and of a question where the server is.
# What is refused because it has just moved is sent again, so often: at once, then after
# such a pause.
TRIES = 20
PAUSE = 0.1


class Server:
    """
    A Redis at a fixed address.

    Args:
        url: As redis-py takes it. Raises `ValueError` or `TypeError` if it does not.
    """

    # Whether its address may change, and what it answers then: the caller asks where it is
    # now, and sends again. Before redis-py 6 only a cluster client knew some of these errors.
    moves = False
    ELSEWHERE: tuple[str, ...] = ()

    def __init__(self, url: str) -> None:
        self.url = url
        _connection(self.options(None))  # So that a wrong option is found at start.

    @property
    def address(self) -> Address | None:
        """What stands in for the address in the URL, as far as it is known."""
        return None

    def locate(self) -> Address | None:
        """Return `address`, having found it out. Raise `RedisError` or `OSError` if that fails."""
        return None

    def forget(self) -> None:
        """Find the address out anew for the next one who asks."""

    def is_elsewhere(self, answer: object) -> bool:
        """Tell whether `answer` is a refusal, since what was asked for is not here, or not yet."""
        return isinstance(answer, RedisError) and _code(answer) in self.ELSEWHERE

    def options(self, address: Address | None) -> dict[str, Any]:
        """Return redis-py's options of a pool of blocking connections to `address`."""
        options: dict[str, Any] = {
            "connection_class": Connection,
            "protocol": 2,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            # Not retried: a PUBLISH whose answer was lost may have been delivered. A pooled
            # connection that Redis has closed meanwhile is noticed when it is taken.
            "retry": Retry(NoBackoff(), 0),
        }
        return options | dict(parse_url(self.url)) | _host(address)

    def async_options(self, address: Address | None) -> dict[str, Any]:
        """Return redis-py's options of a pool of one loop's connections to `address`."""
        url = dict(parse_async_url(self.url))
        url.pop("timeout", None)  # Of a pool that blocks.
        return (
            url
            | _host(address)
            | {
                "protocol": 2,
                # Blocking reads: redis-py 8 would end them after five seconds. One reader
                # needs no client retries either, which would hide a lost connection.
                "socket_timeout": None,
                "socket_connect_timeout": CONNECT_TIMEOUT,
                "retry": AsyncRetry(NoBackoff(), 0),
                "decode_responses": False,
            }
        )


class SentinelServer(Server):
    """
    The master that Sentinels watch over.

    Args:
        url: User, password, database and TLS of the master. Its host is of no account.
        sentinels: Host and port of each.
        service: What the Sentinels call the master.
        sentinel_options: redis-py's options of the connections to Sentinels.
    """

    moves = True
    ELSEWHERE = ("READONLY",)

    def __init__(
        self,
        url: str,
        sentinels: Sequence[Address],
        service: str,
        sentinel_options: Mapping[str, Any],
    ) -> None:
        if _is_unix(url):
            raise ValueError('its "URL" is a unix:// one, where SENTINELS give host and port')
        super().__init__(url)
        self._service = service
        self._lock = threading.Lock()
        self._address: Address | None = None
        self._sentinel = Sentinel(
            list(sentinels),
            sentinel_kwargs={
                "protocol": 2,
                "socket_timeout": CONNECT_TIMEOUT,
                "socket_connect_timeout": CONNECT_TIMEOUT,
                "retry": Retry(NoBackoff(), 0),
                **sentinel_options,
            },
        )

    @property
    def address(self) -> Address | None:
        """The master's, as far as it is known."""
        return self._address

    def locate(self) -> Address:
        """Ask the Sentinels, if the master is not known."""
        with self._lock:
            if self._address is None:
                self._address = self._sentinel.discover_master(self._service)
            return self._address

    def forget(self) -> None:
        """Ask the Sentinels again next time."""
        self._address = None

    def options(self, address: Address | None) -> dict[str, Any]:
        """See to it that who answers is a master (Redis, "Sentinel client spec", step 3)."""
        return super().options(address) | {"redis_connect_func": _greet_master}

    def async_options(self, address: Address | None) -> dict[str, Any]:
        """Do as `options`."""
        return super().async_options(address) | {"redis_connect_func": _agreet_master}


class ClusterServer(Server):
    """
    The node of a cluster that serves a partition.

    Args:
        tag: The partition's hash tag.
    """

    moves = True
    ELSEWHERE = ("MOVED", "ASK", "TRYAGAIN", "READONLY")

    def __init__(self, cluster: "Cluster", tag: str) -> None:
        super().__init__(cluster.url)
        self._cluster = cluster
        self._slot = slot_of(tag)

    @property
    def address(self) -> Address | None:
        """The node's, as far as it is known."""
        return self._cluster.node_of(self._slot)

    def locate(self) -> Address:
        """Ask the cluster, if the node is not known."""
        return self._cluster.locate(self._slot)

    def forget(self) -> None:
        """Ask the cluster again next time."""
        self._cluster.forget()


class Cluster:
    """
    Which node serves which slots.

    Args:
        urls: Some nodes. User, password and TLS of the first hold for all.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        for url in urls:
            if _is_unix(url) or parse_url(url).get("db"):
                raise ValueError(
                    'its "URL" is a unix:// one or names a database, and a cluster has neither'
                )
        self.url = urls[0]
        self._first = [Server(url) for url in urls]
        self._lock = threading.Lock()
        self._ranges: list[tuple[int, int, Address]] = []
        self._is_known = False

    def node_of(self, slot: int) -> Address | None:
        """Return the node that serves `slot`, as far as it is known."""
        if self._is_known:
            for first, last, address in self._ranges:
                if first <= slot <= last:
                    return address
        return None

    def locate(self, slot: int) -> Address:
        """Return the node that serves `slot`, having asked the cluster if it is not known."""
        with self._lock:
            if not self._is_known:
                self._ranges = self._ask()
                self._is_known = True
        address = self.node_of(slot)
        if address is None:
            self.forget()
            raise RedisConnectionError(f"no node of the cluster serves slot {slot}")
        return address

    def forget(self) -> None:
        """Ask again next time."""
        self._is_known = False

    def _ask(self) -> list[tuple[int, int, Address]]:
        nodes = {node for _, _, node in self._ranges}
        known = [self._first[0].options(node) for node in nodes]
        error: Exception = RedisConnectionError("no node of the cluster is known")
        for options in [*known, *(server.options(None) for server in self._first)]:
            try:
                return _slots_of(options)
            except (RedisError, OSError) as exc:
                error = exc
        raise error


class Clients:
    """
    The pools of a process's write end, one for each address.

    Args:
        max_connections: Size of a pool. A thread that finds it empty waits.
        timeout: Seconds to wait for a free connection, and for an answer.
    """

    def __init__(self, *, max_connections: int, timeout: float) -> None:
        self._limits = {
            "max_connections": max_connections,
            "timeout": timeout,
            "socket_timeout": timeout,
        }
        self._lock = threading.Lock()
        self._made: dict[tuple[str, Address | None], Redis] = {}

    def of(self, server: Server) -> Redis:
        """Return the client of `server`. Raise `RedisError` or `OSError` if it is not found."""
        key = server.url, server.address or server.locate()
        client = self._made.get(key)
        if client is None:
            with self._lock:
                client = self._made.get(key)
                if client is None:
                    pool = BlockingConnectionPool(**self._limits | server.options(key[1]))
                    client = self._made[key] = Redis.from_pool(pool)
        return client

    def close(self) -> None:
        """Close all pools. Whoever asks later gets new ones."""
        with self._lock:
            made, self._made = self._made, {}
        for client in made.values():
            client.close()


class Endpoint:
    """The way of one loop to a server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._client: redis.asyncio.Redis | None = None
        self._address: Address | None = None

    async def client(self) -> "redis.asyncio.Redis":
        """Return a client. Raise `RedisError` or `OSError` if the server is not found."""
        address = await self._locate()
        former = self._client
        if former is not None and address == self._address:
            return former
        self._address = address
        pool = redis.asyncio.ConnectionPool(**self.server.async_options(address))
        self._client = client = redis.asyncio.Redis.from_pool(pool)
        if former is not None:
            await former.aclose()
        return client

    async def connection(self) -> AsyncConnection:
        """Return a connection for a reader, which has still to connect."""
        pool = (await self.client()).connection_pool
        connection: AsyncConnection = pool.connection_class(**pool.connection_kwargs)
        return connection

    async def aclose(self) -> None:
        """Close the client."""
        if self._client is not None:
            await self._client.aclose()

    async def _locate(self) -> Address | None:
        address = self.server.address
        if address is None and self.server.moves:
            address = await asyncio.to_thread(self.server.locate)
        return address


def pause_before(answers: Sequence[object], server: Server, tries: int) -> float:
    """
    Return the seconds to wait before what `server` refused is sent again to where it is now.

    Raise `BroadcastError` if that was sent `TRIES` times already.
    """
    refused = [answer for answer in answers if server.is_elsewhere(answer)]
    if not refused:
        return 0
    server.forget()
    if tries >= TRIES:
        raise BroadcastError(f"Redis refused, since it is elsewhere or moving: {refused[0]}")
    return PAUSE if tries > 1 else 0


# Of an error whose text does not begin with its code.
_CODES = {
    MovedError: "MOVED",
    AskError: "ASK",
    TryAgainError: "TRYAGAIN",
    ReadOnlyError: "READONLY",
}


def _code(error: RedisError) -> str:
    return _CODES.get(type(error)) or str(error).partition(" ")[0]


def _host(address: Address | None) -> dict[str, Any]:
    return {} if address is None else {"host": address[0], "port": address[1]}


def _is_unix(url: str) -> bool:
    return parse_url(url).get("connection_class") is UnixDomainSocketConnection


def _connection(options: Mapping[str, Any]) -> AbstractConnection:
    # By way of a pool, which takes out its own options.
    pool = BlockingConnectionPool(**options)
    connection: AbstractConnection = pool.connection_class(**pool.connection_kwargs)
    return connection


def _slots_of(options: Mapping[str, Any]) -> list[tuple[int, int, Address]]:
    """Return what a node answers to ``CLUSTER SLOTS``: first and last slot, and the master."""
    connection = _connection({"socket_timeout": CONNECT_TIMEOUT, **options})
    try:
        connection.connect()
        connection.send_command("CLUSTER", "SLOTS")
        answer = connection.read_response()
    finally:
        connection.disconnect()
    ranges = []
    for first, last, (host, port, *_), *_ in answer:
        name = host.decode() if isinstance(host, bytes) else host
        # A node that does not know what others call it leaves that to the caller.
        ranges.append((first, last, (connection.host if name in {None, "", "?"} else name, port)))
    return ranges


def _greet_master(connection: Any) -> None:
    connection.on_connect()
    connection.send_command("ROLE")
    _expect_master(connection, connection.read_response())


async def _agreet_master(connection: Any) -> None:
    await connection.on_connect()
    await connection.send_command("ROLE")
    _expect_master(connection, await connection.read_response())


def _expect_master(connection: Any, role: Sequence[Any]) -> None:
    if role[0] not in (b"master", "master"):
        raise RedisConnectionError(
            f"{connection.host}:{connection.port} is not the master any more"
        )
