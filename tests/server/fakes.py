"""A client without a network, and a bus whose confirmations a test releases by hand."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from broadcasting.credentials import Application
from broadcasting.drivers.base import CONTROL, Broker, Deliver, Report
from broadcasting.drivers.presence import LocalPresence, PresenceStore
from broadcasting.protocol.connection import Connection
from broadcasting.protocol.messages import Frame, Message, topic
from broadcasting.server import hub as hub_module
from broadcasting.server.hub import Hub
from broadcasting.server.session import Session
from tests.utils import FakeClock, subscribe, unsubscribe

APP_ID = "1"
APP = Application(id=APP_ID, key="app-key", secret="app-secret", client_events=True)


class FakeSocket:
    """
    Notes what it is told; as the contract asks, it is deaf after `close`.

    Attributes:
        frames: What was sent, in order.
        closed: Code and reason of the first close.
        ticks: The times it was told.
    """

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.closed: tuple[int, str] | None = None
        self.ticks: list[float] = []

    @property
    def is_open(self) -> bool:
        """Whether nobody has closed it."""
        return self.closed is None

    @property
    def close_code(self) -> int | None:
        """The code that the client would see."""
        return None if self.closed is None else self.closed[0]

    @property
    def events(self) -> list[tuple[str, str | None]]:
        """Event and channel of each frame."""
        return [(f["event"], f.get("channel")) for f in self.decoded]

    @property
    def decoded(self) -> list[dict[str, Any]]:
        """Each frame as a dictionary."""
        return [json.loads(frame.text) for frame in self.frames]

    def send(self, frame: Frame) -> None:
        """Note a frame."""
        if self.closed is None:
            self.frames.append(frame)

    def close(self, code: int, reason: str) -> None:
        """Note the first close."""
        if self.closed is None:
            self.closed = (code, reason)

    def tick(self, now: float) -> None:
        """Note the time."""
        self.ticks.append(now)


class FakeBroker(Broker):
    """
    A bus that is joined, and confirms, when a test lets it.

    Attributes:
        joined: The topics whose messages would arrive.
        calls: Every ``subscribe``, ``unsubscribe`` and ``close``, in order.
        held: Whether calls wait for `release`.
        waiting: The calls that wait, by their names.
    """

    is_shared = False

    def __init__(self) -> None:
        self.store = PresenceStore(self.put, threading.RLock())
        self.presence: LocalPresence = LocalPresence(self.store)
        self.deliver: Deliver | None = None
        self.joined: set[str] = set()
        self.joined_controls: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        self.held = False
        self.waiting: list[tuple[str, asyncio.Future[None]]] = []
        self.connections = 0

    async def connect(self, deliver: Deliver, report: Report | None = None) -> None:
        """Begin to read."""
        self.connections += 1
        await self._pause("connect")
        self.deliver = deliver
        self.presence.connect(report)

    async def close(self) -> None:
        """Stop reading."""
        self.calls.append(("close", ""))
        self.deliver = None

    async def subscribe(self, topic: str) -> None:
        """Join: messages may arrive from the call on, and must from its return on."""
        if topic.endswith(CONTROL):  # Every hub listens there; no test waits for it.
            self.joined_controls.add(topic)
            return
        self.calls.append(("subscribe", topic))
        self.joined.add(topic)
        try:
            await self._pause("subscribe")
        except BaseException:
            self.joined.discard(topic)
            raise

    async def unsubscribe(self, topic: str) -> None:
        """Leave."""
        self.calls.append(("unsubscribe", topic))
        self.joined.discard(topic)
        await self._pause("unsubscribe")

    async def publish(self, message: Message) -> None:
        """Deliver at once, if the topic is joined."""
        self.put(message)

    def put(self, message: Message) -> None:
        """Deliver at once, if the topic is joined."""
        if self.deliver is not None and message.topic in self.joined | self.joined_controls:
            self.deliver(message)

    def release(self, index: int = 0, error: Exception | None = None) -> None:
        """Let one waiting call go on, or fail it with `error`."""
        _, future = self.waiting.pop(index)
        if future.done():
            return  # Its caller was cancelled.
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def release_all(self) -> None:
        """Let every call go on, those to come included."""
        self.held = False
        while self.waiting:
            self.release()

    async def _pause(self, call: str) -> None:
        if self.held:
            future = asyncio.get_running_loop().create_future()
            self.waiting.append((call, future))
            await future


class Tab:
    """
    One browser tab: a session on `hub`, speaking through a `FakeSocket`.

    Args:
        number: Becomes its socket id.
        clock: What the session takes the time from.
    """

    def __init__(
        self, hub: Hub, number: int = 1, clock: FakeClock | None = None, app: Application = APP
    ) -> None:
        self.app = app
        self.socket = FakeSocket()
        self.connection = Connection(app, f"1.{number}", "7")
        self.clock = clock or FakeClock()
        self.session = Session(hub, app, self.connection, self.socket, self.clock)
        self.session.open(None)

    @property
    def socket_id(self) -> str:
        """The id that publishers may exclude."""
        return self.connection.socket_id

    def subscribe(self, *channels: str) -> None:
        """Ask for `channels`."""
        for channel in channels:
            self.session.receive(subscribe(channel))

    def unsubscribe(self, channel: str) -> None:
        """Leave `channel`."""
        self.session.receive(unsubscribe(channel))

    def heard(self, channel: str) -> list[str]:
        """Return what came on `channel`: ``joined``, or the data of an event."""
        return [
            "joined" if frame["event"].startswith("pusher") else frame["data"]
            for frame in self.socket.decoded
            if frame.get("channel") == channel
        ]


@contextmanager
def hub_on(broker: Broker, *apps: Application) -> Iterator[Hub]:
    """Make a hub for the running loop whose bus is `broker`."""

    async def close_broker() -> None:
        await broker.close()

    with (
        mock.patch.object(hub_module, "get_broker", return_value=broker),
        mock.patch.object(hub_module, "close_broker", close_broker),
    ):
        yield Hub(apps or [APP])


async def settle() -> None:
    """Let every task run until all of them wait for something outside."""
    for _ in range(20):
        await asyncio.sleep(0)


def message(channel: str, data: str = "{}", socket_id: str | None = None) -> Message:
    """Return an event of `channel`."""
    return Message(APP_ID, channel, "e", data, socket_id)


def address(channel: str) -> str:
    """Return the topic of `channel`."""
    return topic(APP_ID, channel)
