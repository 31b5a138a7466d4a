"""One of several processes that serve: what runs in it, and what its supervisor sees of it."""

import multiprocessing
import signal
import socket
from multiprocessing.context import SpawnProcess
from typing import Any

import django

from ...server.metrics.workers import Worker, set_worker
from .link import Link
from .options import Options
from .server import serve

_spawn = multiprocessing.get_context("spawn")
# Ctrl+C reaches every process of the terminal. The supervisor says what follows.
_SUPERVISORS_SIGNALS = (signal.SIGINT, signal.SIGHUP)


def serve_as_worker(
    options: Options, sockets: list[socket.socket], worker: Worker, link: Link
) -> None:
    """Serve in a process that a supervisor has just started."""
    for number in _SUPERVISORS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SUPERVISORS_SIGNALS)
    django.setup()
    set_worker(worker)
    serve(options, sockets, link)


class WorkerProcess:
    """
    A worker, as its supervisor knows it.

    Attributes:
        number: From 1 on, and none that another living worker has.
        started: When, by the supervisor's clock.
        is_ready: Whether it has said that it serves.
        kill_at: When it is to be killed; set when it was told to leave.
    """

    def __init__(self, number: int, process: SpawnProcess, link: Link) -> None:
        self.number = number
        self.started = 0.0
        self.is_ready = False
        self.kill_at: float | None = None
        self._process = process
        self._link = link
        self.tell = link.tell
        self.messages = link.messages
        self.is_alive = process.is_alive
        self.terminate = process.terminate
        self.kill = process.kill

    def sources(self) -> list[Any]:
        """Return what to wait on for something to happen."""
        sources: list[Any] = [self._process.sentinel]
        return sources if self._link.is_over else [*sources, self._link.connection]

    def join(self) -> int | None:
        """Return the exit status of a process that has ended."""
        self._process.join()
        self._link.connection.close()
        return self._process.exitcode


def start_worker(options: Options, sockets: list[socket.socket], worker: Worker) -> WorkerProcess:
    """Start a process that serves. Raise `OSError` if the system has no room for one."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(
        target=serve_as_worker,
        args=(options, sockets, worker, Link(theirs)),
        name=f"broadcast-worker-{worker.number}",
    )
    # A Ctrl+C meant for the supervisor must not meet a worker that is not prepared.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SUPERVISORS_SIGNALS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SUPERVISORS_SIGNALS)
        theirs.close()
    return WorkerProcess(worker.number, process, Link(ours))
