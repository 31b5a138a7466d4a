"""
What a client says and what it must hear, whatever carries it.

A conversation is a list of steps: `Say` a text, `Hear` a frame, or see the socket
`Close`. The same ones are held with a session without I/O and with real servers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broadcasting.applications import Application
from broadcasting.protocol.signatures import sign_channel, sign_user
from tests.utils import client_event, frame, ping, pong, sign_in, subscribe, unsubscribe


@dataclass(frozen=True)
class Say:
    """The client sends `text`, or bytes where the protocol knows only text."""

    text: str | bytes


@dataclass(frozen=True)
class Join:
    """The client asks for a guarded channel, with a signature of the application's."""

    channel: str
    channel_data: str | None = None

    def text(self, app: Application, socket_id: str) -> str:
        """Return what is sent."""
        auth = sign_channel(app, socket_id, self.channel, self.channel_data)
        return subscribe(self.channel, auth=auth, channel_data=self.channel_data)


@dataclass(frozen=True)
class SignIn:
    """The client signs in, with a signature of the application's."""

    user_data: str

    def text(self, app: Application, socket_id: str) -> str:
        """Return what is sent."""
        return sign_in(self.user_data, sign_user(app, socket_id, self.user_data))


@dataclass(frozen=True)
class Hear:
    """The client receives exactly this frame; its `data` stays as it is on the wire."""

    frame: Mapping[str, Any]


def check(heard: str, expected: Hear) -> None:
    """Compare a frame with what the script says."""
    assert json.loads(heard) == expected.frame


@dataclass(frozen=True)
class Close:
    """The server closes with `code`."""

    code: int


@dataclass(frozen=True)
class Conversation:
    """
    A scripted exchange.

    Attributes:
        steps: What follows ``pusher:connection_established``, or, where `greeted` is
            false, everything.
        query: The query string of the address.
        key: The application key; `None` stands for the right one.
    """

    name: str
    steps: list[Say | Join | SignIn | Hear | Close]
    query: str = "protocol=7&client=js&version=8.6.0&flash=false"
    key: str | None = None
    origin: str | None = None
    greeted: bool = True


def error(message: str, code: int | None = None) -> Hear:
    """Return a ``pusher:error`` as it is heard."""
    return Hear({"event": "pusher:error", "data": {"code": code, "message": message}})


def refused(channel: str, message: str) -> list[Hear]:
    """Return the two frames of a refused subscription as they are heard."""
    data = {"type": "AuthError", "error": message, "status": 401}
    frame = {"event": "pusher:subscription_error", "data": data, "channel": channel}
    return [Hear(frame), error(message, 4009)]


PONG = Hear({"event": "pusher:pong", "data": "{}"})


def succeeded(channel: str, data: str = "{}") -> Hear:
    """Return the confirmation of a subscription as it is heard."""
    return Hear(
        {"event": "pusher_internal:subscription_succeeded", "data": data, "channel": channel}
    )


def heard(event: str, channel: str, data: str, **more: str) -> Hear:
    """Return any other event of a channel."""
    return Hear({"event": event, "channel": channel, "data": data, **more})


CONVERSATIONS = [
    Conversation("a client pings", [Say(ping()), PONG, Say(ping()), PONG]),
    Conversation("a client without any parameter", [Say(ping()), PONG], query=""),
    Conversation("a page of this site", [Say(ping()), PONG], origin="http://127.0.0.1:1"),
    Conversation(
        "subscribe, leave and come back",
        [
            Say(subscribe("whik")),
            succeeded("whik"),
            Say(subscribe("whik")),
            error("Existing subscription to channel whik"),
            Say(unsubscribe("whik")),
            Say(unsubscribe("whik")),
            error("No current subscription to channel whik, or subscription in progress"),
            Say(subscribe("whik")),
            succeeded("whik"),
        ],
    ),
    Conversation(
        "data as JSON text",
        [
            Say(frame("pusher:subscribe", json.dumps({"channel": "whik"}))),
            succeeded("whik"),
        ],
    ),
    Conversation(
        "without an authorization guarded channels stay shut and the connection lives",
        [
            Say(subscribe("private-a", auth="x:y")),
            *refused("private-a", "Invalid format: auth must have the format key:signature"),
            Say(ping()),
            PONG,
        ],
    ),
    Conversation(
        "every kind of private channel",
        [
            Join("private-conversation"),
            succeeded("private-conversation"),
            Join("private-encrypted-conversation"),
            succeeded("private-encrypted-conversation"),
            Join("private-cache-conversation"),
            succeeded("private-cache-conversation"),
            heard("pusher:cache_miss", "private-cache-conversation", "{}"),
            Join("private-conversation"),
            error("Existing subscription to channel private-conversation"),
            Say(unsubscribe("private-conversation")),
            Join("private-conversation"),
            succeeded("private-conversation"),
        ],
    ),
    Conversation(
        "a signature is for one channel",
        [
            Say(subscribe("private-a", auth="key:" + "0" * 64)),
            *refused("private-a", "Invalid key in subscription auth data"),
            Join("presence-conversation"),
            *refused(
                "presence-conversation",
                "A presence channel needs channel_data, or a signed-in user",
            ),
            Join("presence-conversation", '{"user_id":true}'),
            *refused(
                "presence-conversation", "channel_data must have a user_id of 1 to 128 characters"
            ),
        ],
    ),
    Conversation(
        "alone in a presence channel",
        [
            Join("presence-conversation", '{"user_id": 10, "user_info": {"name": "Zoë"}}'),
            succeeded(
                "presence-conversation",
                '{"presence":{"ids":["10"],"hash":{"10":{"name":"Zoë"}},"count":1}}',
            ),
            Say(client_event("presence-conversation", "client-a", {})),
            Say(unsubscribe("presence-conversation")),
            Say(client_event("presence-conversation", "client-a", {})),
            error(
                "Cannot broadcast client event (connection not subscribed to channel "
                "presence-conversation)"
            ),
        ],
    ),
    Conversation(
        "a user signs in",
        [
            Say(sign_in('{"id":"1"}', "key:" + "0" * 64)),
            error("Invalid key in subscription auth data", 4009),
            Say(subscribe("#server-to-user-u-1", auth="")),
            *refused(
                "#server-to-user-u-1",
                "Only the user who signed in may join #server-to-user-u-1",
            ),
            SignIn('{"id": "u-1", "user_info": {"name": "Zoë"}}'),
            Hear(
                {
                    "event": "pusher:signin_success",
                    "data": json.dumps(
                        {"user_data": '{"id": "u-1", "user_info": {"name": "Zoë"}}'},
                        separators=(",", ":"),
                        ensure_ascii=False,
                    ),
                }
            ),
            Say(subscribe("#server-to-user-u-1", auth="")),
            succeeded("#server-to-user-u-1"),
            SignIn('{"id":"u-2"}'),
            error("Another user has signed in on this connection", 4009),
            Join("presence-signed-in"),
            succeeded(
                "presence-signed-in",
                '{"presence":{"ids":["u-1"],"hash":{"u-1":{"name":"Zoë"}},"count":1}}',
            ),
        ],
    ),
    Conversation(
        "client events that go nowhere",
        [
            Say(client_event("whik", "client-a", {})),
            error("Client event rejected - only supported on private and presence channels"),
            Say(client_event("private-a", "client-a", {})),
            error("Cannot broadcast client event (connection not subscribed to channel private-a)"),
        ],
    ),
    Conversation(
        "nonsense of every kind",
        [
            Say(""),
            error("Received invalid JSON"),
            Say("{"),
            error("Received invalid JSON"),
            Say("[" * 10_000),
            error("Received invalid JSON"),
            Say('{"event":NaN}'),
            error("Received invalid JSON"),
            Say("[]"),
            error("Received JSON that is not an object"),
            Say('{"event":7}'),
            error("Received a frame without an event name"),
            Say('{"event":"\\ud800"}'),
            Hear(
                {
                    "event": "pusher:error",
                    "data": {
                        "code": None,
                        "message": "Unsupported event received on socket: '\ud800'",
                    },
                }
            ),
            Say('{"event":"pusher:subscribe"}'),
            error("Received a frame whose data is not an object"),
            Say('{"event":"pusher:subscribe","data":{"channel":["whik"]}}'),
            error("Received a frame without a channel"),
            Say(subscribe("#server-to-user-1")),
            *refused("#server-to-user-1", "Only the user who signed in may join #server-to-user-1"),
            SignIn("{"),
            error("user_data is not a JSON object", 4009),
            Say(frame("pusher:signin", "{")),
            error("Received invalid JSON"),
            Say(frame("other-x", {}, "whik")),
            error("Unsupported event received on socket: 'other-x'"),
            Say(b"\x00\xff"),
            Say(pong()),
            Say(ping()),
            PONG,
        ],
    ),
    Conversation("a frame that is too large", [Say(json.dumps("x" * 20_000)), Close(4100)]),
    Conversation("an unknown key", [Say(ping()), Close(4001)], key="nobody", greeted=False),
    Conversation("a version of the future", [Close(4007)], query="protocol=8", greeted=False),
    Conversation("a version that is no number", [Close(4006)], query="protocol=x", greeted=False),
    Conversation("an empty version", [Close(4006)], query="protocol=", greeted=False),
    Conversation("a foreign page", [Close(4009)], origin="https://evil.example", greeted=False),
    Conversation(
        "an old client is told before the close",
        [error("Origin not allowed", 4009), Close(4009)],
        query="protocol=5",
        origin="https://evil.example",
        greeted=False,
    ),
]
