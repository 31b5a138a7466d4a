"""
A client model facing a `Connection` over a link that loses nothing.

The client keeps books as pusher-js does: it wants the greeting or an error first, answers
pings, and forgets a channel when it unsubscribes. The test plays the hub: it answers the
actions.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from broadcasting.protocol.actions import Action, Subscribe, Unsubscribe
from broadcasting.protocol.connection import Connection
from broadcasting.protocol.errors import PusherError
from broadcasting.protocol.messages import Frame, SubscriptionSnapshot
from broadcasting.protocol.signatures import sign_channel, sign_user
from tests.utils import FakeClock, decode, pong, sign_in, subscribe, unsubscribe

SOCKET_ID = "123.456"


@dataclass
class FakePolicy:
    """The application that a connection asks; origins are compared as they are."""

    key: str = "app-key"
    secrets: tuple[str, ...] = ("app-secret",)
    enabled: bool = True
    force_tls: bool = False
    activity_timeout: int = 30
    authorization_timeout: int | None = None
    client_events: bool = True
    watchlist: bool = False
    max_channels: int = 100
    max_channel_name_length: int = 200
    max_subscription_rate: int = 20
    max_client_event_rate: int = 10
    max_frame_size: int = 16_384
    max_event_size: int = 10_240
    max_user_info_size: int = 1_024
    origins: tuple[str | None, ...] = (None, "http://testserver")

    def accepts_origin(self, origin: str | None) -> bool:
        return origin in self.origins


@dataclass
class Client:
    """
    What a browser knows.

    Attributes:
        socket_id: As greeted, `None` before.
        subscribed: Channels that are confirmed.
        pending: Channels that are asked for.
        refusals: The data of each ``pusher:subscription_error``, by channel.
        errors: The data of each ``pusher:error``.
        outbox: Texts that the client has to send.
    """

    socket_id: str | None = None
    activity_timeout: int | None = None
    subscribed: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)
    refusals: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)
    outbox: list[str] = field(default_factory=list)

    def receive(self, text: str) -> None:
        """Take a frame, and find fault with what pusher-js would."""
        event = decode(text)
        name, data, channel = event["event"], event["data"], event.get("channel", "")
        assert self.socket_id or name in {"pusher:connection_established", "pusher:error"}
        match name:
            case "pusher:connection_established":
                assert self.socket_id is None, "greeted twice"
                self.socket_id, self.activity_timeout = data["socket_id"], data["activity_timeout"]
            case "pusher:ping":
                self.outbox.append(pong())
            case "pusher:error":
                self.errors.append(data)
            case "pusher:subscription_error":
                self.pending.discard(channel)
                self.refusals.setdefault(channel, []).append(data)
            case "pusher_internal:subscription_succeeded":
                self.pending.remove(channel)  # Confirmed once, and only if it was asked for.
                self.subscribed.add(channel)


class Pair:
    """A client, a connection, the link between them, and the clock they live by."""

    def __init__(
        self,
        policy: FakePolicy | None = None,
        *,
        version: str | None = "7",
        origin: str | None = None,
        known: bool = True,
        is_secure: bool = True,
        is_full: bool = False,
    ) -> None:
        self.policy = policy or FakePolicy()
        self.clock = FakeClock()
        self.client = Client()
        self.connection = Connection(self.policy if known else None, SOCKET_ID, version)
        self.actions: list[Action] = []
        self.texts: list[str] = []
        self.connection.open(origin, self.clock(), is_secure=is_secure, is_full=is_full)
        self.carry()

    @property
    def close_code(self) -> int | None:
        """The code the client would see, `None` while the socket is open."""
        return self.connection.close_code

    def carry(self) -> None:
        """Carry frames both ways until nobody has anything to say."""
        while True:
            for frame in self.connection.frames_to_send():
                self.texts.append(frame.text)
                self.client.receive(frame.text)
            if not self.client.outbox:
                return
            for text in self._take_outbox():
                self.actions += self.connection.receive(text, self.clock())

    def say(self, text: str) -> list[dict[str, Any]]:
        """Send `text` past the client's books; return, decoded, what is answered."""
        return [json.loads(answer) for answer in self.say_raw(text)]

    def say_raw(self, text: str) -> list[str]:
        """Send `text` past the client's books; return what is answered, as it is."""
        self.actions += self.connection.receive(text, self.clock())
        texts = [frame.text for frame in self.connection.frames_to_send()]
        self.texts += texts
        return texts

    def pass_time(self, seconds: float) -> None:
        """Let `seconds` pass, tick the connection and carry what follows."""
        self.connection.tick(self.clock.advance(seconds))
        self.carry()

    def join(self, channel: str) -> Subscribe:
        """Let the client ask for `channel`; return the action, unanswered."""
        self.client.pending.add(channel)
        self.client.outbox.append(subscribe(channel, auth=""))
        self.carry()
        action = self.actions.pop()
        assert isinstance(action, Subscribe)
        assert action.channel == channel
        return action

    def leave(self, channel: str) -> None:
        """Let the client leave `channel`, and expect the hub to be told."""
        self.client.subscribed.discard(channel)
        self.client.pending.discard(channel)
        self.client.outbox.append(unsubscribe(channel))
        self.carry()
        assert self.actions.pop() == Unsubscribe(channel)

    def ask(self, channel: str, channel_data: str | None = None) -> list[dict[str, Any]]:
        """Ask for a guarded `channel` with a valid authorization; return what is answered."""
        auth = sign_channel(self.policy, SOCKET_ID, channel, channel_data)
        return self.say(subscribe(channel, auth=auth, channel_data=channel_data))

    def enter(self, channel: str, channel_data: str | None = None) -> Subscribe:
        """Let the client be in a guarded `channel`; return the action that was confirmed."""
        assert self.ask(channel, channel_data) == []
        action = self.actions.pop()
        assert isinstance(action, Subscribe)
        members = None if action.member is None else {action.member.user_id: action.member.info}
        assert self.connection.subscribed(action.attempt, SubscriptionSnapshot(members=members))
        self.texts += [frame.text for frame in self.connection.frames_to_send()]
        return action

    def sign_in(self, user_data: str) -> list[dict[str, Any]]:
        """Sign in with a valid signature; return what is answered."""
        return self.say(sign_in(user_data, sign_user(self.policy, SOCKET_ID, user_data)))

    def confirm(self, action: Subscribe, *frames: Frame) -> bool:
        """Answer as a hub that has joined, with `frames` having arrived meanwhile."""
        confirmed = self.connection.subscribed(action.attempt, SubscriptionSnapshot(frames))
        self.carry()
        return confirmed

    def refuse(self, action: Subscribe, error: PusherError) -> None:
        self.connection.refuse(error, action.attempt)
        self.carry()

    def _take_outbox(self) -> list[str]:
        outbox, self.client.outbox = self.client.outbox, []
        return outbox
