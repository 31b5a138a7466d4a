"""
Several processes that serve on the same listening sockets.

Theory of operation
-------------------

The supervisor serves nobody. It takes a step ten times a second, in which it obeys signals,
hears and buries workers, and starts those that are missing. It never waits for a worker, so
that a signal is obeyed whatever it is in the middle of.

* ``SIGTERM``: all workers drain, at the same time. The supervisor's own listening sockets
  are closed when theirs are, or clients would be queued for nobody.
* ``SIGINT``: the same in a hurry; a second one kills them.
* ``SIGHUP``: one worker after the other is *replaced*. Another is started; when that is
  ready the old one drains; when that has gone the next one's turn comes. If the new one
  does not become ready, the old ones stay. A worker may ask for it, too.
* A worker that dies is started again, later and later while it keeps dying at once. If
  none of the first workers starts, the server is broken, and ends.

uvicorn's own supervisor hears no signal while it replaces workers, and waits for each of
them without an end.
"""

import logging
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ...server.metrics.workers import Worker
from .link import HURRY, READY, REPLACE
from .options import Options
from .worker import WorkerProcess

logger = logging.getLogger("broadcasting.server")

READY_TIMEOUT = 45.0  # Seconds that a replacement has to start.
SETTLED = 10.0  # Seconds of life after which a worker's death is no failure to start.
BACKOFF = 0.5  # Seconds before a second attempt; each further one doubles it.
MAX_BACKOFF = 30.0
KILL_AFTER = 15.0  # Seconds beside the drain after which a worker is killed.
KILL_AFTER_HURRY = 10.0
STEP = 0.1  # Seconds between two steps.


def supervise(
    options: Options,
    sockets: list[socket.socket],
    directory: Path | None,
    on_ready: Callable[[], object],
) -> bool:
    """Serve with workers that meet in `directory`. Return whether any could start."""

    def start(number: int) -> WorkerProcess:
        return WorkerProcess(options, sockets, Worker(number, directory, options.workers))

    def stop_listening() -> None:
        for sock in sockets:
            sock.close()

    supervisor = Supervisor(options, start, stop_listening, on_ready)
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)  # Under nohup it is ignored, and stays so.
    for number in numbers:
        signal.signal(number, lambda number, frame: supervisor.signals.append(number))
    while supervisor.step():
        time.sleep(STEP)
    return not supervisor.is_broken


class Supervisor:
    """
    Workers, and what happens to them. Call `step` until it returns `False`.

    Args:
        options: How many, and how long they may take to leave.
        start: Starts the worker of a number; raises `OSError` if there is no room for one.
        stop_listening: Closes this process's own listening sockets.
        on_ready: Called once, when all workers serve.

    Attributes:
        signals: What the next step obeys.
        is_broken: Whether no worker could start.
    """

    def __init__(
        self,
        options: Options,
        start: Callable[[int], WorkerProcess],
        stop_listening: Callable[[], object],
        on_ready: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._start = start
        self._stop_listening = stop_listening
        self._on_ready: Callable[[], object] | None = on_ready
        self._clock = clock
        self._workers: list[WorkerProcess] = []
        self.signals: deque[int] = deque()
        # Being replaced: the old one and the new one, then those that come after it.
        self._old: WorkerProcess | None = None
        self._new: WorkerProcess | None = None
        self._queue: deque[WorkerProcess] = deque()
        # Failures to start, one after the other, and when the next attempt is due.
        self._failures = 0
        self._start_at = 0.0
        self._has_served = False
        self._stillborn = 0  # Workers that died before any has served.
        # The end.
        self.is_broken = False
        self._is_leaving = False
        self._is_hurried = False
        self._close_at: float | None = None

    def step(self) -> bool:
        """Do what is due. Return whether there is anything left to supervise."""
        while self.signals:
            self._obey(self.signals.popleft())
        for worker in list(self._workers):
            self._hear(worker)
            if not worker.is_alive():
                self._bury(worker)
        now = self._clock()
        for worker in self._workers:
            if worker.kill_at is not None and now >= worker.kill_at:
                logger.warning("Killing worker %d, which did not leave", worker.number)
                worker.kill()
        if self._close_at is not None and now >= self._close_at:
            self._close_at = None
            self._stop_listening()
        if not self._is_leaving:
            self._replace()
            self._start_missing()
        return bool(self._workers) or not self._is_leaving

    # Signals

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
        self._forget_replacements()
        self._is_leaving = True
        self._close_at = self._clock() + self._options.drain_delay
        for worker in self._workers:
            self._retire(worker)

    def _hurry(self) -> None:
        if self._is_hurried:
            for worker in self._workers:
                worker.kill()
            return
        logger.info("Leaving at once")
        self._forget_replacements()
        self._is_leaving = self._is_hurried = True
        self._close_at = self._clock()
        for worker in self._workers:
            worker.tell(HURRY)
            if not worker.is_ready:  # It may not listen yet.
                worker.terminate()
            worker.kill_at = self._clock() + KILL_AFTER_HURRY

    # Workers

    def _start_missing(self) -> None:
        """Start as many workers as there are too few, unless they keep dying."""
        while not self._is_leaving and self._clock() >= self._start_at:
            # One that is to be replaced and the one that replaces it are one.
            is_double = self._old is not None and self._new is not None
            places = sum(worker.kill_at is None for worker in self._workers) - is_double
            if places >= self._options.workers:
                return
            if self._try_to_start() is None:
                self._failed_to_start()

    def _try_to_start(self) -> WorkerProcess | None:
        taken = {worker.number for worker in self._workers}
        number = next(n for n in range(1, len(taken) + 2) if n not in taken)
        try:
            worker = self._start(number)
        except OSError as exc:
            logger.error("Cannot start a worker: %s", exc)
            return None
        worker.started = self._clock()
        self._workers.append(worker)
        return worker

    def _failed_to_start(self) -> None:
        delay = min(MAX_BACKOFF, BACKOFF * 2 ** (self._failures - 1)) if self._failures else 0.0
        self._failures = min(self._failures + 1, 10)
        self._start_at = self._clock() + delay
        self._stillborn += not self._has_served
        if self._stillborn >= self._options.workers:
            logger.error("No worker could start; the server ends")
            self.is_broken = True
            self._hurry()

    def _retire(self, worker: WorkerProcess) -> None:
        if worker.kill_at is None:
            allowed = self._options.drain_delay + self._options.drain_seconds + KILL_AFTER
            worker.kill_at = self._clock() + allowed
            worker.terminate()

    def _hear(self, worker: WorkerProcess) -> None:
        for message in worker.messages():
            if message == READY:
                worker.is_ready = self._has_served = True
                if self._on_ready is not None and all(each.is_ready for each in self._workers):
                    self._on_ready()
                    self._on_ready = None
            elif message == REPLACE and not self._is_leaving:
                self._ask_to_replace(worker)

    def _bury(self, worker: WorkerProcess) -> None:
        self._workers.remove(worker)
        if self._is_leaving or worker.kill_at is not None:
            return
        if worker is self._new:  # Not in its place yet, even if it was ready for a moment.
            self._keep_the_old("ended before it took over")
            return
        logger.error("Worker %d ended by itself, with status %s", worker.number, worker.status)
        if worker is self._old:  # The one that is starting takes its place.
            self._old = None
            return
        if worker in self._queue:
            self._queue.remove(worker)
        if self._clock() - worker.started >= SETTLED:
            self._failures = 0
        self._failed_to_start()

    # Replacements

    def _ask_to_replace(self, worker: WorkerProcess) -> None:
        if worker.kill_at is None and worker is not self._old and worker not in self._queue:
            self._queue.append(worker)

    def _replace(self) -> None:
        """Take the next step of replacing workers, if one is due."""
        if self._new is not None and not self._new.is_ready:
            if self._clock() - self._new.started > READY_TIMEOUT:
                self._new.kill_at = self._clock()
                self._keep_the_old(f"was not ready in {READY_TIMEOUT:g} s")
            return
        if self._new is not None:
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
        self._start_at = self._clock() + BACKOFF  # Where the old one died meanwhile.
        self._forget_replacements()

    def _forget_replacements(self) -> None:
        self._old = self._new = None
        self._queue.clear()
