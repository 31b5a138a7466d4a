"""
The HTTP side of one endpoint: requests, each in a thread, over a connection that is kept.

`post` and `close` are called on the loop. Everything that blocks runs in the thread of
one request at a time.
"""

import asyncio
import http.client
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

import urllib3  # noqa: F401 (whole before its parts: another thread may be importing it)
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from ...applications import Webhook
from .addresses import AddressRefused, Resolve, check_public

logger = logging.getLogger("broadcasting.webhooks")


class Sender:
    """
    Sends requests to one URL.

    Args:
        resolve: Returns the addresses of a host and port.
        timeout: Seconds to wait for a connection, and for any part of an answer.
        total: Seconds after which a request has failed, whatever it is doing.

    Attributes:
        url: The address for logs, without the query.
    """

    MAX_RESPONSE = 64 * 1024  # Bytes. The rest of a longer answer is not read.

    def __init__(self, webhook: Webhook, *, resolve: Resolve, timeout: float, total: float) -> None:
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
        self._total = total
        self._context: ssl.SSLContext | None = None
        self._connection: HTTPConnection | None = None
        # Held while a thread uses the connection: `close` must leave it to the thread then.
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._aborted = False
        self._closed = False

    async def post(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        """Post `body`. Return what went wrong, `None` if the answer was 2xx."""
        self._aborted = False
        watchdog = asyncio.get_running_loop().call_later(self._total, self._abort)
        try:
            return await _in_thread(lambda: self._post(body, headers))
        except RuntimeError as exc:  # No thread can be started.
            return str(exc)
        except asyncio.CancelledError:
            self._abort()
            raise
        finally:
            watchdog.cancel()

    def close(self) -> None:
        """Close the connection, at once or when the request under way has ended."""
        self._closed = True
        self._hang_up()

    def _abort(self) -> None:
        """End a request that is under way. Its thread finds the connection closed."""
        self._aborted = True
        if self._socket is not None:
            with suppress(OSError):
                # Not SSLSocket's own method, which changes the object while the thread uses it.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    # In the thread

    def _post(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        try:
            with self._lock:
                error = self._exchange(body, headers)
        except Exception as exc:  # Nothing would receive it from a thread.
            logger.exception("A request to the webhook %s failed", self.url)
            error = type(exc).__name__
        if self._closed:
            self._hang_up()
        return "no whole answer in time" if error and self._aborted else error

    def _exchange(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        try:
            connection = self._connected()
            if self._aborted:  # While the name was resolved, or just before `_socket` was set.
                raise TimeoutError
            sent = {**self._headers, **headers}
            connection.request(
                "POST", self._target, body, sent, preload_content=False, decode_content=False
            )
            # No layer that would follow a redirect is involved.
            response = connection.getresponse()
        except (OSError, HTTPError, http.client.HTTPException, ValueError, AddressRefused) as exc:
            self._drop_connection()
            return _reason(exc)
        try:
            is_whole = len(response.read(self.MAX_RESPONSE + 1)) <= self.MAX_RESPONSE
        except (OSError, HTTPError, http.client.HTTPException):
            is_whole = False  # The status counts all the same.
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
        self._context = self._context or ssl.create_default_context()
        return HTTPSConnection(
            address,
            self._port,
            timeout=self._timeout,
            ssl_context=self._context,
            server_hostname=self._host,  # The context checks the certificate for it, too.
        )

    # From either side

    def _hang_up(self) -> None:
        if self._lock.acquire(blocking=False):
            self._drop_connection()
            self._lock.release()

    def _drop_connection(self) -> None:
        connection, self._connection, self._socket = self._connection, None, None
        if connection is not None:
            connection.close()


async def _in_thread(work: Callable[[], str | None]) -> str | None:
    """Run `work`, which does not raise, in a thread that the end of the process does not await."""
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


def _reason(exc: Exception) -> str:
    """Return what went wrong, without quoting anything that the endpoint has sent."""
    cause = exc.__cause__ if isinstance(exc.__cause__, OSError) else exc
    if isinstance(cause, ssl.SSLCertVerificationError):
        return str(cause.verify_message)
    if isinstance(cause, OSError):
        return cause.strerror or str(cause)
    return str(exc) if isinstance(exc, AddressRefused) else type(exc).__name__
