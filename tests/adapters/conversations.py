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
    Conversation(
        "a client without any parameter", [Say(ping()), PONG, Say(ping()), PONG], query=""
    ),
    Conversation("a page of this site", [Say(ping()), PONG], origin="http://127.0.0.1:1"),
    Conversation(
        "subscribe, leave and come back",
        [
            Say(frame("pusher:subscribe", json.dumps({"channel": "whik"}))),
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
        "a private channel",
        [
            Join("private-cache-conversation"),
            succeeded("private-cache-conversation"),
            heard("pusher:cache_miss", "private-cache-conversation", "{}"),
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
            Say(ping()),
            PONG,
        ],
    ),
    Conversation(
        "a user signs in",
        [
            Say(sign_in('{"id":"1"}', "key:" + "0" * 64)),
            error("Invalid key in subscription auth data", 4009),
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
        ],
    ),
    Conversation(
        "nonsense",
        [
            Say(""),
            error("Received invalid JSON"),
            Say("[" * 10_000),
            error("Received invalid JSON"),
            Say('{"event":"\\ud800"}'),
            error("Unsupported event received on socket: '\ud800'"),
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
