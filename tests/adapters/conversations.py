"""
What a client says and what it must hear, whatever carries it.

A conversation is a list of steps: `Say` a text, `Hear` a frame, or see the socket
`Close`. The same ones are held with a session without I/O and with real servers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.utils import frame, ping, pong, subscribe, unsubscribe


@dataclass(frozen=True)
class Say:
    """The client sends `text`, or bytes where the protocol knows only text."""

    text: str | bytes


@dataclass(frozen=True)
class Hear:
    """The client receives exactly this frame; its `data` stays as it is on the wire."""

    frame: Mapping[str, Any]


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
    steps: list[Say | Hear | Close]
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


def succeeded(channel: str) -> Hear:
    """Return the confirmation of a subscription as it is heard."""
    return Hear(
        {"event": "pusher_internal:subscription_succeeded", "data": "{}", "channel": channel}
    )


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
    Conversation("a foreign page", [Close(4009)], origin="https://evil.example", greeted=False),
    Conversation(
        "an old client is told before the close",
        [error("Origin not allowed", 4009), Close(4009)],
        query="protocol=5",
        origin="https://evil.example",
        greeted=False,
    ),
]
