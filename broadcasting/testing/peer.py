"""The socket of a test's client, on the loop of the `Site`."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from ..applications import Application
from ..encryption import unseal
from ..protocol.messages import Frame, encode
from ..protocol.names import is_encrypted, user_channel
from .site import Site

T = TypeVar("T")


class ClientError(AssertionError):
    """The server has refused what the client sent; the text is what it answered."""


class NotReceived(AssertionError):
    """What a client waits for has not come."""


class SubscriptionRefused(ClientError):
    """
    A client may not join a channel, or sign in.

    Attributes:
        channel: The channel; empty for a sign-in.
        status: What was answered: 403 by the auth endpoint, or the socket's own code.
        reason: Why, as the log has it.
    """

    def __init__(self, channel: str, status: int, reason: str) -> None:
        what = f"Joining {channel}" if channel else "Signing in"
        super().__init__(f"{what} was refused with {status}: {reason}")
        self.channel = channel
        self.status = status
        self.reason = reason


class ConnectionClosed(ClientError):
    """
    The server has closed the connection.

    Attributes:
        code: The close code, as `docs/close-codes.md` lists them.
        reason: What was said with it.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"The server has closed the connection with {code}: {reason}")
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Received:
    """
    One event that a client received.

    Attributes:
        event: Its name; those of the protocol begin with ``pusher:``, as pusher-js has them.
        channel: The channel, `None` for what concerns the connection.
        data: The data, decoded.
        user_id: The member who sent it, if it is a whisper of a presence channel.
    """

    event: str
    channel: str | None
    data: Any
    user_id: str | None = None

    def __str__(self) -> str:
        """Return it as a line of a failed test."""
        where = "" if self.channel is None else f" on {self.channel}"
        return f"{self.event}{where}: {encode(self.data)[:200]}"


class Peer:
    """
    What the hub sees as a `Socket`, and what a client knows. Everything on the site's loop.

    Attributes:
        received: What no test has taken yet, in order.
        members: By presence channel, what is known of each member by user id.
        closed: Code and reason of the close.
    """

    def __init__(self, site: Site, app_id: str | None) -> None:
        self.received: list[Received] = []
        self.members: dict[str, dict[str, Any]] = {}
        self.closed: tuple[int, str] | None = None
        self._site = site
        self._changed = asyncio.Event()
        self._errors: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._answers: dict[str | None, Received] = {}  # To subscriptions, by channel.
        self._session = site.open_session(app_id, self)

    @property
    def app(self) -> Application:
        """The application of the connection."""
        return cast(Application, self._session.app)  # The site opens no session without one.

    @property
    def socket_id(self) -> str:
        """The connection's socket id."""
        return self._session.socket_id

    # What the hub calls

    def send(self, frame: Frame) -> None:
        """Take a frame."""
        if self.closed is None:
            self._take(json.loads(frame.text))
            self._changed.set()

    def close(self, code: int, reason: str) -> None:
        """Take note of the end, as an adapter does when the client has gone."""
        if self.closed is None:
            self.closed = (code, reason)
            self._loop.call_soon(lambda: self._session.closed())  # It may not be there yet.
            self._changed.set()

    def tick(self, now: float) -> None:
        """Nothing waits here."""

    # What a client does

    async def subscribe(self, channel: str, signed: Mapping[str, Any], timeout: float) -> None:
        """Join `channel`. Return when the server has confirmed."""
        self._say("pusher:subscribe", {"channel": channel, **signed})
        await self._wait(lambda: channel in self._answers or bool(self._errors) or None, timeout)
        answer = self._answers.pop(channel, None)
        if answer is None:
            self._raise_errors()
            raise ClientError(f"Joining {channel} was not answered within {timeout:g} s.")
        if answer.event == "pusher:subscription_error":
            self._errors.clear()  # It is told twice.
            raise SubscriptionRefused(channel, answer.data["status"], answer.data["error"])

    async def unsubscribe(self, channel: str) -> None:
        """Leave `channel`. Return when others were told."""
        self._say("pusher:unsubscribe", {"channel": channel})
        self.members.pop(channel, None)
        await self._site.settle()

    async def sign_in(self, signed: Mapping[str, Any], timeout: float) -> None:
        """Sign in, and join the channel of the user's own sockets as pusher-js does."""
        self._say("pusher:signin", signed)
        await self.subscribe(user_channel(json.loads(signed["user_data"])["id"]), {}, timeout)

    async def whisper(self, channel: str, event: str, data: object) -> None:
        """Send a client event. Return when it was relayed."""
        self._say(f"client-{event}", data, channel)
        await self._site.settle()
        self._raise_errors()

    async def receive(self, event: str | None, channel: str | None, timeout: float) -> Received:
        """Wait for the next event that fits and take it."""
        found = await self._wait(lambda: self._next(event, channel), timeout)
        if found is None:
            raise NotReceived(
                f"{_meant(event, channel)} was not received within {timeout:g} s. {self._unread()}"
            )
        self.received.remove(found)
        return found

    async def assert_nothing_received(self, event: str | None, channel: str | None) -> None:
        """Fail if an event that fits was received and not taken."""
        await self._site.settle()
        if self._next(event, channel) is not None:
            raise AssertionError(f"{_meant(event, channel)} was received. {self._unread()}")

    async def wait_closed(self, timeout: float) -> int:
        """Wait for the server to close the connection and return the code."""
        closed = await self._wait(lambda: self.closed, timeout, to_close=True)
        if closed is None:
            raise AssertionError(f"The connection was not closed within {timeout:g} s.")
        return closed[0]

    async def members_of(self, channel: str) -> dict[str, Any]:
        """Return who is in a presence channel."""
        await self._site.settle()
        if channel not in self.members:
            raise ClientError(f"{channel} is no presence channel that this client has joined.")
        return dict(self.members[channel])

    async def leave(self) -> None:
        """Close the connection. Return when others were told."""
        self._session.closed()
        await self._site.settle()

    def raise_if_closed(self) -> None:
        """Raise `ConnectionClosed` if the server has closed."""
        if self.closed is not None:
            raise ConnectionClosed(*self.closed)

    # Private parts

    def _say(self, event: str, data: object, channel: str | None = None) -> None:
        frame = {"event": event, "data": data} | ({} if channel is None else {"channel": channel})
        self.raise_if_closed()
        self._session.receive(encode(frame))
        self.raise_if_closed()
        if event != "pusher:subscribe":  # That has an answer of its own.
            self._raise_errors()

    def _take(self, frame: dict[str, Any]) -> None:
        event, channel = frame["event"], frame.get("channel")
        data = self._decoded(frame.get("data"), channel)
        # As pusher-js calls them.
        event = event.replace("pusher_internal:", "pusher:", 1)
        received = Received(event, channel, data, frame.get("user_id"))
        match event:
            case "pusher:ping":
                self._loop.call_soon(self._session.receive, encode({"event": "pusher:pong"}))
            case "pusher:error":
                self._errors.append(f"{data['code']}: {data['message']}")
            case "pusher:connection_established" | "pusher:signin_success" | "pusher:pong":
                pass
            case "pusher:subscription_succeeded" | "pusher:subscription_error":
                self._answers[channel] = received
                if channel is not None and "presence" in data:
                    self.members[channel] = dict(data["presence"]["hash"])
            case _:
                self._count_members(received)
                self.received.append(received)

    def _decoded(self, data: Any, channel: str | None) -> Any:
        if not isinstance(data, str):
            return data
        if channel is not None and is_encrypted(channel):
            data = unseal(self.app, channel, data) or data
        try:
            return json.loads(data)
        except ValueError:  # A whisper is relayed as its sender wrote it.
            return data

    def _count_members(self, received: Received) -> None:
        members = self.members.get(received.channel or "", {})
        if received.event == "pusher:member_added":
            members[received.data["user_id"]] = received.data["user_info"]
        elif received.event == "pusher:member_removed":
            members.pop(received.data["user_id"], None)

    def _next(self, event: str | None, channel: str | None) -> Received | None:
        for received in self.received:
            # The protocol's own events are for who names them.
            fits = received.event == event or (
                event is None and not received.event.startswith("pusher:")
            )
            if fits and channel in (None, received.channel):
                return received
        return None

    async def _wait(
        self, find: Callable[[], T | None], timeout: float, *, to_close: bool = False
    ) -> T | None:
        """Return what `find` finds, as soon as it does; `None` after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while (found := find()) is None:
                    if not to_close:
                        self.raise_if_closed()
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return None
        return found

    def _raise_errors(self) -> None:
        if self._errors:
            errors, self._errors = self._errors, []
            raise ClientError("; ".join(errors))

    def _unread(self) -> str:
        if not self.received:
            return "Nothing else was."
        lines = [f"  {number}. {received}" for number, received in enumerate(self.received, 1)]
        return "\n".join(["Received, and not taken yet:", *lines])


def _meant(event: str | None, channel: str | None) -> str:
    where = "" if channel is None else f" on {channel}"
    return f"{event or 'An event'}{where}"
