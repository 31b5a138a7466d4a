"""What tests share: waiting for a condition, free ports, a clock, and a client's frames."""

import asyncio
import inspect
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from typing import Any, TypeVar, overload

T = TypeVar("T")

# Between two looks at a condition: short beside what is awaited, long beside a look.
POLL_INTERVAL = 0.01

# Seconds that a condition may take. One that holds is seen at once, so this only bounds how
# long a broken test waits; a machine that is busy must never reach it.
PATIENCE = 60.0


def wait_until(predicate: Callable[[], T], timeout: float = PATIENCE, what: str = "") -> T:
    """
    Look until `predicate` is true and return its value.

    Use it for what happens in other processes and threads; a test that can await or be
    called back does that instead. After `timeout` seconds, `PATIENCE` at least,
    `AssertionError` says that `what` did not happen.
    """
    timeout = max(timeout, PATIENCE)
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() >= deadline:
            raise AssertionError(_late(predicate, timeout, what))
        time.sleep(POLL_INTERVAL)
    return value


@overload
async def await_until(
    predicate: Callable[[], Awaitable[T]], timeout: float = ..., what: str = ...
) -> T: ...
@overload
async def await_until(predicate: Callable[[], T], timeout: float = ..., what: str = ...) -> T: ...
async def await_until(
    predicate: Callable[[], Any], timeout: float = PATIENCE, what: str = ""
) -> object:
    """Do as `wait_until` without blocking the loop. `predicate` may be a coroutine function."""
    timeout = max(timeout, PATIENCE)
    deadline = time.monotonic() + timeout
    while True:
        found = predicate()
        value = await found if inspect.isawaitable(found) else found
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(_late(predicate, timeout, what))
        await asyncio.sleep(POLL_INTERVAL)


def _late(predicate: Callable[[], object], timeout: float, what: str) -> str:
    return f"Not within {timeout:g} s: {what or getattr(predicate, '__qualname__', predicate)}"


def free_port() -> int:
    """
    Return a TCP port of 127.0.0.1 that nothing listens on.

    Each process of a run has ports of its own, and none is among those that the kernel
    gives to outgoing connections: nothing can take the port before the test's server does.
    """
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise AssertionError("No port is left")


def _ports_of_this_process() -> Iterator[int]:
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 11_000 + number * 2_000  # Browsers refuse 10080, and none above it.
    ports = list(range(first, first + 2_000))
    start = os.getpid() % len(ports)  # Another run beside this one begins elsewhere.
    return cycle([*ports[start:], *ports[:start]])


_ports = _ports_of_this_process()


@dataclass
class FakeClock:
    """
    A clock that moves when a test says so.

    Attributes:
        now: Seconds, as `time.monotonic` would give them. Call the clock to read it
            where code expects a function.
    """

    now: float = 1000.0

    def __call__(self) -> float:
        """Return `now`."""
        return self.now

    def advance(self, seconds: float) -> float:
        """Let `seconds` pass and return the new `now`."""
        self.now += seconds
        return self.now


# What a Pusher client sends, as text. Each takes the values of the protocol document.


def frame(event: str, data: object = None, channel: str | None = None) -> str:
    """Return any frame; `data` and `channel` are left out where they are None."""
    fields: dict[str, object] = {"event": event}
    if data is not None:
        fields["data"] = data
    if channel is not None:
        fields["channel"] = channel
    return json.dumps(fields)


def subscribe(channel: str, *, auth: str | None = None, channel_data: str | None = None) -> str:
    """Return ``pusher:subscribe``, signed where `auth` is given."""
    data = {"channel": channel, "auth": auth, "channel_data": channel_data}
    return frame("pusher:subscribe", {k: v for k, v in data.items() if v is not None})


def unsubscribe(channel: str) -> str:
    """Return ``pusher:unsubscribe``."""
    return frame("pusher:unsubscribe", {"channel": channel})


def ping() -> str:
    """Return ``pusher:ping``."""
    return frame("pusher:ping", {})


def pong() -> str:
    """Return ``pusher:pong``."""
    return frame("pusher:pong", {})


def sign_in(user_data: str, auth: str) -> str:
    """Return ``pusher:signin``."""
    return frame("pusher:signin", {"user_data": user_data, "auth": auth})


def client_event(channel: str, event: str, data: object) -> str:
    """Return a client event, a whisper; `event` is written with its ``client-``."""
    return frame(event, data, channel)


def decode(text: str) -> dict[str, Any]:
    """Return a frame as a dictionary, its ``data`` decoded too: servers send it as JSON text."""
    fields: dict[str, Any] = json.loads(text)
    if isinstance(fields.get("data"), str):
        fields["data"] = json.loads(fields["data"])
    return fields
