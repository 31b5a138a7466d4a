"""
One process that serves: uvicorn's server, with a hub and another way of leaving.

Theory of operation
-------------------

``SIGTERM``, and ``SIGHUP`` where no supervisor is, begin a `Drain`. ``SIGINT`` does the same
in a hurry; a second one waits for nothing. Then the hub stops: graces of presence channels
go on elsewhere, webhooks are sent. The exit status is 0 every time.

A worker is told the same by its supervisor, by signal or through a pipe. One whose
supervisor has died drains, since nobody else would ever end it. When it is this process's
turn in a `Restart` of all, the supervisor replaces it; a process without one just leaves.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socket
from types import FrameType

import uvicorn

from ...exceptions import BroadcastError
from ...server.admission import get_admission
from ...server.hubs import get_hub, stop_hub, trace
from .access_log import log_requests, mask_signatures
from .drain import HURRY_GRACE, Drain
from .http import HttpProtocol
from .link import HURRY, READY, REPLACE, Link
from .options import Options
from .restart import Restart
from .state import State

logger = logging.getLogger("broadcasting.server")

START_TIMEOUT = 2.0  # Seconds that the bus has before clients are served without it.
STOP_TIMEOUT = 6.0  # Seconds that the hub has to stop.
# Seconds that a process may live on when all is done: a thread may hang in a view.
LAST_GRACE = 3.0


def _nothing() -> None:
    pass


def serve(
    options: Options,
    sockets: list[socket],
    link: Link | None = None,
    on_ready: Callable[[], object] = _nothing,
    on_end: Callable[[], object] = _nothing,
) -> None:
    """
    Serve in this process, where Django is set up, until told to leave.

    Args:
        options: How to serve.
        sockets: What to listen on.
        link: The pipe to whoever started this process as one of several.
        on_ready: Called when clients are served.
        on_end: Called when all is done; where a thread hangs this function does not return.
    """

    def end() -> None:
        on_end()
        timer = threading.Timer(LAST_GRACE, _exit)
        timer.daemon = True
        timer.start()

    get_admission().max_connections = options.max_sockets
    Server(options, link, on_ready, end).run(sockets)


class Server(uvicorn.Server):
    """uvicorn's server. The arguments are those of `serve`."""

    def __init__(
        self,
        options: Options,
        link: Link | None = None,
        on_ready: Callable[[], object] = _nothing,
        on_end: Callable[[], object] = _nothing,
    ) -> None:
        super().__init__(options.config())
        self.server_state: State = State(options.max_open, options.handshake_timeout)
        self._options = options
        self._link = link
        self._on_ready = on_ready
        self._on_end = on_end
        self._drain = Drain(options, self.server_state)
        self._restart: Restart  # From the start on: it needs the bus.

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

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Obey SIGHUP, too. Under nohup, and in a worker, it is ignored, and stays so."""
        with super().capture_signals():
            if sys.platform == "win32" or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
                yield
                return
            former = signal.signal(signal.SIGHUP, self.handle_exit)
            yield
            signal.signal(signal.SIGHUP, former)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave: in a hurry when somebody waits at the terminal."""
        # Unlike uvicorn's, it does not raise the signal again: to obey is no failure.
        if sig == signal.SIGINT:
            self._drain.is_forced = self._drain.is_hurried
        if sig == signal.SIGINT or self._options.reload:
            self._drain.hurry()
        self.should_exit = True

    # Start

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start the project and the hub, then listen."""
        await super().startup(sockets=[])  # The project's lifespan alone.
        hub = get_hub()
        seconds = self._options.drain_delay + self._options.drain_seconds
        self._restart = Restart(hub.broker, seconds, self._leave_for_another)
        if not self._options.reload:  # Its reloader would wait for a change.
            hub.on_restart = self._restart.want
        self.server_state.refused = hub.stats.refused
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await hub.start()
        except (BroadcastError, TimeoutError) as exc:
            logger.warning("The bus cannot be reached yet: %r", exc)
        loop = asyncio.get_running_loop()
        for sock in sockets or ():
            listener = await loop.create_server(
                lambda: HttpProtocol(self.config, self.server_state, self.lifespan.state, loop),
                sock=sock,
                backlog=self.config.backlog,
                ssl=self.config.ssl,
                ssl_handshake_timeout=self._options.handshake_timeout if self.config.ssl else None,
            )
            self.servers.append(listener)
        self._listen_to_parent(loop)
        self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Do what is due ten times a second; return whether to leave."""
        if counter % 10 == 0:
            self.server_state.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    # Supervisor

    def _listen_to_parent(self, loop: asyncio.AbstractEventLoop) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and sys.platform != "win32":
            loop.add_reader(parent.sentinel, self._orphaned, loop, parent.sentinel)
        if self._link is not None:
            loop.add_reader(self._link.connection, self._hear, loop, self._link)
            self._link.tell(READY)

    def _orphaned(self, loop: asyncio.AbstractEventLoop, sentinel: int) -> None:
        loop.remove_reader(sentinel)
        logger.error("The process that started this worker has died; it leaves, too")
        self.should_exit = True

    def _hear(self, loop: asyncio.AbstractEventLoop, link: Link) -> None:
        if HURRY in link.messages():
            self._drain.hurry()
            self.should_exit = True
        if link.is_over:
            loop.remove_reader(link.connection)

    def _leave_for_another(self) -> None:
        if self._link is None:
            self.should_exit = True
        else:
            self._link.tell(REPLACE)

    # End

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Drain, then stop the hub and the project."""

        def stop_listening() -> None:
            for listener in (*self.servers, *(sockets or ())):
                listener.close()

        self._restart.cancel()
        # Answers still want the time of day, and late heads their end.
        ticks = asyncio.create_task(self._go_on_ticking())
        await self._drain.run(get_hub(), stop_listening)
        if not self._drain.is_forced:
            await self._stop()
        ticks.cancel()
        self._on_end()

    async def _stop(self) -> None:
        try:
            async with asyncio.timeout(HURRY_GRACE if self._drain.is_hurried else STOP_TIMEOUT):
                await self._restart.finish()
                await stop_hub()
                await self.lifespan.shutdown()
        except TimeoutError:
            logger.warning("The end did not come in time; leaving all the same")

    async def _go_on_ticking(self) -> None:
        while True:
            await self.on_tick(0)
            await asyncio.sleep(1)


def _exit() -> None:
    logging.shutdown()
    os._exit(0)
