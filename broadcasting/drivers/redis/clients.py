"""The connections to servers: pools for threads, and one connection for each task of a loop."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

from redis import BlockingConnectionPool, Redis
from redis.asyncio import ConnectionPool as AsyncConnectionPool
from redis.asyncio import Redis as AsyncRedis

from ..batch_queue import BatchQueue
from .scripts import Call, Exchange
from .servers import Address, Server


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

    def run(self, server: Server, calls: Sequence[Call]) -> list[Any]:
        """
        Return the answers to `calls`, a `BroadcastError` for each that Redis refused.

        Raises:
            RedisError: The server is away, or no connection became free.
            OSError: The same.
        """
        exchange = Exchange(calls, server)
        while exchange.is_open:
            try:
                pipeline = self.of(server).pipeline(transaction=False)
                for command in exchange.commands():
                    pipeline.execute_command(*command)
                answers = pipeline.execute(raise_on_error=False)
            except BaseException as exc:
                exchange.lose(exc)
            else:
                if pause := exchange.take(answers):
                    time.sleep(pause)
        return exchange.answers

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


class CallQueue(BatchQueue[Call, Any]):
    """Calls of a loop, as many in one round trip as wait, over one connection."""

    TIMEOUT = 5.0  # Seconds that a batch may take.

    def __init__(self, server: Server) -> None:
        super().__init__(self._run_calls, name="Redis", timeout=self.TIMEOUT, batch=200)
        self._server = server
        self._client: AsyncRedis | None = None
        self._address: Address | None = None

    async def close(self) -> None:
        """End; whoever still waits is cancelled, and nothing more is taken."""
        await super().close()
        if self._client is not None:
            await self._client.aclose()

    async def _run_calls(self, calls: list[Call]) -> list[Any]:
        exchange = Exchange(calls, self._server)
        while exchange.is_open:
            try:
                pipeline = (await self._connected()).pipeline(transaction=False)
                for command in exchange.commands():
                    pipeline.execute_command(*command)
                answers = await pipeline.execute(raise_on_error=False)
            except BaseException as exc:
                exchange.lose(exc)
            else:
                if pause := exchange.take(answers):
                    await asyncio.sleep(pause)
        return exchange.answers

    async def _connected(self) -> AsyncRedis:
        address = await find_address(self._server)
        if self._client is not None and address != self._address:
            await self._client.aclose()
            self._client = None
        if self._client is None:
            self._address = address
            self._client = AsyncRedis.from_pool(async_pool(self._server, address))
        return self._client


async def find_address(server: Server) -> Address | None:
    """Return the address of `server`. Raise `RedisError` or `OSError` if it is not found."""
    address = server.address
    if address is None and server.moves:
        address = await asyncio.to_thread(server.locate)
    return address


def async_pool(server: Server, address: Address | None) -> AsyncConnectionPool:
    """Return a pool of the running loop's connections to `server`, none of them made yet."""
    return AsyncConnectionPool(**server.async_options(address))
