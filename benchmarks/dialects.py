"""What a client of each kind of server says, from the handshake to its first message."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from broadcasting.protocol.signatures import sign_channel

CHANNEL = "bench"


@dataclass(frozen=True, slots=True)
class Keys:
    """The application that is spoken for: `broadcasting.protocol.signatures.Credentials`."""

    app_id: str
    key: str
    secret: str

    @property
    def secrets(self) -> tuple[str, ...]:
        """What signs."""
        return (self.secret,)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent to a server, and whether the conversation's aim is reached."""

    text: str | None = None
    is_ready: bool = False


NOTHING = Reply()


class Dialect(ABC):
    """
    One kind of client.

    Attributes:
        path: Where it connects.
        hello: What it says without being spoken to, if anything.
    """

    path: str
    hello: str | None = None

    @abstractmethod
    def answer(self, payload: bytes, number: int) -> Reply:
        """Answer a text that is no published message; `number` is the client's own."""


class Pusher(Dialect):
    """
    Our own server's, and soketi's.

    Args:
        keys: The application.
        channel: Returns a client's channel by its number; `None` subscribes to nothing.
        member: Returns a client's ``channel_data`` on a presence channel.
    """

    def __init__(
        self,
        keys: Keys,
        channel: Callable[[int], str] | None,
        member: Callable[[int], str] | None = None,
    ) -> None:
        self.path = f"/app/{keys.key}?protocol=7&client=bench&version=1.0.0&flash=false"
        self._keys = keys
        self._channel = channel
        self._member = member

    def answer(self, payload: bytes, number: int) -> Reply:
        """Subscribe when the connection is established; answer pings."""
        if b"subscription_succeeded" in payload:
            return Reply(is_ready=True)
        if b'"pusher:ping"' in payload:
            return Reply('{"event":"pusher:pong","data":{}}')
        if b'"pusher:connection_established"' in payload:
            if self._channel is None:
                return Reply(is_ready=True)
            return Reply(self._subscribe(payload, self._channel(number), number))
        if b'error"' in payload:
            raise RuntimeError(f"The server refuses: {payload.decode(errors='replace')}")
        return NOTHING

    def _subscribe(self, established: bytes, channel: str, number: int) -> str:
        data = {"channel": channel, "auth": ""}
        if channel.startswith(("private-", "presence-")):
            socket_id = json.loads(json.loads(established)["data"])["socket_id"]
            member = self._member(number) if self._member is not None else None
            data["auth"] = sign_channel(self._keys, socket_id, channel, member)
            if member is not None:
                data["channel_data"] = member
        return json.dumps({"event": "pusher:subscribe", "data": data})


class Plain(Dialect):
    """
    A consumer that somebody wrote in an afternoon, as `benchmarks.site.consumers` has it.

    Args:
        joins: Whether it wants to receive; a publisher does not.
    """

    path = "/stock/"

    def __init__(self, *, joins: bool) -> None:
        self.hello = '{"join":"bench"}' if joins else '{"join":null}'

    def answer(self, payload: bytes, number: int) -> Reply:
        """Wait for the confirmation."""
        return Reply(is_ready=b"joined" in payload)


class EngineIO(Dialect):
    """
    socket.io over a WebSocket from the beginning, as `benchmarks/peers` serves it.

    Args:
        joins: Whether it wants to receive; a publisher does not.
    """

    path = "/socket.io/?EIO=4&transport=websocket"

    def __init__(self, *, joins: bool) -> None:
        self._joins = joins

    def answer(self, payload: bytes, number: int) -> Reply:
        """Connect to the namespace, join the room, answer pings."""
        if payload.startswith(b"0{"):
            return Reply("40")
        if payload.startswith(b"40"):
            return Reply('42["join","bench"]') if self._joins else Reply(is_ready=True)
        if payload == b"2":
            return Reply("3")
        return Reply(is_ready=payload.startswith(b'42["joined"'))
