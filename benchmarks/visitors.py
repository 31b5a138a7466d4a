"""Clients on an event loop, which know what they have been told, and cost little."""

import asyncio
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

from broadcasting.protocol.signatures import sign_channel, sign_request

from .dialects import Keys
from .frames import CLOSE, PING, PONG, TEXT, client_frame, find_end

HEARTBEAT = '{"event":"pusher:pong","data":{}}'
_COME_AND_GONE = {"pusher_internal:member_added": "+", "pusher_internal:member_removed": "-"}


class Visitor(asyncio.Protocol):
    """
    One page. It answers pings, and remembers what it is told.

    Attributes:
        socket_id: What the server calls it; empty until it is greeted.
        members: Who is in each presence channel, as it has been told.
        changes: Who came and went since it joined, in short: ``("room", "+", "ana")``.
        heard: Data of the events, by channel, in order.
        counts: How many subscribers each channel has, as it was told last.
        joined: The channels that it is in.
        errors: What it was refused.
        is_open: Whether the connection lives.
        close_code: The server's code, `None` where the connection ended without.
    """

    def __init__(self, keys: Keys) -> None:
        self.socket_id = ""
        self.members: dict[str, set[str]] = {}
        self.changes: list[tuple[str, str, str]] = []
        self.heard: dict[str, list[Any]] = {}
        self.counts: dict[str, int] = {}
        self.joined: set[str] = set()
        self.errors: list[str] = []
        self.is_open = False
        self.close_code: int | None = None
        self._keys = keys
        self._data = b""
        self._transport: asyncio.Transport

    @classmethod
    async def open(cls, address: tuple[str, int], keys: Keys) -> "Visitor":
        """Return a visitor who has asked for a WebSocket; `socket_id` says when it has one."""
        loop = asyncio.get_running_loop()
        _, visitor = await loop.create_connection(lambda: cls(keys), *address)
        return visitor

    def join(self, channel: str, user: str | None = None) -> None:
        """Subscribe, as `user` to a presence channel."""
        data = {"channel": channel, "auth": ""}
        member = None if user is None else json.dumps({"user_id": user})
        if channel.startswith(("private-", "presence-")):
            data["auth"] = sign_channel(self._keys, self.socket_id, channel, member)
        if member is not None:
            data["channel_data"] = member
        self.say("pusher:subscribe", data)

    def leave(self, channel: str) -> None:
        """Unsubscribe; the server does not confirm that."""
        self.joined.discard(channel)
        self.say("pusher:unsubscribe", {"channel": channel})

    def say(self, event: str, data: object, channel: str | None = None) -> None:
        """Send a frame."""
        fields = {"event": event, "data": data} | ({"channel": channel} if channel else {})
        self._transport.write(client_frame(json.dumps(fields).encode()))

    def close(self) -> None:
        """Go without a word, as a page does whose tab is closed."""
        self._transport.abort()

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        self._transport = transport  # type: ignore[assignment]  # It is one of TCP.
        self.is_open = True
        self._transport.write(
            f"GET /app/{self._keys.key}?protocol=7 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: d2hpay1iZW5jaG1hcms0Mg==\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Note it."""
        self.is_open = False

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        data = self._data + data
        start = 0
        if not self.socket_id:
            head, end, _ = data.partition(b"\r\n\r\n")
            if not end:
                self._data = data
                return
            if head.startswith(b"HTTP/"):
                start = len(head) + len(end)
        while found := find_end(data, start):
            begin, end_of_frame = found
            self._take(data[start] & 0x0F, data[begin:end_of_frame])
            start = end_of_frame
        self._data = data[start:]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            frame = json.loads(payload)
            self._hear(frame["event"], frame.get("channel", ""), frame.get("data"))
        elif opcode == PING:
            self._transport.write(client_frame(payload, PONG))
        elif opcode == CLOSE:
            self.close_code = int.from_bytes(payload[:2])
            self._transport.write(client_frame(payload, CLOSE))

    def _hear(self, event: str, channel: str, data: Any) -> None:
        if isinstance(data, str):
            data = json.loads(data)
        match event:
            case "pusher:connection_established":
                self.socket_id = data["socket_id"]
            case "pusher:ping":
                self._transport.write(client_frame(HEARTBEAT.encode()))
            case "pusher_internal:subscription_succeeded":
                self.joined.add(channel)
                if "presence" in data:
                    self.members[channel] = set(data["presence"]["ids"])
            case "pusher_internal:member_added" | "pusher_internal:member_removed":
                sign = _COME_AND_GONE[event]
                self.changes.append((channel, sign, data["user_id"]))
                present = self.members.setdefault(channel, set())
                (present.add if sign == "+" else present.discard)(data["user_id"])
            case "pusher_internal:subscription_count":
                self.counts[channel] = data["subscription_count"]
            case "pusher:error" | "pusher:subscription_error":
                self.errors.append(data["message"] if "message" in data else data["error"])
            case _:
                self.heard.setdefault(channel, []).append(data)


async def until(is_done: Callable[[], bool], seconds: float) -> bool:
    """Wait for `is_done`, for so many seconds at most; return whether it is."""
    deadline = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


async def open_many(
    addresses: Sequence[tuple[str, int]], keys: Keys, *, in_flight: int = 50
) -> list[Visitor]:
    """Open a visitor to each of `addresses`; return those who were greeted."""
    visitors: list[Visitor] = []
    for start in range(0, len(addresses), in_flight):
        some = await asyncio.gather(
            *(Visitor.open(address, keys) for address in addresses[start : start + in_flight]),
            return_exceptions=True,
        )
        new = [visitor for visitor in some if isinstance(visitor, Visitor)]
        await until(partial(_are_answered, new), 30)
        visitors += [visitor for visitor in new if visitor.socket_id]
    return visitors


def _are_answered(visitors: Sequence[Visitor]) -> bool:
    return all(visitor.socket_id or not visitor.is_open for visitor in visitors)


class Api:
    """The signed HTTP API of one server. It blocks: call it in a thread."""

    def __init__(self, address: tuple[str, int], keys: Keys) -> None:
        self._address = address
        self._keys = keys

    def publish(self, channel: str, data: object, socket_id: str | None = None) -> None:
        """Publish, to all but one."""
        event = {"name": "news", "channel": channel, "data": json.dumps(data)}
        if socket_id is not None:
            event["socket_id"] = socket_id
        self._ask("POST", "/events", json.dumps(event).encode(), {})

    def get(self, path: str, **query: str) -> Any:
        """Return what is answered to GET."""
        return json.loads(self._ask("GET", path, b"", query))

    def _ask(self, method: str, path: str, body: bytes, query: dict[str, str]) -> bytes:
        path = f"/apps/{self._keys.app_id}{path}"
        signed = sign_request(self._keys, method, path, body, int(time.time()), query)
        return fetch(self._address, f"{path}?{urlencode(signed)}", method, body)


def fetch(address: tuple[str, int], path: str, method: str = "GET", body: bytes = b"") -> bytes:
    """
    Return the body of an answer.

    Raises:
        RuntimeError: The answer is no success.
    """
    connection = HTTPConnection(*address, timeout=20)
    try:
        connection.request(method, path, body or None)
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise RuntimeError(f"{path} answered {response.status}: {answer[:200]!r}")
    return answer


def metrics(address: tuple[str, int]) -> dict[str, dict[str, float]]:
    """Return the numbers of each worker, by worker and by name; labels are added up."""
    workers: dict[str, dict[str, float]] = {}
    for line in fetch(address, "/metrics").decode().splitlines():
        found = re.fullmatch(r'(\w+)\{(?:.*,)?worker="(\d+)"\} (\S+)', line)
        if found is not None:
            numbers = workers.setdefault(found[2], defaultdict(float))
            numbers[found[1]] += float(found[3])
    return workers
