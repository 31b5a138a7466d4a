"""One webhook: what waits for it, and the task that posts it until it is taken."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextvars import Context

from ...applications import Application, Webhook
from ...protocol.signatures import sign
from .queue import Batch, EventQueue
from .sender import Sender

logger = logging.getLogger("broadcasting.webhooks")

KEEP_TRYING = 300.0  # Seconds from an event to its last request.
FIRST_DELAY = 1.0  # Seconds before a request is repeated, doubling up to the longest.
LONGEST_DELAY = 60.0

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


class Endpoint:
    """
    One webhook of an application.

    Attributes:
        sent: Events that it has taken.
        failed: Requests that it has not taken.
        dropped: Events that it has not been sent, or has never taken.
    """

    def __init__(
        self, app: Application, webhook: Webhook, sender: Sender, clock: Clock, sleep: Sleep
    ) -> None:
        self.sent = self.failed = self.dropped = 0
        self._app = app
        self._webhook = webhook
        self._sender = sender
        self._clock = clock
        self._sleep = sleep
        self._queue = EventQueue()
        self._is_full = False  # Whether that was logged.
        self._failures = 0  # Failed requests in a row, as far as they lengthen the next delay.
        self._error: str | None = None  # What was logged last.
        self._task: asyncio.Task[None] | None = None
        self._pausing: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many events are neither taken nor dropped."""
        return len(self._queue)

    def covers(self, channel: str) -> bool:
        """Return whether it is told of `channel`. Of users' and the server's own it never is."""
        return (
            channel.startswith(self._webhook.channel_prefix)
            and channel.endswith(self._webhook.channel_suffix)
            and not channel.startswith("#")
        )

    def add(self, event: bytes) -> None:
        """Post `event` after all earlier ones."""
        if self._closed or not self._queue.add(self._clock(), event):
            self.dropped += 1
            if not self._closed and not self._is_full:
                self._is_full = True
                text = "%d events wait for the webhook %s; newer ones are dropped"
                logger.error(text, self.waiting, self._sender.url)
        elif self._task is None or self._task.done():
            # The task must not inherit the context variables of the request that is first.
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._run(), name="webhook", context=Context())

    async def close(self, timeout: float) -> None:
        """Post what waits, for `timeout` seconds at most, and drop the rest."""
        self._closed = True
        if self._task is not None:
            self._failures = 0
            if self._pausing is not None:
                self._pausing.cancel()
            await asyncio.wait([self._task], timeout=timeout)
            self._task.cancel()
            await asyncio.wait([self._task])
        if self.waiting:
            text = "Dropped %d events for the webhook %s: closing"
            logger.error(text, self.waiting, self._sender.url)
            self.dropped += self._queue.take(self.waiting)
        self._sender.close()

    async def _run(self) -> None:
        """Post until nothing waits."""
        self._failures = 0
        batch: Batch | None = None
        while True:
            self._expire(self._clock())
            if not self.waiting:
                self._is_full = False
                return
            # A body that was refused is repeated as it was: it may have been seen already.
            if batch is None or not self._queue.begins_with(batch):
                batch = self._queue.batch()
            error = await self._sender.post(batch.body, self._headers(batch.body))
            if error is None:
                self.sent += self._queue.take(batch.count)
                self._log_success()
                continue
            self.failed += 1
            self._log_failure(error)
            delay = self._next_delay()
            # What will be too old after the pause is dropped before it.
            self._expire(self._clock() + delay)
            if self.waiting:
                await self._pause(delay)

    def _headers(self, body: bytes) -> dict[str, str]:
        return {
            "Content-Type": "application/json",  # Pusher's Node SDK accepts no charset after it.
            "X-Pusher-Key": self._app.key,
            "X-Pusher-Signature": sign(self._app.secrets[0], body.decode()),
        }

    def _next_delay(self) -> float:
        delay = min(FIRST_DELAY * 2.0**self._failures, LONGEST_DELAY)
        # The exponent is bounded, since a float is.
        self._failures = min(self._failures + 1, 10)
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 (so that processes spread out)

    async def _pause(self, delay: float) -> None:
        """Wait for `delay` seconds, or until `close` cancels the pause."""
        self._pausing = asyncio.ensure_future(self._sleep(delay))
        try:
            await asyncio.wait([self._pausing])
        finally:
            self._pausing.cancel()
            self._pausing = None

    def _expire(self, now: float) -> None:
        """Drop what has waited for too long at time `now`."""
        if count := self._queue.take_older(now - KEEP_TRYING):
            self.dropped += count
            logger.error(
                "Dropped %d events for the webhook %s, which has not taken them in %d s (%s)",
                *(count, self._sender.url, KEEP_TRYING, self._error or "too slow"),
            )

    def _log_failure(self, error: str) -> None:
        if error != self._error:
            self._error = error
            text = "The webhook %s fails and is tried again: %s"
            logger.warning(text, self._sender.url, error)

    def _log_success(self) -> None:
        if self._error is not None:
            self._error = None
            logger.info("The webhook %s works again", self._sender.url)
