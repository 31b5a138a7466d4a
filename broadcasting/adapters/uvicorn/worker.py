"""One of several processes that serve: what runs in it, and what its supervisor sees of it."""

import multiprocessing
import signal
import socket

import django

from ...server.metrics.workers import Worker, set_worker
from .link import Link
from .options import Options
from .server import serve

_spawn = multiprocessing.get_context("spawn")


class WorkerProcess:
    """
    A worker, as its supervisor knows it.

    Raises:
        OSError: The system has no room for another process.

    Attributes:
        number: From 1 on, and none that another living worker has.
        started: When, by the supervisor's clock.
        is_ready: Whether it has said that it serves.
        kill_at: When it is to be killed; set when it was told to leave.
    """

    def __init__(self, options: Options, sockets: list[socket.socket], worker: Worker) -> None:
        self.number = worker.number
        self.started = 0.0
        self.is_ready = False
        self.kill_at: float | None = None
        ours, theirs = map(Link, _spawn.Pipe())
        self._process = _spawn.Process(target=_serve, args=(options, sockets, worker, theirs))
        try:
            self._process.start()
        finally:
            theirs.connection.close()
        self.tell, self.messages = ours.tell, ours.messages
        self.is_alive = self._process.is_alive
        self.terminate, self.kill = self._process.terminate, self._process.kill

    @property
    def status(self) -> int | None:
        """The exit status of a process that has ended."""
        return self._process.exitcode


def _serve(options: Options, sockets: list[socket.socket], worker: Worker, link: Link) -> None:
    # They reach every process of a terminal, and are the supervisor's to obey.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    django.setup()
    set_worker(worker)
    serve(options, sockets, link)
