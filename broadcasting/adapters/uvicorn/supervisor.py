"""
Several processes that serve on the same listening sockets.

Theory of operation
-------------------

The supervisor serves nobody. It starts the workers, and from then on looks at what has
happened: signals, words of workers, ends of workers. It never waits for one of them in
particular, so that whatever it is in the middle of, a signal is obeyed at once.

* ``SIGTERM``: all workers drain, at the same time. The supervisor's own listening sockets
  are closed when theirs are, or clients would be queued for nobody.
* ``SIGINT``: the same in a hurry; a second one ends them at once.
* ``SIGHUP``: one worker after the other is *replaced*. Another is started; when that is
  ready the old one drains; when that has gone the next one's turn comes. If the new one
  does not become ready, the old ones stay.
* A worker that asks for it is replaced in the same way.
* A worker that dies is started again, later and later while it keeps dying at once. If
  none of the first workers starts, the server is broken, and ends.
"""

import logging
import multiprocessing
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType

from ...server.metrics.workers import Worker
from .options import Options
from .server import HURRY, KEEP, READY, REPLACE, serve_as_worker

logger = logging.getLogger("broadcasting.server")

READY_TIMEOUT = 45.0  # Seconds that a replacement has to start.
SETTLED = 10.0  # Seconds of life after which a worker's death is no failure to start.
BACKOFF = 0.5  # Seconds before a second attempt; each further one doubles it.
MAX_BACKOFF = 30.0
KILL_AFTER = 15.0  # Seconds beside the drain after which a worker is killed.
KILL_AFTER_HURRY = 10.0
LOOK_EVERY = 0.5  # Seconds, where nothing happens.

_spawn = multiprocessing.get_context("spawn")


class Supervisor:
    """
    Start workers, and see to it that there are so many of them.

    Args:
        options: How they serve; among it, how many they are.
        sockets: What they listen on.
        directory: Where they meet, if there is such a place.
        on_ready: Called once, when all of them serve.
    """

    def __init__(
        self,
        options: Options,
        sockets: list[socket.socket],
        directory: Path | None,
        on_ready: Callable[[], object],
    ) -> None:
        self._options = options
        self._sockets = sockets
        self._directory = directory
        self._on_ready: Callable[[], object] | None = on_ready
        self._workers: list[_Worker] = []
        # Being replaced: the old one and the new one, then those that come after it.
        self._old: _Worker | None = None
        self._new: _Worker | None = None
        self._queue: deque[_Worker] = deque()
        # Dead ones whose place is to be taken, by when.
        self._due: list[float] = []
        self._failures = 0
        self._has_served = False
        self._stillborn = 0  # Workers that died before any has served.
        self._is_broken = False
        # Leaving
        self._is_leaving = False
        self._is_hurried = False
        self._close_at: float | None = None
        self._signals: deque[int] = deque()

    def run(self) -> bool:
        """Supervise until told to leave. Return `False` if no worker could start."""
        with self._listen_to_signals() as woken:
            for _ in range(self._options.workers):
                if self._try_to_start() is None:
                    self._end_broken()
                    break
            while self._workers or (self._due and not self._is_leaving):
                self._sleep(woken)
                while self._signals:
                    self._obey(self._signals.popleft())
                for worker in list(self._workers):
                    self._hear(worker)
                    if not worker.process.is_alive():
                        self._bury(worker)
                self._do_what_is_due(time.monotonic())
        self._close_sockets()
        return not self._is_broken

    # Signals

    @contextmanager
    def _listen_to_signals(self) -> Iterator[socket.socket]:
        reader, writer = socket.socketpair()
        with reader, writer:
            reader.setblocking(False)
            writer.setblocking(False)
            numbers = [signal.SIGTERM, signal.SIGINT]
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
                numbers.append(signal.SIGHUP)  # Under nohup it is ignored, and stays so.
            former = {number: signal.signal(number, self._note) for number in numbers}
            descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            try:
                yield reader
            finally:
                signal.set_wakeup_fd(descriptor)
                for number, handler in former.items():
                    signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _obey(self, number: int) -> None:
        if number == signal.SIGINT:
            self._hurry()
        elif number == signal.SIGTERM:
            self._leave()
        elif not self._is_leaving:
            logger.info("Replacing %d workers, one after the other", len(self._workers))
            for worker in self._workers:
                self._ask_to_replace(worker)

    def _leave(self) -> None:
        if self._is_leaving:
            return
        logger.info("Leaving: %d workers drain", len(self._workers))
        self._give_up_replacing()
        self._is_leaving = True
        self._close_at = time.monotonic() + self._options.drain_delay
        for worker in self._workers:
            self._retire(worker)

    def _hurry(self) -> None:
        if self._is_hurried:
            for worker in self._workers:
                worker.process.kill()
            return
        logger.info("Leaving at once")
        self._give_up_replacing()
        self._is_leaving = self._is_hurried = True
        self._close_at = time.monotonic()
        for worker in self._workers:
            worker.tell(HURRY)
            if not worker.is_ready:  # It may not listen yet.
                worker.process.terminate()
            worker.kill_at = time.monotonic() + KILL_AFTER_HURRY

    def _end_broken(self) -> None:
        logger.error("No worker could start; the server ends")
        self._is_broken = True
        self._hurry()

    # Workers

    def _try_to_start(self) -> "_Worker | None":
        """Start a worker, if the system has processes and files left for one."""
        try:
            return self._start()
        except OSError as exc:
            logger.error("Cannot start a worker: %s", exc)
            return None

    def _start(self) -> "_Worker":
        taken = {worker.number for worker in self._workers}
        number = next(n for n in range(1, len(taken) + 2) if n not in taken)
        ours, theirs = _spawn.Pipe()
        process = _spawn.Process(
            target=serve_as_worker,
            args=(
                self._options,
                self._sockets,
                Worker(number, self._directory, self._options.workers),
                theirs,
            ),
            name=f"broadcast-worker-{number}",
        )
        # A Ctrl+C meant for the supervisor must not meet a worker that is not prepared.
        signals = {signal.SIGINT, signal.SIGHUP}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
            theirs.close()
        worker = _Worker(number, process, ours)
        self._workers.append(worker)
        return worker

    def _retire(self, worker: "_Worker") -> None:
        if worker.kill_at is None:
            allowed = self._options.drain_delay + self._options.drain_seconds + KILL_AFTER
            worker.kill_at = time.monotonic() + allowed
            worker.process.terminate()

    def _hear(self, worker: "_Worker") -> None:
        for message in worker.messages():
            if message == READY:
                worker.is_ready = self._has_served = True
                if self._on_ready is not None and all(each.is_ready for each in self._workers):
                    self._on_ready()
                    self._on_ready = None
            elif message == REPLACE and not self._is_leaving:
                self._ask_to_replace(worker)

    def _bury(self, worker: "_Worker") -> None:
        self._workers.remove(worker)
        worker.process.join()
        worker.link.close()
        if self._is_leaving or worker.kill_at is not None:
            return
        if worker is self._new:  # Not in its place yet, even if it was ready for a moment.
            self._keep_the_old("ended before it took over")
            return
        logger.error(
            "Worker %d (process %d) ended by itself, with status %s",
            worker.number,
            worker.process.pid,
            worker.process.exitcode,
        )
        self._stillborn += not self._has_served
        if self._stillborn >= self._options.workers:
            self._end_broken()
            return
        if worker is self._old:  # The one that is starting takes its place.
            self._old = None
            return
        if worker in self._queue:
            self._queue.remove(worker)
        if time.monotonic() - worker.started >= SETTLED:
            self._failures = 0
        self._start_later()

    def _start_later(self) -> None:
        delay = min(MAX_BACKOFF, BACKOFF * 2 ** (self._failures - 1)) if self._failures else 0.0
        self._failures = min(self._failures + 1, 10)
        self._due.append(time.monotonic() + delay)

    # Replacements

    def _ask_to_replace(self, worker: "_Worker") -> None:
        if worker.kill_at is None and worker is not self._old and worker not in self._queue:
            self._queue.append(worker)

    def _replace(self, now: float) -> None:
        """Take the next step of replacing workers, if one is due."""
        if self._new is not None:
            if not self._new.is_ready:
                if now - self._new.started > READY_TIMEOUT:
                    self._new.kill_at = now
                    self._keep_the_old(f"was not ready in {READY_TIMEOUT:g} s")
                return
            self._new = None
            if self._old is not None:
                self._retire(self._old)
        if self._old is not None and self._old in self._workers:
            return  # It drains.
        self._old = None
        if self._queue:
            self._old = self._queue.popleft()
            self._new = self._try_to_start()
            if self._new is None:
                self._keep_the_old("could not be started")

    def _keep_the_old(self, what: str) -> None:
        logger.error("The replacement of a worker %s; the others stay as they are", what)
        kept = [self._old, *self._queue]
        if self._old is None:  # It died meanwhile.
            self._due.append(time.monotonic() + BACKOFF)
        self._give_up_replacing()
        for worker in kept:
            if worker is not None:
                worker.tell(KEEP)

    def _give_up_replacing(self) -> None:
        self._old = self._new = None
        self._queue.clear()

    # Time

    def _sleep(self, woken: socket.socket) -> None:
        """Wait until something happens."""
        wait(
            [
                woken,
                *(worker.link for worker in self._workers if not worker.is_silent),
                *(worker.process.sentinel for worker in self._workers),
            ],
            LOOK_EVERY,
        )
        with suppress(BlockingIOError):
            woken.recv(4096)

    def _do_what_is_due(self, now: float) -> None:
        for worker in self._workers:
            if worker.kill_at is not None and now >= worker.kill_at:
                logger.warning("Killing worker %d, which did not leave", worker.number)
                worker.process.kill()
        if self._close_at is not None and now >= self._close_at:
            self._close_sockets()
        if self._is_leaving:
            return
        for due in [due for due in self._due if due <= now]:
            self._due.remove(due)
            if self._try_to_start() is None:
                self._start_later()
        self._replace(now)

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._close_at = None


class _Worker:
    """One process, as its supervisor knows it."""

    def __init__(
        self, number: int, process: SpawnProcess, link: "Connection[bytes, bytes]"
    ) -> None:
        self.number = number
        self.process = process
        self.link = link
        self.started = time.monotonic()
        self.is_ready = False
        self.is_silent = False  # Whether it will say no more.
        self.kill_at: float | None = None  # Set when it has been told to leave.

    def tell(self, message: bytes) -> None:
        """Say something, if it still listens."""
        with suppress(OSError):
            self.link.send_bytes(message)

    def messages(self) -> Iterator[bytes]:
        """Yield what it has said."""
        try:
            while not self.is_silent and self.link.poll():
                yield self.link.recv_bytes()
        except (EOFError, OSError):
            self.is_silent = True
