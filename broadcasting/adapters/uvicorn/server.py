"""
One process that serves: uvicorn's server, with a way of leaving that clients bear.

Theory of operation
-------------------

`SIGTERM`, and `SIGHUP` where no supervisor is, begin a *drain*:

1. The process says that it is not ready, and works on for ``drain_delay`` seconds: load
   balancers need a moment to take notice.
2. It stops listening. Idle HTTP connections are closed, requests under way go on.
3. Sockets are asked to reconnect elsewhere, evenly over ``drain_seconds``.
4. What has not ended 5 seconds after that is cut off.
5. The hub stops: graces of presence channels go on elsewhere, webhooks are sent.

`SIGINT` does the same in a hurry: no delay, all sockets at once. A second one waits for
nothing. The exit status is 0 every time.

A worker is told the same by its supervisor, through a pipe; and one whose supervisor has
died drains, since nobody else would ever end it.

All servers can be asked to restart, on the bus. They do so one after the other: each waits
for its turn, then has its supervisor start another worker in its place, or just leaves
where there is none.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from socket import socket
from types import FrameType

import django
import uvicorn
from uvicorn.config import STARTUP_FAILURE

from ...exceptions import BroadcastError
from ...server.admission import get_admission
from ...server.hub import Hub
from ...server.hubs import get_hub, stop_hub, trace
from ...server.metrics.workers import Worker, get_worker, set_worker
from .access_log import log_requests, mask_signatures
from .options import Options
from .state import State

logger = logging.getLogger("broadcasting.server")

# Messages between a worker and its supervisor.
READY = b"ready"
REPLACE = b"replace"  # Start another worker, then have this one drain.
KEEP = b"keep"  # The other one did not start; go on.
HURRY = b"hurry"

REQUEST_GRACE = 5.0  # Seconds that requests have after the drain.
HURRY_GRACE = 2.0  # Seconds that they have in a hurry.
START_TIMEOUT = 2.0  # Seconds that the bus has before clients are served without it.
STOP_TIMEOUT = 6.0  # Seconds that the hub has to stop.
# Seconds that a process may live on when all is done: a thread may hang in a view.
LAST_GRACE = 3.0
TICK = 0.05  # Seconds between two looks at whether something has ended.

TURN = "restart"
TURN_SPARE = 60.0  # Seconds of a turn beside the drain: a new worker has to start.


def serve(
    options: Options,
    sockets: list[socket],
    supervisor: Connection | None = None,
    on_ready: Callable[[], object] | None = None,
) -> None:
    """Serve in this process, where Django is set up, until told to leave."""
    get_admission().max_connections = options.max_sockets
    Server(options, supervisor, on_ready).run(sockets)


def serve_as_worker(
    options: Options, sockets: list[socket], worker: Worker, supervisor: Connection
) -> None:
    """Serve in a process that a supervisor has just started."""
    # Ctrl+C reaches every process of the terminal. The supervisor says what follows.
    signals = {signal.SIGINT, signal.SIGHUP}
    for number in signals:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    django.setup()
    set_worker(worker)
    serve(options, sockets, supervisor)


def serve_until_changed(options: Options, worker: Worker, sockets: list[socket]) -> None:
    """Serve in a process that uvicorn's reloader has just started."""
    django.setup()
    set_worker(worker)
    serve(options, sockets)


class Server(uvicorn.Server):
    """
    uvicorn's server.

    Args:
        supervisor: The pipe to whoever started this process as one of several.
        on_ready: Called when clients are served.
    """

    def __init__(
        self,
        options: Options,
        supervisor: Connection | None = None,
        on_ready: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(options.config())
        self.server_state: State = State(options.max_open, options.handshake_timeout)
        self.servers: list[asyncio.Server] = []
        self._options = options
        self._supervisor = supervisor
        self._on_ready = on_ready
        self._hurried_at: float | None = None
        self._restart: asyncio.Task[None] | None = None
        self._has_turn = False
        self._ticks: asyncio.Task[None] | None = None

    def run(self, sockets: list[socket] | None = None) -> None:
        """Serve until told to leave. The application is imported before the loop runs."""
        self.config.load()
        # Not before: importing the application may configure logging once more.
        self.config.configure_logging()
        if self._options.debug:
            trace()
        mask_signatures()
        if self._options.access_log:
            log_requests()
        super().run(sockets)

    # Signals

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Obey signals meanwhile, and do not raise them again: to obey is no failure."""
        numbers = [signal.SIGTERM]
        if sys.platform == "win32":
            numbers += [signal.SIGBREAK]
        elif self._supervisor is None and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers += [signal.SIGHUP]  # Under nohup it is ignored, and stays so.
        if self._supervisor is None:
            numbers += [signal.SIGINT]
        former = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave: in a hurry when somebody waits at the terminal."""
        if sig == signal.SIGINT:
            self.force_exit = self._hurried_at is not None
            self.hurry()
        elif self._options.reload:
            self.hurry()
        self.should_exit = True

    def hurry(self) -> None:
        """Leave without waiting for clients."""
        self.should_exit = True
        if self._hurried_at is None:
            self._hurried_at = time.monotonic()

    # Start

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Make the hub, then listen."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        hub = get_hub()
        if not self._options.reload:  # Its reloader would wait for a change.
            hub.on_restart = self._asked_to_restart
        self.server_state.refused = hub.stats.refused
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await hub.start()
        except (BroadcastError, TimeoutError) as exc:
            logger.warning("The bus cannot be reached yet: %r", exc)
        loop = asyncio.get_running_loop()
        tls = self.config.ssl
        for sock in sockets or ():
            listener = await loop.create_server(
                self._make_protocol,
                sock=sock,
                backlog=self.config.backlog,
                ssl=tls,
                ssl_handshake_timeout=self._options.handshake_timeout if tls else None,
            )
            self.servers.append(listener)
        self.started = True
        self._listen_to_parent(loop)
        if self._supervisor is not None:
            self._say(READY)
        if self._on_ready is not None:
            self._on_ready()

    def _make_protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]  # uvicorn's own kind.
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )

    async def on_tick(self, counter: int) -> bool:
        """Do what is due ten times a second, and tell whether to leave."""
        if counter % 10 == 0:
            self.server_state.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    # Supervisor

    def _listen_to_parent(self, loop: asyncio.AbstractEventLoop) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and sys.platform != "win32":
            loop.add_reader(parent.sentinel, self._orphaned, loop, parent.sentinel)
        if self._supervisor is not None:
            loop.add_reader(self._supervisor.fileno(), self._hear, loop, self._supervisor)

    def _orphaned(self, loop: asyncio.AbstractEventLoop, sentinel: int) -> None:
        loop.remove_reader(sentinel)
        logger.error("The process that started this worker has died; it leaves, too")
        self.should_exit = True

    def _hear(self, loop: asyncio.AbstractEventLoop, supervisor: Connection) -> None:
        try:
            message = supervisor.recv_bytes()
        except (EOFError, OSError):
            loop.remove_reader(supervisor.fileno())
            return
        if message == HURRY:
            self.hurry()
        elif message == KEEP and self._restart is not None:
            self._restart.cancel()

    def _say(self, message: bytes) -> None:
        if self._supervisor is not None:
            with contextlib.suppress(OSError):  # It has died, and `_orphaned` knows.
                self._supervisor.send_bytes(message)

    # Restart

    def _asked_to_restart(self) -> None:
        # Once is enough, however often it is asked for.
        if self._restart is None and not self.should_exit:
            self._restart = asyncio.create_task(self._restart_in_turn())
            self._restart.add_done_callback(self._restart_ended)

    async def _restart_in_turn(self) -> None:
        logger.info("Asked to restart; waiting for the turn of this process")
        broker = get_hub().broker
        try:
            while not await self._takes_turn():  # noqa: ASYNC110  (others end it elsewhere)
                await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311  (no secret)
            self._has_turn = True
            if self._supervisor is None:
                self.should_exit = True
                return
            self._say(REPLACE)
            while True:  # Until the supervisor has another worker, or has none.
                await asyncio.sleep(TURN_SPARE / 6)
                await self._takes_turn()
        except asyncio.CancelledError:
            if self._has_turn and not self.should_exit:
                self._has_turn = False
                await broker.end_turn(TURN)
            raise

    async def _takes_turn(self) -> bool:
        seconds = self._options.drain_delay + self._options.drain_seconds + TURN_SPARE
        try:
            return await get_hub().broker.take_turn(TURN, seconds)
        except BroadcastError as exc:
            logger.debug("Cannot ask for a turn: %s", exc)
            return False

    def _restart_ended(self, task: asyncio.Task[None]) -> None:
        self._restart = None
        if not task.cancelled() and task.exception() is not None:
            logger.error("The restart failed", exc_info=task.exception())

    # End

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Leave, step by step."""
        hub = get_hub()
        hub.is_draining = True
        # A proxy that keeps its connections open finds out before they are closed.
        self.server_state.is_leaving = True
        if self._restart is not None:
            self._restart.cancel()
        # Answers still want the time of day, and slow heads their end.
        self._ticks = asyncio.create_task(self._go_on_ticking())
        if self._hurried_at is None:
            logger.info(
                "Leaving: not ready from now on, no new clients after %g s, %d sockets to be "
                "closed in %g s",
                self._options.drain_delay,
                hub.session_count,
                self._options.drain_seconds,
            )
        await self._until(lambda: False, self._options.drain_delay)
        for server in self.servers:
            server.close()
        for sock in sockets or ():
            sock.close()
        await self._send_away(hub)
        await self._cut_off()
        if not self.force_exit:
            await self._stop(hub)
        self._ticks.cancel()
        _end_for_sure(self._supervisor is None and not self._options.reload)

    async def _send_away(self, hub: Hub) -> None:
        """Let requests end, and ask sockets to go elsewhere."""
        grace = self._options.drain_seconds + REQUEST_GRACE
        begin = time.monotonic()
        for connection in list(self.server_state.connections):
            # The hub sees to the sockets.
            if isinstance(connection, self.config.http_protocol_class):
                connection.shutdown()
        drain = asyncio.create_task(hub.drain(self._options.drain_seconds))
        await self._until(drain.done, grace)
        if not drain.done():
            drain.cancel()
            await hub.drain(0)
        # WebSockets of the project's own.
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._until(self._is_idle, grace - (time.monotonic() - begin), HURRY_GRACE)

    async def _cut_off(self) -> None:
        """End what has not ended."""
        if self._is_idle():
            return
        tasks = set(self.server_state.tasks)
        logger.warning(
            "Cutting off %d connections and %d requests",
            len(self.server_state.connections),
            len(tasks),
        )
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=TICK if self.force_exit else 1)
        for connection in list(self.server_state.connections):
            transport = _transport_of(connection)
            if transport is not None:
                transport.abort()
        await asyncio.sleep(0)

    async def _stop(self, hub: Hub) -> None:
        try:
            async with asyncio.timeout(HURRY_GRACE if self._hurried_at else STOP_TIMEOUT):
                if self._has_turn:
                    await hub.broker.end_turn(TURN, after=5)
                await stop_hub()
                await self.lifespan.shutdown()
        except TimeoutError:
            logger.warning("The end did not come in time; leaving all the same")

    def _is_idle(self) -> bool:
        return not self.server_state.connections and not self.server_state.tasks

    async def _until(
        self, done: Callable[[], bool], seconds: float, in_a_hurry: float = 0.0
    ) -> None:
        """Wait for `done`, at most so many seconds; less in a hurry."""
        deadline = time.monotonic() + seconds
        while not done() and not self.force_exit:
            if self._hurried_at is not None:
                deadline = min(deadline, self._hurried_at + in_a_hurry)
            if time.monotonic() >= deadline:
                return
            await asyncio.sleep(TICK)

    async def _go_on_ticking(self) -> None:
        while True:
            await self.on_tick(0)
            await asyncio.sleep(1)


def _transport_of(connection: object) -> asyncio.Transport | None:
    """Return what a connection of uvicorn's or ours is written to."""
    for name in ("transport", "_transport"):
        transport: asyncio.Transport | None = getattr(connection, name, None)
        if transport is not None:
            return transport
    return None


def _end_for_sure(is_alone: bool) -> None:
    """End the process soon, also where a thread of some view never returns."""

    def end() -> None:
        directory = get_worker().directory
        if is_alone and directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
        logging.shutdown()
        os._exit(0)

    timer = threading.Timer(LAST_GRACE, end)
    timer.daemon = True
    timer.start()
