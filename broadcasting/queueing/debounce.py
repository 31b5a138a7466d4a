"""
A holder of values that keeps the newest of several for a while.

One thread of the process releases what is due. It starts with the first value that is
held, does not survive a fork, and does not keep a process alive. What is held when the
process ends is released then. If the process is killed, what it held is lost.
"""

import atexit
import heapq
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import thread as _executors  # noqa: F401 (before `_start` registers)
from typing import Generic, TypeVar

from django.db import connections

logger = logging.getLogger("broadcasting.events")

T = TypeVar("T")


class Debouncer(Generic[T]):
    """
    Holds one value per key.

    Args:
        release: Called with each value, by one thread at a time.
        merge: Called with the value that is held and the newer one; returns what is held
            from then on.
    """

    def __init__(
        self,
        release: Callable[[T], object],
        merge: Callable[[T, T], T],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._release = release
        self._merge = merge
        self._clock = clock
        self._is_at_exit = False
        self._begin()
        if hasattr(os, "register_at_fork"):  # What the parent holds, the parent releases.
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        # What is held, and when it is due.
        self._held: dict[str, tuple[float, T]] = {}
        # The same as a heap. An entry that is not that of `_held` has been released early.
        self._due: list[tuple[float, str]] = []
        # Taken to release values, so that none overtakes another.
        self._turn = threading.RLock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def __bool__(self) -> bool:
        """Return whether anything is held."""
        return bool(self._held)

    def __contains__(self, key: str) -> bool:
        """Return whether a value is held under `key`."""
        return key in self._held

    def hold(self, key: str, seconds: float, value: T) -> None:
        """Release `value`, or the newest that has come by then, `seconds` after the first."""
        if not self._is_running():
            self._release_or_log(value)
            return
        with self._lock:
            if key in self._held:
                due, held = self._held[key]
                self._held[key] = due, self._merge(held, value)
                return
            due = self._clock() + seconds
            self._held[key] = due, value
            heapq.heappush(self._due, (due, key))
            is_next = self._due[0] == (due, key)
        if is_next:
            self._wake.set()

    def release_due(self) -> float | None:
        """Release what is due. Return the seconds until something is; `None` if nothing waits."""
        with self._turn:
            while True:
                with self._lock:
                    if not self._due:
                        return None
                    due, key = self._due[0]
                    if (pause := due - self._clock()) > 0:
                        return pause
                    heapq.heappop(self._due)
                    if self._held.get(key, (None,))[0] != due:
                        continue
                    value = self._held.pop(key)[1]
                self._release_or_log(value)

    def release(self, wanted: Callable[[T], bool]) -> None:
        """Release those that are `wanted` at once, oldest first. On return they are released."""
        with self._turn:
            with self._lock:
                keys = [key for key, (_, value) in self._held.items() if wanted(value)]
                values = [self._held.pop(key)[1] for key in keys]
            for value in values:
                self._release_or_log(value)

    def flush(self) -> None:
        """Release all at once."""
        self.release(lambda value: True)

    def _release_or_log(self, value: T) -> None:
        try:
            self._release(value)
        except Exception:  # The thread must live on.
            logger.exception("A debounced event was lost")

    def _is_running(self) -> bool:
        """Return whether a thread will release what is held: not while the process ends."""
        if self._thread is None and not self._is_at_exit:
            with self._lock:
                if self._thread is None:
                    try:
                        self._start()
                    except RuntimeError:  # The interpreter does not start threads any more.
                        self._is_at_exit = True
        return not self._is_at_exit

    def _start(self) -> None:
        # Executors are shut down before atexit's functions are called, and some drivers use
        # one; functions registered here are called earlier, the last one first. They are
        # called in processes of `multiprocessing`, too, where those of atexit are not.
        register = getattr(threading, "_register_atexit", atexit.register)
        register(self._end)
        thread = threading.Thread(
            target=self._run, args=(self._wake,), name="broadcasting-debounce", daemon=True
        )
        thread.start()
        self._thread = thread

    def _run(self, wake: threading.Event) -> None:
        while True:
            wake.clear()
            pause = self.release_due()
            connections.close_all()  # This thread's own: a queue may live in the database.
            wake.wait(pause)

    def _end(self) -> None:
        self._is_at_exit = True
        self.flush()
