"""A client without a network, and a bus whose confirmations a test releases by hand."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from broadcasting.applications import Application
from broadcasting.drivers.base import CONTROL, Broker, Listener, Members, is_kept
from broadcasting.drivers.presence import LocalPresence, PresenceStore
from broadcasting.protocol.connection import Connection
from broadcasting.protocol.members import Member
from broadcasting.protocol.messages import Cached, Frame, Message, topic_of
from broadcasting.protocol.signatures import sign_channel, sign_user
from broadcasting.server import hub as hub_module
from broadcasting.server.hub import Hub
from broadcasting.server.session import Session
from tests.utils import FakeClock, client_event, decode, sign_in, subscribe, unsubscribe

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
        return self.closed is None

    @property
    def close_code(self) -> int | None:
        return None if self.closed is None else self.closed[0]

    @property
    def events(self) -> list[tuple[str, str | None]]:
        return [(f["event"], f.get("channel")) for f in self.decoded]

    @property
    def decoded(self) -> list[dict[str, Any]]:
        return [json.loads(frame.text) for frame in self.frames]

    def send(self, frame: Frame) -> None:
        if self.closed is None:
            self.frames.append(frame)

    def close(self, code: int, reason: str) -> None:
        if self.closed is None:
            self.closed = (code, reason)

    def tick(self, now: float) -> None:
        self.ticks.append(now)


class FakePresence(LocalPresence):
    """A presence whose calls wait before and after their one step."""

    def __init__(self, store: PresenceStore, pause: Callable[[str], Awaitable[None]]) -> None:
        super().__init__(store)
        self._pause = pause

    async def join(
        self, topic: str, entry: str, member: Member, *, socket_id: str, limit: int
    ) -> Members | None:
        await self._pause("join")
        members = await super().join(topic, entry, member, socket_id=socket_id, limit=limit)
        await self._pause("joined")
        return members

    async def leave(self, topic: str, entry: str, *, grace: float = 0) -> None:
        await self._pause("leave")
        await super().leave(topic, entry, grace=grace)

    async def members(self, topic: str) -> Members:
        members = await super().members(topic)
        await self._pause("members")
        return members


class FakeBroker(Broker):
    """
    A bus that is joined, and confirms, when a test lets it.

    Attributes:
        joined: The topics whose messages would arrive.
        calls: Every ``subscribe``, ``unsubscribe`` and ``close``, in order.
        elsewhere: The presence of another process.
        held: Whether calls wait for `release`.
        waiting: The calls that wait, by their names.
    """

    is_shared = False
    supports_cache = True

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = PresenceStore(self.put, threading.RLock(), self.clock)
        self.presence: FakePresence = FakePresence(self.store, self.pause)
        self.elsewhere = LocalPresence(self.store)
        self.last_events: dict[str, Cached] = {}
        self.listener: Listener | None = None
        self.joined: set[str] = set()
        self.joined_controls: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        self.held = False
        self.waiting: list[tuple[str, asyncio.Future[None]]] = []
        self.connections = 0

    async def connect(self, listener: Listener) -> None:
        self.connections += 1
        await self.pause("connect")
        self.listener = listener
        self.presence.connect(listener)

    async def close(self) -> None:
        self.calls.append(("close", ""))
        self.listener = None

    async def subscribe(self, topic: str) -> None:
        """Join: messages may arrive from the call on, and must from its return on."""
        if topic.endswith(CONTROL):  # Every hub listens there; no test waits for it.
            self.joined_controls.add(topic)
            return
        self.calls.append(("subscribe", topic))
        self.joined.add(topic)
        try:
            await self.pause("subscribe")
        except BaseException:
            self.joined.discard(topic)
            raise

    async def unsubscribe(self, topic: str) -> None:
        self.calls.append(("unsubscribe", topic))
        self.joined.discard(topic)
        await self.pause("unsubscribe")

    async def publish(self, message: Message) -> None:
        """Deliver at once, if the topic is joined; keep what a cache channel keeps."""
        if is_kept(message):
            version = self.store.next_version()
            self.last_events[message.topic] = Cached(message.event, message.data, version, 60)
            message = replace(message, version=version)
        self.put(message)

    def put(self, message: Message) -> None:
        if self.listener is not None and message.topic in self.joined | self.joined_controls:
            self.listener.deliver(message)

    async def cached(self, topic: str) -> Cached | None:
        cached = self.last_events.get(topic)
        await self.pause("cached")
        return cached

    def release(self, index: int = 0, error: Exception | None = None) -> None:
        _, future = self.waiting.pop(index)
        if future.done():
            return  # Its caller was cancelled.
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def release_all(self) -> None:
        self.held = False
        while self.waiting:
            self.release()

    async def pause(self, call: str) -> None:
        if self.held:
            future = asyncio.get_running_loop().create_future()
            self.waiting.append((call, future))
            await future


class Tab:
    """
    One browser tab: a session on `hub`, speaking through a `FakeSocket`.

    Args:
        number: Becomes its socket id.
        origin: Where its page is.
    """

    def __init__(
        self, hub: Hub, number: int = 1, app: Application = APP, origin: str | None = None
    ) -> None:
        self.app = app
        self.hub = hub
        self.socket = FakeSocket()
        self.connection = Connection(app, f"1.{number}", "7")
        self.clock = FakeClock()
        self.session = Session(hub, app, self.connection, self.socket, self.clock)
        self.session.open(origin)

    @property
    def socket_id(self) -> str:
        return self.connection.socket_id

    def subscribe(self, *channels: str) -> None:
        for channel in channels:
            self.session.receive(subscribe(channel))

    def join(self, channel: str, user_id: str = "", info: object = None) -> None:
        """Ask for a guarded channel, with a valid signature, as a member if it has members."""
        data = json.dumps({"user_id": user_id, "user_info": info}) if user_id else None
        auth = sign_channel(self.app, self.socket_id, channel, data)
        self.session.receive(subscribe(channel, auth=auth, channel_data=data))

    def sign_in(self, user_id: str, *watchlist: str) -> None:
        data = json.dumps({"id": user_id, "watchlist": watchlist})
        self.session.receive(sign_in(data, sign_user(self.app, self.socket_id, data)))

    def send_event(self, channel: str, event: str, data: object) -> None:
        self.session.receive(client_event(channel, event, data))

    def told(self, *events: str) -> list[dict[str, Any]]:
        """Return the frames of these events, all but the greeting if none is named."""
        frames = [decode(frame.text) for frame in self.socket.frames[1:]]
        return [frame for frame in frames if frame["event"] in events or not events]

    def members(self, channel: str) -> dict[str, object] | None:
        """Return who is in `channel` as pusher-js knows it; `None` before the confirmation."""
        known: dict[str, object] | None = None
        for frame in self.told():
            if frame.get("channel") != channel:
                continue
            data = frame["data"]
            match frame["event"]:
                case "pusher_internal:subscription_succeeded":
                    known = dict(data["presence"]["hash"])
                    assert data["presence"]["ids"] == list(known)
                    assert data["presence"]["count"] == len(known)
                case "pusher_internal:member_added":
                    assert known is not None
                    assert data["user_id"] not in known, "told of a member twice"
                    known[data["user_id"]] = data["user_info"]
                case "pusher_internal:member_removed":
                    assert known is not None
                    del known[data["user_id"]]
        return known

    def unsubscribe(self, channel: str) -> None:
        self.session.receive(unsubscribe(channel))

    def heard(self, channel: str) -> list[str]:
        """Return what came on `channel`: ``joined``, or the data of an event."""
        return [
            "joined" if frame["event"].startswith("pusher") else frame["data"]
            for frame in self.socket.decoded
            if frame.get("channel") == channel
        ]


@contextmanager
def hub_on(broker: Broker, *apps: Application, **options: Any) -> Iterator[Hub]:
    """Make a hub for the running loop whose bus is `broker`."""

    async def close_broker() -> None:
        await broker.close()

    with (
        mock.patch.object(hub_module, "get_broker", return_value=broker),
        mock.patch.object(hub_module, "close_broker", close_broker),
    ):
        yield Hub(apps or [APP], **options)


async def settle() -> None:
    """Let every task run until all of them wait for something outside."""
    for _ in range(20):
        await asyncio.sleep(0)


def message(channel: str, data: str = "{}", socket_id: str | None = None) -> Message:
    return Message(topic_of(APP_ID, channel), "e", data, socket_id)


def address(channel: str) -> str:
    return topic_of(APP_ID, channel)
