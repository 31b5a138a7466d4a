"""
Where a part of the bus is: one server, the master that Sentinels name, a node of a cluster.

A server whose address may change finds it out: it asks the Sentinels for their master, or
the nodes of a cluster for the one that serves a slot. It remembers the answer until `forget`
is called, which whoever meets an error does; the next one to connect asks again. redis-py's
cluster client is not used: it has no blocking pool, no asynchronous sharded pub/sub, and
chooses a node per command, where here all of a pipeline goes to one.

All threads and loops of a process share these objects. They ask with blocking calls.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from redis import BlockingConnectionPool, Connection, Redis, UnixDomainSocketConnection
from redis.asyncio.connection import parse_url as parse_async_url
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import AskError, MovedError, ReadOnlyError, RedisError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from redis.sentinel import Sentinel

from .names import slot_of

Address = tuple[str, int]

CONNECT_TIMEOUT = 2.0  # Seconds, of a connection and of a question where the server is.


class Server:
    """
    A Redis at a fixed address.

    Args:
        url: As redis-py takes it. Raises `ValueError` or `TypeError` if it does not.

    Attributes:
        moves: Whether its address may change.
        known: The scripts that it has seen, by their SHA-1. It may have lost them since.
    """

    moves = False
    # Refusals that mean: ask where it is now, and send again.
    ELSEWHERE: tuple[type[RedisError], ...] = ()

    def __init__(self, url: str) -> None:
        self.url = url
        self.known: set[str] = set()
        # Made once here, so that a wrong option is found at start.
        BlockingConnectionPool(**self.options(None)).make_connection()

    @property
    def address(self) -> Address | None:
        """What stands in for the address in the URL, as far as it is known."""
        return None

    def locate(self) -> Address | None:
        """Return `address`, asking for it if necessary. Raise `RedisError` or `OSError`."""
        return None

    def forget(self) -> None:
        """Take nothing for granted: it was lost. Whoever needs its address asks again."""
        self.known.clear()

    def is_elsewhere(self, answer: object) -> bool:
        """Whether `answer` says that another server has what was asked for, now or soon."""
        return isinstance(answer, self.ELSEWHERE)

    def options(self, address: Address | None) -> dict[str, Any]:
        """Return redis-py's options for a pool of blocking connections to `address`."""
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
        """Return redis-py's options for a pool of one loop's connections to `address`."""
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
        url: User, password, database and TLS of the master. Its host is not used.
        sentinels: Host and port of each.
        service: What the Sentinels call the master.
        sentinel_options: redis-py's options for the connections to Sentinels.
    """

    moves = True
    ELSEWHERE = (ReadOnlyError,)

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
        return self._address

    def locate(self) -> Address:
        with self._lock:
            if self._address is None:
                self._address = self._sentinel.discover_master(self._service)
            return self._address

    def forget(self) -> None:
        super().forget()
        self._address = None

    # Whoever answers must be a master (Redis, "Sentinel client spec", step 3).

    def options(self, address: Address | None) -> dict[str, Any]:
        return super().options(address) | {"redis_connect_func": _greet_master}

    def async_options(self, address: Address | None) -> dict[str, Any]:
        return super().async_options(address) | {"redis_connect_func": _agreet_master}


class ClusterServer(Server):
    """
    The node of a cluster that serves a partition.

    Args:
        tag: The partition's hash tag.
    """

    moves = True
    ELSEWHERE = (MovedError, AskError, TryAgainError, ReadOnlyError)

    def __init__(self, cluster: "Cluster", tag: str) -> None:
        super().__init__(cluster.url)
        self._cluster = cluster
        self._slot = slot_of(tag)

    @property
    def address(self) -> Address | None:
        return self._cluster.node_of(self._slot)

    def locate(self) -> Address:
        return self._cluster.locate(self._slot)

    def forget(self) -> None:
        super().forget()
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
        """Return the node that serves `slot`, asking the cluster if it is not known."""
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
        """Make the next one who needs a node ask again."""
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


def _host(address: Address | None) -> dict[str, Any]:
    return {} if address is None else {"host": address[0], "port": address[1]}


def _is_unix(url: str) -> bool:
    return parse_url(url).get("connection_class") is UnixDomainSocketConnection


def _slots_of(options: Mapping[str, Any]) -> list[tuple[int, int, Address]]:
    """Return what a node answers to ``CLUSTER SLOTS``: first and last slot, and the master."""
    pool = BlockingConnectionPool(**{"socket_timeout": CONNECT_TIMEOUT, **options})
    with Redis.from_pool(pool) as client:
        answer = client.execute_command("CLUSTER", "SLOTS")
    ranges = []
    for first, last, (host, port, *_), *_ in answer:
        name = host.decode() if isinstance(host, bytes) else host
        if name in {None, "", "?"}:  # It does not know what others call it.
            name = options.get("host", "localhost")
        ranges.append((first, last, (name, port)))
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
