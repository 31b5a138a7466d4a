"""
A process that leaves behind a proxy, as clients see it: 4200, and they are elsewhere.

Clients do what pusher-js does: closed with 4200, they come back at once. Others come for
the first time all the while, and none of them meets an error.
"""

import asyncio
import signal
import socket
from asyncio import to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.deploy.clients import connect, fetch, publish
from tests.deploy.conftest import READY, MakeSite
from tests.deploy.programs import Process, Proxy, start_nginx, start_proxy
from tests.e2e.client import Client
from tests.utils import PATIENCE, await_until, free_port

CHANNEL = "private-crowd"


class Crowd:
    """
    Clients that come back when they are told to.

    Attributes:
        codes: With which connections ended, in the order of their ends.
        errors: What a client met instead of a greeting or a known code.
    """

    def __init__(self, proxy: Proxy, size: int) -> None:
        self.codes: list[int | None] = []
        self.errors: list[str] = []
        self._proxy = proxy
        self._size = size
        self._current: dict[int, Client] = {}
        self._is_over = False

    @asynccontextmanager
    async def around(self) -> AsyncIterator["Crowd"]:
        """Have all of them connected, and new ones coming and going, meanwhile."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._size):
                group.create_task(self._stay(number))
            try:
                await await_until(self.is_complete, what="all clients are connected")
                group.create_task(self._visit())
                yield self
            finally:
                self._is_over = True
                for client in self._current.values():
                    await client.close()

    def is_complete(self) -> bool:
        """Tell whether each has a connection on which it has joined."""
        joined = [client for client in self._current.values() if client.is_open]
        return len(joined) == self._size

    async def hears(self, event: str) -> None:
        """Publish an event until all receive it; some may be closed once more meanwhile."""
        for number in range(10):
            await await_until(self.is_complete, what="all clients are connected")
            clients, name = list(self._current.values()), f"{event}-{number}"
            await publish(self._proxy, CHANNEL, name)
            for client in clients:
                await await_until(partial(_is_done, client, name), what=name)
            if all(client.log(name, CHANNEL) for client in clients):
                return
        raise AssertionError(f"Nobody stays for long enough to receive {event}")

    async def _stay(self, number: int) -> None:
        while not self._is_over and (client := await self._connect()) is not None:
            await client.join(CHANNEL)
            self._current[number] = client
            code = await client.close_code()
            if not self._is_over:
                self.codes.append(code)

    async def _visit(self) -> None:
        while not self._is_over and (client := await self._connect()) is not None:
            await client.close()
            status, _, _ = await to_thread(fetch, self._proxy, "GET", "/live")
            if status != 200:
                self.errors.append(f"/live answered {status}")

    async def _connect(self) -> Client | None:
        try:
            client = await connect(self._proxy)
        except Exception as exc:
            self.errors.append(repr(exc))
            return None
        if not client.socket_id:
            code = await client.close_code()
            self.errors.append(f"closed with {code} in place of a greeting")
            return None
        return client


def _is_done(client: Client, name: str) -> bool:
    return bool(client.log(name, CHANNEL)) or not client.is_open


async def ends(process: Process) -> int:
    """Wait until a process has ended; return its status."""
    return await to_thread(process.process.wait, PATIENCE)


@pytest.mark.parametrize("name", ["nginx-ports", "haproxy", "caddy"])
async def test_clients_of_a_leaving_process_find_the_other(
    make_site: MakeSite, tmp_path: Path, name: str
) -> None:
    """Those that look at /ready take it out before it stops listening; nginx passes it over."""
    site, ports = make_site(), (free_port(), free_port())
    # Two looks, a second apart, and their answers.
    delay = "0" if name == "nginx-ports" else "4"
    timing = ("--drain-delay", delay, "--drain-seconds", "1")
    a, b = await to_thread(site.serve_on, ports, *timing)
    proxy = await to_thread(start_proxy, name, tmp_path / name, ports)
    site.keep(proxy.process)
    async with Crowd(proxy, 12).around() as crowd:
        a.process.send_signal(signal.SIGTERM)
        if name == "haproxy":
            await to_thread(proxy.process.wait_for_log, "Server whik/a is DOWN")
            assert a.process.poll() is None
            assert crowd.codes == []
        assert await ends(a) == 0
        await await_until(crowd.is_complete, what="all clients are back")
        await crowd.hears("Moved")
    assert crowd.errors == []
    assert set(crowd.codes) == {4200}
    assert 1 <= len(crowd.codes) <= 12
    assert b.process.poll() is None


async def test_a_reload_replaces_workers_unnoticed(make_site: MakeSite, tmp_path: Path) -> None:
    """At SIGHUP, `systemctl reload`, each client is closed with 4200, and comes back at once."""
    site, path = make_site(), tmp_path / "serve.sock"
    process = site.serve(
        *("--uds", str(path), "--workers", "2", "--keep-alive", "75"),
        *("--forwarded-allow-ips", "*", "--drain-delay", "0", "--drain-seconds", "1"),
    )
    await to_thread(process.wait_for_log, READY)
    proxy = await to_thread(start_nginx, tmp_path / "nginx", [f"unix:{path}"] * 2)
    site.keep(proxy.process)
    async with Crowd(proxy, 12).around() as crowd:
        process.process.send_signal(signal.SIGHUP)
        # A client of the first may come to the second, before that is replaced too.
        await await_until(lambda: len(crowd.codes) >= 12, what="every client was closed")
        await await_until(crowd.is_complete, what="all clients are back")
        await crowd.hears("Reloaded")
    assert crowd.errors == []
    assert set(crowd.codes) == {4200}
    assert process.process.poll() is None


async def test_a_restart_on_a_kept_socket_refuses_nobody(
    make_site: MakeSite, tmp_path: Path
) -> None:
    """While whoever listens has left and the next one starts, clients wait, as with systemd."""
    site, path = make_site(), tmp_path / "serve.sock"
    # What whik.socket does.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(4096)
        number = listener.fileno()
        arguments = ("--fd", str(number), "--workers", "2", "--keep-alive", "75")
        timing = ("--drain-delay", "0", "--drain-seconds", "0.5", "--forwarded-allow-ips", "*")

        async def start() -> Process:
            process = site.serve(*arguments, *timing, pass_fds=[number])
            await to_thread(process.wait_for_log, READY)
            return process

        first = await start()
        proxy = await to_thread(start_nginx, tmp_path / "nginx", [f"unix:{path}"] * 2)
        site.keep(proxy.process)
        async with Crowd(proxy, 6).around() as crowd:
            first.process.send_signal(signal.SIGTERM)
            assert await ends(first) == 0
            await start()
            await await_until(crowd.is_complete, what="all clients are back")
            await crowd.hears("Restarted")
        assert crowd.errors == []
        assert set(crowd.codes) == {4200}
