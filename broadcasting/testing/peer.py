"""The socket of a test's client, which lives on the loop of the `Site`."""

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
    """Raised when the server refuses what the client sent. The text is its answer."""


class NotReceived(AssertionError):
    """Raised when an event does not come in time."""


class SubscriptionRefused(ClientError):
    """
    Raised when a client may not subscribe to a channel, or sign in.

    Attributes:
        channel: The channel; empty for a sign-in.
        status: The status of the auth endpoint's answer, or the code of the server's.
        reason: Why, as it is logged.
    """

    def __init__(self, channel: str, status: int, reason: str) -> None:
        what = f"Joining {channel}" if channel else "Signing in"
        super().__init__(f"{what} was refused with {status}: {reason}")
        self.channel = channel
        self.status = status
        self.reason = reason


class ConnectionClosed(ClientError):
    """
    Raised when the server has closed the connection.

    Attributes:
        code: The close code, one of `docs/close-codes.md`.
        reason: The text of the close.
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
        event: Its name. Those of the protocol begin with ``pusher:``, as in pusher-js.
        channel: The channel, `None` if it is about the connection.
        data: The data, decoded.
        user_id: The member who sent it, for a client event of a presence channel.
    """

    event: str
    channel: str | None
    data: Any
    user_id: str | None = None

    def __str__(self) -> str:
        where = "" if self.channel is None else f" on {self.channel}"
        return f"{self.event}{where}: {encode(self.data)[:200]}"


class Peer:
    """
    A `Socket` of the hub, and what its client knows. It is used on the site's loop only.

    Attributes:
        received: Events that no test has taken yet, in order.
        members: By presence channel, the info of each member by user id.
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
        if self.closed is None:
            self._take(json.loads(frame.text))
            self._changed.set()

    def close(self, code: int, reason: str) -> None:
        """Note the close, and report it as an adapter does when the client is gone."""
        if self.closed is None:
            self.closed = (code, reason)
            self._loop.call_soon(lambda: self._session.closed())  # It may not exist yet.
            self._changed.set()

    def tick(self, now: float) -> None:
        """Do nothing: no bytes wait here."""

    # What a client does

    async def subscribe(self, channel: str, signed: Mapping[str, Any], timeout: float) -> None:
        """Subscribe to `channel`. Return when the server has confirmed."""
        self._send("pusher:subscribe", {"channel": channel, **signed})
        await self._wait(lambda: channel in self._answers or bool(self._errors) or None, timeout)
        answer = self._answers.pop(channel, None)
        if answer is None:
            self._raise_errors()
            raise ClientError(f"Joining {channel} was not answered within {timeout:g} s.")
        if answer.event == "pusher:subscription_error":
            self._errors.clear()  # The server sends it twice.
            raise SubscriptionRefused(channel, answer.data["status"], answer.data["error"])

    async def unsubscribe(self, channel: str) -> None:
        """Unsubscribe from `channel`. Return when the other members know."""
        self._send("pusher:unsubscribe", {"channel": channel})
        self.members.pop(channel, None)
        await self._site.settle()

    async def sign_in(self, signed: Mapping[str, Any], timeout: float) -> None:
        """Sign in, and subscribe to the user's own channel as pusher-js does."""
        self._send("pusher:signin", signed)
        await self.subscribe(user_channel(json.loads(signed["user_data"])["id"]), {}, timeout)

    async def whisper(self, channel: str, event: str, data: object) -> None:
        """Send a client event. Return when the others have it."""
        self._send(f"client-{event}", data, channel)
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
        """Return the members of a presence channel."""
        await self._site.settle()
        if channel not in self.members:
            raise ClientError(f"{channel} is not a presence channel that this client is in.")
        return dict(self.members[channel])

    async def leave(self) -> None:
        """Close the connection. Return when the other members know."""
        self._session.closed()
        await self._site.settle()

    def raise_if_closed(self) -> None:
        """Raise `ConnectionClosed` if the server has closed the connection."""
        if self.closed is not None:
            raise ConnectionClosed(*self.closed)

    # Private parts

    def _send(self, event: str, data: object, channel: str | None = None) -> None:
        frame = {"event": event, "data": data} | ({} if channel is None else {"channel": channel})
        self.raise_if_closed()
        self._session.receive(encode(frame))
        self.raise_if_closed()
        if event != "pusher:subscribe":  # It has an answer of its own.
            self._raise_errors()

    def _take(self, frame: dict[str, Any]) -> None:
        event, channel = frame["event"], frame.get("channel")
        data = self._decoded(frame.get("data"), channel)
        # As in pusher-js.
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
        except ValueError:  # A client event is relayed as its sender wrote it.
            return data

    def _count_members(self, received: Received) -> None:
        members = self.members.get(received.channel or "", {})
        if received.event == "pusher:member_added":
            members[received.data["user_id"]] = received.data["user_info"]
        elif received.event == "pusher:member_removed":
            members.pop(received.data["user_id"], None)

    def _next(self, event: str | None, channel: str | None) -> Received | None:
        for received in self.received:
            is_own = received.event.startswith("pusher:")  # The protocol's: must be named.
            fits = received.event == event or (event is None and not is_own)
            if fits and channel in (None, received.channel):
                return received
        return None

    async def _wait(
        self, find: Callable[[], T | None], timeout: float, *, to_close: bool = False
    ) -> T | None:
        """Return what `find` returns, once it is not `None`; `None` after `timeout` seconds."""
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
