"""Who publishes: over signed HTTP, over a WebSocket, or straight into Redis."""

import json
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from urllib.parse import urlencode

from broadcasting.protocol.signatures import sign_request

from .crowd import Crowd
from .dialects import CHANNEL, Dialect, EngineIO, Keys
from .poller import Poller

EVENT = "bench"


class Publisher(ABC):
    """
    Sends messages without waiting for what becomes of them.

    Attributes:
        keeps_order: Whether one connection carries all messages, so that none may overtake
            another.
        published: Messages sent.
        refused: Messages that were answered with anything but a success.
    """

    keeps_order: bool
    published = 0
    refused = 0

    @property
    @abstractmethod
    def is_free(self) -> bool:
        """Whether `publish` may be called."""

    @property
    def is_idle(self) -> bool:
        """Whether every message has been answered."""
        return True

    @abstractmethod
    def publish(self, data: str) -> None:
        """Send one message."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""


class HttpPublisher(Publisher):
    """
    Posts signed events over kept-alive connections, one request at a time on each.

    Args:
        connections: How many requests may be under way.
        channel: Where to.
    """

    def __init__(
        self,
        poller: Poller,
        address: tuple[str, int],
        keys: Keys,
        *,
        connections: int,
        channel: str = CHANNEL,
    ) -> None:
        self.keeps_order = connections == 1
        self._keys = keys
        self._path = f"/apps/{keys.app_id}/events"
        self._host = f"{address[0]}:{address[1]}"
        self._channel = channel
        self._connections = [_HttpConnection(self, poller, address) for _ in range(connections)]
        self._free = list(self._connections)

    @property
    def is_free(self) -> bool:
        """Whether a connection waits for a request."""
        return bool(self._free)

    @property
    def is_idle(self) -> bool:
        """Whether every request has been answered."""
        return len(self._free) == len(self._connections)

    def publish(self, data: str) -> None:
        """Send one signed request."""
        body = json.dumps(
            {"name": EVENT, "channel": self._channel, "data": data}, separators=(",", ":")
        ).encode()
        query = urlencode(sign_request(self._keys, "POST", self._path, body, int(time.time())))
        head = (
            f"POST {self._path}?{query} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.published += 1
        self._free.pop().send(head.encode() + body)

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()

    def answered(self, connection: "_HttpConnection", status: int) -> None:
        """Take a connection back."""
        self.refused += status != 200
        self._free.append(connection)


class _HttpConnection:
    """One kept-alive connection."""

    def __init__(self, publisher: HttpPublisher, poller: Poller, address: tuple[str, int]) -> None:
        self._publisher = publisher
        self._poller = poller
        self._address = address
        self._open()

    def _open(self) -> None:
        self._data = b""
        self._socket = socket.create_connection(self._address, timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poller.add(self._socket.fileno(), self._read)

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def close(self) -> None:
        self._poller.remove(self._socket.fileno())
        self._socket.close()

    def _read(self, events: int) -> None:
        data = self._socket.recv(65_536)
        if not data:
            raise ConnectionError(f"The server hangs up after {self._data!r}")
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end or not _is_whole(head.lower(), body):
            return
        self._data = b""
        if b"\r\nconnection: close" in head.lower():
            self.close()
            self._open()
        if not head.startswith(b"HTTP/1.1 "):
            raise ConnectionError(f"No HTTP here: {head!r}")
        self._publisher.answered(self, int(head[9:12]))


def _is_whole(head: bytes, body: bytes) -> bool:
    """Return whether `body` is complete; `head` is in lower case."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(body) >= int(value)
        if name == b"transfer-encoding":
            return body.endswith(b"0\r\n\r\n")
    return True


class SocketPublisher(Publisher):
    """Sends messages over WebSockets, for servers whose clients do that."""

    is_free = True

    def __init__(
        self, poller: Poller, address: tuple[str, int], dialect: Dialect, *, connections: int
    ) -> None:
        self.keeps_order = connections == 1
        self._crowd = Crowd(poller, *address)
        self._members = self._crowd.connect(dialect, connections)
        self._wraps = isinstance(dialect, EngineIO)

    def publish(self, data: str) -> None:
        """Send through the sockets in turn."""
        member = self._members[self.published % len(self._members)]
        text = json.dumps({"publish": data}, separators=(",", ":"))
        if self._wraps:
            text = "42" + json.dumps(["publish", data], separators=(",", ":"))
        self.published += 1
        member.send(text)

    def close(self) -> None:
        """Close the sockets."""
        self._crowd.close()


class CallPublisher(Publisher):
    """Calls a function that has published when it returns."""

    is_free = True
    keeps_order = True

    def __init__(self, call: Callable[[str], None]) -> None:
        self._call = call

    def publish(self, data: str) -> None:
        """Call it."""
        self.published += 1
        self._call(data)

    def close(self) -> None:
        """Nothing to let go of."""
