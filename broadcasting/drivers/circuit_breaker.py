"""
A bus that hangs must not hold up every request for its timeout.

Each connection has a `Breaker`, and so has the queue. It is *closed* while calls go through.
It *opens* after some slow failures in a row: calls are refused at once, except for one every
few seconds that tries whether the bus is back. A failure that comes at once costs nobody time.
It neither opens the circuit nor keeps it open, so a bus that refuses connections while it
restarts is used again as soon as it is up.

Each process has breakers of its own. Only changes take a lock.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from django.core.signals import setting_changed
from django.dispatch import receiver

from ..conf import CircuitBreaker, get_settings
from ..exceptions import CircuitOpen, PayloadError

logger = logging.getLogger("broadcasting.events")


class Breaker:
    """
    Makes the calls of one connection, or refuses them.

    Args:
        name: The connection, as the beginning of a sentence.
        options: When to open, and for how long.
        clock: Returns seconds that never go back.
    """

    def __init__(
        self, name: str, options: CircuitBreaker, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0  # Slow ones in a row.
        # While it is open: since when, until when, whether a call is a trial, calls refused.
        self._is_open = False
        self._opened = self._until = 0.0
        self._is_tried = False
        self._refused = 0
        self._reason = ""

    def call(self, function: Callable[..., object], *args: object, **kwargs: object) -> None:
        """
        Call `function`, and count what it raises.

        A `PayloadError` is the caller's mistake and is not counted.

        Raises:
            CircuitOpen: The function was not called.
        """
        started = self._clock()
        is_trial = self._is_open and self._begin_trial(started)
        try:
            function(*args, **kwargs)
        except Exception as exc:
            if not isinstance(exc, PayloadError):
                self._failed(exc, started, is_trial)
            raise
        else:
            if self._failures:
                self._succeeded()
        finally:
            if is_trial:
                self._is_tried = False

    def _begin_trial(self, now: float) -> bool:
        with self._lock:
            if not self._is_open:  # It was closed meanwhile.
                return False
            if now >= self._until and not self._is_tried:
                self._is_tried = True
                return True
            self._refused += 1
            retry_after = max(0.0, self._until - now)
        until = datetime.now(UTC) + timedelta(seconds=retry_after)
        raise CircuitOpen(
            f"{self._name} does not work and is left alone until "
            f"{until:%H:%M:%S} UTC: {self._reason}",
            retry_after,
        )

    def _failed(self, exc: Exception, started: float, is_trial: bool) -> None:
        now, limit = self._clock(), self._options.failures
        is_slow = now - started >= self._options.slow
        with self._lock:
            self._reason = str(exc) or repr(exc)
            if is_trial:
                self._until = now + self._options.seconds if is_slow else now
            if is_slow:
                self._failures += 1
            if self._is_open or not is_slow or limit is None or self._failures < limit:
                return
            self._is_open = True
            self._opened, self._until, self._refused = now, now + self._options.seconds, 0
        logger.error(
            "%s failed %d times in a row and is left alone, but for one attempt every %g s: %s",
            self._name,
            self._failures,
            self._options.seconds,
            self._reason,
        )

    def _succeeded(self) -> None:
        with self._lock:
            was_open, self._is_open, self._failures = self._is_open, False, 0
        if was_open:
            logger.warning(
                "%s works again after %.1f s, in which %d broadcasts were not tried",
                self._name,
                self._clock() - self._opened,
                self._refused,
            )


class Breakers(dict[str | None, Breaker]):
    """The breakers of the process by the alias of the connection, `None` for the queue."""

    def __missing__(self, alias: str | None) -> Breaker:
        """Make the breaker of `alias`. Raise `ImproperlyConfigured` for an unknown alias."""
        settings = get_settings()
        if alias is None:
            made = Breaker("The queue", settings.circuit_breaker)
        else:
            options = settings.connection(alias).circuit_breaker
            made = Breaker(f"Connection {alias!r}", options)
        return self.setdefault(alias, made)

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Start without failures in the block, and forget those of the block after it."""
        before = dict(self)
        self.clear()
        try:
            yield
        finally:
            self.clear()
            self.update(before)


breakers = Breakers()

if hasattr(os, "register_at_fork"):  # A thread of the parent may hold a lock.
    os.register_at_fork(after_in_child=breakers.clear)


@receiver(setting_changed)
def _reset(*, setting: str, **kwargs: object) -> None:
    if setting in {"BROADCASTING", "CHANNEL_LAYERS", "SECRET_KEY"}:
        breakers.clear()
