"""
What happens on the sockets, posted to the addresses that applications name.

Theory of operation
-------------------

Each webhook has a queue, and a task while something is in it. The task posts all that
waits, up to a limit, in one body, and takes it off the queue when the receiver has
answered 2xx; until then it repeats the same bytes, more and more seldom. One request
at a time per webhook keeps the order, and lets one slow receiver hold up no other.

An event is given up when it has waited for five minutes, which is also when Pusher's
SDKs begin to refuse its time as too old; or at once when too much waits already.
Both are counted.

A request runs in a thread of its own, at most one per webhook: not in a pool, whose
places a receiver that hangs would take up, and which the end of the process waits for.

Rules of this file:

* `Webhooks.add` does not await, block or raise.
* The bytes that are signed are the bytes that are sent.
* A connection goes to an address that was checked, never to a name.
"""

import asyncio
import http.client
import json
import logging
import random
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from itertools import islice
from urllib.parse import urlsplit

import urllib3  # noqa: F401 (whole before its parts: another thread may be importing it)
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from ...applications import Application, Webhook
from ...protocol.signatures import sign
from ..addresses import AddressRefused, check_public, resolve

logger = logging.getLogger("broadcasting.webhooks")

KEEP_TRYING = 300.0  # Seconds from an event to its last request.
MAX_EVENTS = 100  # In one body.
MAX_BODY = 64 * 1024  # Bytes, unless one event alone has more.
MAX_WAITING = 10_000  # Events of one webhook.
MAX_WAITING_BYTES = 16 * 1024 * 1024
FIRST_DELAY = 1.0  # Seconds before a request is repeated, doubling up to the longest.
LONGEST_DELAY = 60.0
CACHE_MISS_EVERY = 1.0  # Seconds in which one channel's misses are told once.

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]
Resolve = Callable[[str, int], list[str]]


class Webhooks:
    """
    The webhooks of all applications, for one event loop.

    Nothing runs before something has happened that a webhook asks for. Call `close`
    on the same loop in the end.

    Args:
        clock: Unix seconds.
        sleep: Waits for so many seconds.
        resolve: Returns the addresses of a host and port, as `addresses.resolve`.
        timeout: Seconds to wait for a connection, and for any part of an answer.
        total: Seconds after which a request has failed whatever it is doing.
    """

    def __init__(
        self,
        apps: Iterable[Application],
        *,
        clock: Clock = time.time,
        sleep: Sleep = asyncio.sleep,
        resolve: Resolve = resolve,
        timeout: float = 5.0,
        total: float = 15.0,
    ) -> None:
        self._clock = clock
        self._routes: dict[tuple[str, str], list[Delivery]] = {}
        self._misses: dict[tuple[str, str], float] = {}  # When each was told, oldest first.
        self._closed = False
        self.deliveries: list[Delivery] = []
        for app in apps:
            for webhook in app.webhooks:
                receiver = _Receiver(webhook, resolve, timeout)
                delivery = Delivery(app, webhook, receiver, clock, sleep, total)
                self.deliveries.append(delivery)
                for name in dict.fromkeys(webhook.events):
                    self._routes.setdefault((app.id, name), []).append(delivery)

    def wants(self, app_id: str, name: str, channel: str) -> bool:
        """Tell, at little cost, whether anybody asks for events `name` of this channel."""
        return not self._closed and any(
            delivery.covers(channel) for delivery in self._routes.get((app_id, name), ())
        )

    def add(self, app_id: str, event: Mapping[str, object]) -> None:
        """
        Post `event` to the webhooks that ask for it.

        `event` has the fields of Pusher's "Webhooks": ``name``, ``channel`` and what
        belongs to that name. It is not referred to any more on return.
        """
        name, channel = str(event.get("name")), str(event.get("channel"))
        takers = [d for d in self._routes.get((app_id, name), ()) if d.covers(channel)]
        if not takers or (name == "cache_miss" and self._is_repeated(app_id, channel)):
            return
        try:
            encoded = _encode(event)
        except (TypeError, ValueError, RecursionError) as exc:
            logger.error("A %s of %s cannot be JSON: %s", name, channel, exc)
            for delivery in takers:
                delivery.dropped += 1
            return
        for delivery in takers:
            delivery.add(encoded)

    async def close(self, timeout: float) -> None:
        """
        Post what waits, for `timeout` seconds at most, and drop the rest.

        What waits for its next request is posted now. Events that are added from now
        on are dropped. Calling it again does nothing.
        """
        self._closed = True
        await asyncio.gather(*(delivery.close(timeout) for delivery in self.deliveries))

    def _is_repeated(self, app_id: str, channel: str) -> bool:
        """Tell whether a miss of this channel was told just now; if not, take note of this one."""
        now = self._clock()
        while self._misses:
            oldest = next(iter(self._misses))
            if 0 <= now - self._misses[oldest] < CACHE_MISS_EVERY:
                break
            del self._misses[oldest]
        if (app_id, channel) in self._misses:
            return True
        self._misses[app_id, channel] = now
        return False


class Delivery:
    """
    One webhook: what waits for it, and the task that posts it.

    Attributes:
        app_id: The application that it belongs to.
        url: Where to, without a query, which may hold a secret. For logs and metrics.
        sent: Events that the receiver has taken.
        failed: Requests that it has not.
        dropped: Events that were given up.
    """

    def __init__(
        self,
        app: Application,
        webhook: Webhook,
        receiver: "_Receiver",
        clock: Clock,
        sleep: Sleep,
        total: float,
    ) -> None:
        self.app_id = app.id
        self.url = receiver.url
        self.sent = self.failed = self.dropped = 0
        self._app = app
        self._webhook = webhook
        self._receiver = receiver
        self._clock = clock
        self._sleep = sleep
        self._total = total
        self._waiting: deque[tuple[float, bytes]] = deque()  # When it happened; its JSON.
        self._size = 0  # Bytes in `_waiting`.
        self._is_full = False  # Whether that was logged.
        self._failures = 0  # Requests in a row, as far as they make the next delay longer.
        self._error: str | None = None  # What was logged last.
        self._task: asyncio.Task[None] | None = None
        self._pausing: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many events are neither taken nor dropped."""
        return len(self._waiting)

    def covers(self, channel: str) -> bool:
        """Tell whether this webhook is told of `channel`. Users' own and the server's never are."""
        return (
            channel.startswith(self._webhook.channel_prefix)
            and channel.endswith(self._webhook.channel_suffix)
            and not channel.startswith("#")
        )

    def add(self, event: bytes) -> None:
        """Post `event` after all earlier ones."""
        if self._closed:
            self.dropped += 1
            return
        if len(self._waiting) >= MAX_WAITING or self._size + len(event) > MAX_WAITING_BYTES:
            self.dropped += 1
            if not self._is_full:
                self._is_full = True
                logger.error(
                    "%d events wait for the webhook %s; newer ones are dropped until it has "
                    "taken half of them",
                    len(self._waiting),
                    self.url,
                )
            return
        self._waiting.append((self._clock(), event))
        self._size += len(event)
        if self._task is None or self._task.done():
            # Whoever happens to be first must not lend the task a request's variables.
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
        if self._waiting:
            logger.error("Dropped %d events for the webhook %s: closing", self.waiting, self.url)
            self.dropped += self._take(self.waiting)
        self._receiver.close()

    async def _run(self) -> None:
        """Post until nothing waits."""
        self._failures = 0
        batch: _Batch | None = None
        while True:
            self._expire(self._clock())
            if not self._waiting:
                return
            # A body is kept while it is refused: the receiver may have seen it already.
            if batch is None or batch.oldest is not self._waiting[0]:
                batch = self._make_batch()
            error = await self._post(batch.body)
            if error is None:
                self.sent += self._take(batch.count)
                batch = None
                self._report_success()
                continue
            self.failed += 1
            self._report_failure(error)
            delay = self._next_delay()
            # What will be too old then need not wait for it.
            self._expire(self._clock() + delay)
            if self._waiting:
                await self._pause(delay)

    def _make_batch(self) -> "_Batch":
        oldest = self._waiting[0]
        # The time is that of the oldest event: whoever refuses old bodies judges by it.
        head = b'{"time_ms":%d,"events":[' % round(oldest[0] * 1000)
        tail = b"]}"
        size = len(head) + len(tail) - 1  # The first event has no comma before it.
        events: list[bytes] = []
        for _, event in islice(self._waiting, MAX_EVENTS):
            size += 1 + len(event)
            if events and size > MAX_BODY:
                break
            events.append(event)
        return _Batch(oldest, len(events), head + b",".join(events) + tail)

    async def _post(self, body: bytes) -> str | None:
        """Post `body` once. Return what went wrong, `None` if nothing did."""
        headers = {
            "Content-Type": "application/json",  # Pusher's Node SDK takes no charset after it.
            "X-Pusher-Key": self._app.key,
            "X-Pusher-Signature": sign(self._app.secrets[0], body.decode()),
        }
        receiver = self._receiver
        receiver.allow()
        watchdog = asyncio.get_running_loop().call_later(self._total, receiver.abort)
        try:
            return await _in_thread(lambda: receiver.post(body, headers))
        except RuntimeError as exc:  # No thread can be started.
            return str(exc)
        except asyncio.CancelledError:
            receiver.abort()
            raise
        finally:
            watchdog.cancel()

    def _next_delay(self) -> float:
        delay = min(FIRST_DELAY * 2.0**self._failures, LONGEST_DELAY)
        # The exponent stays small: a float has an end.
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

    def _take(self, count: int) -> int:
        """Take the first `count` events off the queue; return `count`."""
        for _ in range(count):
            self._size -= len(self._waiting.popleft()[1])
        if len(self._waiting) <= MAX_WAITING // 2 and self._size <= MAX_WAITING_BYTES // 2:
            self._is_full = False
        return count

    def _expire(self, now: float) -> None:
        """Drop what has waited for too long at time `now`."""
        count = 0
        for happened, _ in self._waiting:
            if now - happened <= KEEP_TRYING:
                break
            count += 1
        if count:
            self.dropped += self._take(count)
            logger.error(
                "Dropped %d events for the webhook %s, which has not taken them in %d s (%s)",
                count,
                self.url,
                KEEP_TRYING,
                self._error or "too slow",
            )

    def _report_failure(self, error: str) -> None:
        if error != self._error:
            self._error = error
            logger.warning("The webhook %s fails and is tried again: %s", self.url, error)

    def _report_success(self) -> None:
        if self._error is not None:
            self._error = None
            logger.info("The webhook %s works again", self.url)


@dataclass(frozen=True, slots=True)
class _Batch:
    """One body, with the number of events in it and the entry of the first of them."""

    oldest: tuple[float, bytes]
    count: int
    body: bytes


class _Receiver:
    """
    The receiving end of one webhook, as a thread sees it.

    Only `post` blocks; it is called in one thread at a time. Everything else is called
    on the loop.
    """

    MAX_RESPONSE = 64 * 1024  # Bytes. Of a longer answer the rest is not read.

    def __init__(self, webhook: Webhook, resolve: Resolve, timeout: float) -> None:
        parts = urlsplit(webhook.url)
        host_and_port = parts.netloc.rpartition("@")[2]
        self.url = f"{parts.scheme}://{host_and_port}{parts.path}"
        self._host = parts.hostname or ""
        self._is_secure = parts.scheme == "https"
        self._port = parts.port or (443 if self._is_secure else 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {"Host": host_and_port, "User-Agent": "broadcasting"}
        self._allow_private = webhook.allow_private
        self._resolve = resolve
        self._timeout = timeout
        self._context: ssl.SSLContext | None = None
        self._connection: HTTPConnection | None = None
        # Held while the connection is used: `close` must leave it to the thread then.
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._aborted = False
        self._closed = False

    def allow(self) -> None:
        """Make ready for `post`."""
        self._aborted = False

    def post(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        """Post `body`. Return what went wrong, `None` if the answer was 2xx."""
        try:
            with self._lock:
                error = self._exchange(body, headers)
        except Exception as exc:  # A thread has nobody to raise to.
            logger.exception("A request to the webhook %s failed", self.url)
            error = type(exc).__name__
        if self._closed:
            self._hang_up()
        return "no whole answer in time" if error and self._aborted else error

    def abort(self) -> None:
        """End a request that is under way. Its thread finds the connection closed."""
        self._aborted = True
        if self._socket is not None:
            with suppress(OSError):
                # Not SSLSocket's own method, which alters the object under the thread's hands.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection, at once or when the request under way has ended."""
        self._closed = True
        self._hang_up()

    def _exchange(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        try:
            connection = self._connected()
            if self._aborted:  # While the name was looked up, or just before `_socket` was set.
                raise TimeoutError
            connection.request(
                "POST",
                self._target,
                body,
                {**self._headers, **headers},
                preload_content=False,
                decode_content=False,
            )
            # No layer that would follow a redirect is involved.
            response = connection.getresponse()
        except (OSError, HTTPError, http.client.HTTPException, ValueError, AddressRefused) as exc:
            self._drop_connection()
            return _reason(exc)
        try:
            is_whole = len(response.read(self.MAX_RESPONSE + 1)) <= self.MAX_RESPONSE
        except (OSError, HTTPError, http.client.HTTPException):
            is_whole = False  # What the status says holds all the same.
        if not is_whole:
            response.close()
            self._drop_connection()
        return None if 200 <= response.status < 300 else f"it answered {response.status}"

    def _connected(self) -> HTTPConnection:
        """Return a connection to one of the addresses that the host has now."""
        addresses = self._resolve(self._host, self._port)
        if not self._allow_private:
            check_public(self._host, addresses)
        kept = self._connection
        if kept is not None:
            if kept.host in addresses and kept.is_connected:
                return kept
            self._drop_connection()
        failure: Exception = OSError(f"{self._host} has no address")
        for address in addresses:
            if self._aborted:
                break
            connection = self._connection = self._new_connection(address)
            try:
                connection.connect()
            except (OSError, HTTPError) as exc:
                self._drop_connection()
                failure = exc
            else:
                self._socket = connection.sock
                return connection
        raise failure

    def _new_connection(self, address: str) -> HTTPConnection:
        if not self._is_secure:
            return HTTPConnection(address, self._port, timeout=self._timeout)
        if self._context is None:
            self._context = ssl.create_default_context()
        return HTTPSConnection(
            address,
            self._port,
            timeout=self._timeout,
            ssl_context=self._context,
            server_hostname=self._host,  # Which the context also checks the certificate for.
        )

    def _hang_up(self) -> None:
        if self._lock.acquire(blocking=False):
            self._drop_connection()
            self._lock.release()

    def _drop_connection(self) -> None:
        connection, self._connection, self._socket = self._connection, None, None
        if connection is not None:
            connection.close()


async def _in_thread(work: Callable[[], str | None]) -> str | None:
    """Run `work`, which does not raise, in a thread that nobody waits for in the end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str | None] = loop.create_future()

    def settle(result: str | None) -> None:
        if not future.done():
            future.set_result(result)

    def run() -> None:
        result = work()
        with suppress(RuntimeError):  # The loop has been closed meanwhile.
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=run, name="webhook", daemon=True).start()
    return await future


def _encode(event: Mapping[str, object]) -> bytes:
    try:
        return _dumps(event, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return _dumps(event, ensure_ascii=True).encode()  # Lone surrogates can be spelled only.


def _dumps(event: Mapping[str, object], *, ensure_ascii: bool) -> str:
    return json.dumps(
        dict(event), ensure_ascii=ensure_ascii, separators=(",", ":"), allow_nan=False
    )


def _reason(exc: Exception) -> str:
    """Return what went wrong, in words that are not the receiver's."""
    cause = exc.__cause__ if isinstance(exc.__cause__, OSError) else exc
    if isinstance(cause, ssl.SSLCertVerificationError):
        return str(cause.verify_message)
    if isinstance(cause, OSError):
        return cause.strerror or str(cause)
    return str(exc) if isinstance(exc, AddressRefused) else type(exc).__name__
