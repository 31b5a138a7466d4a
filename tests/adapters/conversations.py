"""
What a client says and what it must hear, whatever carries it.

A step is text or bytes that the client sends; or what it hears, an event as a dictionary
whose `data` is as on the wire; or the code with which the server closes; or a function of
the socket id that returns what is sent, for what must be signed.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from broadcasting.protocol.signatures import sign_channel, sign_user
from tests.adapters.wire import APP
from tests.utils import client_event, frame, ping, pong, sign_in, subscribe, unsubscribe

Heard = Mapping[str, Any]
Step = str | bytes | int | Heard | Callable[[str], str]


@dataclass(frozen=True)
class Conversation:
    """
    A scripted exchange.

    Attributes:
        steps: What follows ``pusher:connection_established``, or, where `greeted` is
            false, everything.
        query: The query string of the address.
    """

    name: str
    steps: list[Step]
    query: str = "protocol=7&client=js&version=8.6.0&flash=false"
    key: str = APP.key
    origin: str | None = None
    greeted: bool = True


def join(channel: str, data: str | None = None) -> Callable[[str], str]:
    """Return how a client asks for a guarded channel."""
    return lambda socket_id: subscribe(
        channel, auth=sign_channel(APP, socket_id, channel, data), channel_data=data
    )


def heard(event: str, channel: str, data: str = "{}") -> Heard:
    """Return an event of a channel."""
    return {"event": event, "channel": channel, "data": data}


def succeeded(channel: str, data: str = "{}") -> Heard:
    """Return the confirmation of a subscription."""
    return heard("pusher_internal:subscription_succeeded", channel, data)


def error(message: str, code: int | None = None) -> Heard:
    """Return a ``pusher:error``."""
    return {"event": "pusher:error", "data": {"code": code, "message": message}}


PONG = {"event": "pusher:pong", "data": "{}"}
ZOE = '{"id": "u-1", "user_info": {"name": "Zoë"}}'

CONVERSATIONS = [
    Conversation("no parameter", [ping(), PONG, ping(), PONG], query=""),
    Conversation("a page of this site", [ping(), PONG], origin="http://127.0.0.1:1"),
    Conversation(
        "subscribe, leave and come back",
        [
            frame("pusher:subscribe", json.dumps({"channel": "whik"})),
            succeeded("whik"),
            subscribe("whik"),
            error("Existing subscription to channel whik"),
            unsubscribe("whik"),
            unsubscribe("whik"),
            error("No current subscription to channel whik, or subscription in progress"),
            subscribe("whik"),
            succeeded("whik"),
        ],
    ),
    Conversation(
        "a private channel",
        [
            join("private-cache-conversation"),
            succeeded("private-cache-conversation"),
            heard("pusher:cache_miss", "private-cache-conversation"),
        ],
    ),
    Conversation(
        "alone in a presence channel",
        [
            join("presence-conversation", '{"user_id": 10, "user_info": {"name": "Zoë"}}'),
            succeeded(
                "presence-conversation",
                '{"presence":{"ids":["10"],"hash":{"10":{"name":"Zoë"}},"count":1}}',
            ),
            client_event("presence-conversation", "client-a", {}),
            ping(),
            PONG,
        ],
    ),
    Conversation(
        "a user signs in",
        [
            sign_in('{"id":"1"}', "key:" + "0" * 64),
            error("Invalid key in subscription auth data", 4009),
            lambda socket_id: sign_in(ZOE, sign_user(APP, socket_id, ZOE)),
            {
                "event": "pusher:signin_success",
                "data": json.dumps({"user_data": ZOE}, separators=(",", ":"), ensure_ascii=False),
            },
            subscribe("#server-to-user-u-1", auth=""),
            succeeded("#server-to-user-u-1"),
        ],
    ),
    Conversation(
        "nonsense",
        [
            "",
            error("Received invalid JSON"),
            "[" * 10_000,
            error("Received invalid JSON"),
            '{"event":"\\ud800"}',
            error("Unsupported event received on socket: '\ud800'"),
            b"\x00\xff",
            pong(),
            ping(),
            PONG,
        ],
    ),
    Conversation("a frame that is too large", [json.dumps("x" * 20_000), 4100]),
    Conversation("an unknown key", [ping(), 4001], key="nobody", greeted=False),
    Conversation("a version of the future", [4007], query="protocol=8", greeted=False),
    Conversation("a version that is no number", [4006], query="protocol=x", greeted=False),
    Conversation("an empty version", [4006], query="protocol=", greeted=False),
    Conversation("a foreign page", [4009], origin="https://evil.example", greeted=False),
    Conversation(
        "an old client is told before the close",
        [error("Origin not allowed", 4009), 4009],
        query="protocol=5",
        origin="https://evil.example",
        greeted=False,
    ),
]
