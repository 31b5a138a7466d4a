"""
Messages, as they travel on the bus, and frames, as they travel on a socket.

A message is encoded once, however many sockets receive it: the hub makes its `Frame`,
and every socket sends the same text.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from .errors import PusherError
from .names import is_watch_channel


@dataclass(frozen=True, slots=True)
class Message:
    """
    One event on one topic: a channel of one application.

    `data` is the text that the client's callback receives, usually JSON. `socket_id`
    names the one socket that must not receive it, `user_id` the member who sent it, for
    a client event of a presence channel. The bus gives a `version` to a message that it
    publishes in one step with a change of the topic's state: a presence change, or an
    event that a cache channel keeps. Versions grow within a topic.
    """

    topic: str
    event: str
    data: str
    socket_id: str | None = None
    user_id: str | None = None
    version: int | None = None

    @property
    def app_id(self) -> str:
        return self.topic.partition(":")[0]

    @property
    def channel(self) -> str:
        """The channel as clients name it."""
        return self.topic.partition(":")[2]


def topic_of(app_id: str, channel: str) -> str:
    """Return the bus address of a channel, ``app_id:channel``. Neither part holds a colon."""
    return f"{app_id}:{channel}"


def split_topic(topic: str) -> tuple[str, str]:
    """Return the application's id and the channel of a topic."""
    app_id, _, channel = topic.partition(":")
    return app_id, channel


class Frame:
    """
    A text frame: a value with two encodings, made once and shared by all sockets.

    Attributes:
        text: The frame as JSON (Pusher, "Channels protocol", "Events").
        websocket: `text` as a server's WebSocket frame (RFC 6455, section 5.2): final,
            unmasked, uncompressed.
        size: The bytes of `text` in UTF-8.
    """

    __slots__ = ("size", "text", "websocket")

    def __init__(self, text: str) -> None:
        payload = text.encode()
        self.text = text
        self.size = len(payload)
        self.websocket = _text_header(self.size) + payload

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Frame({self.text!r})"

    @classmethod
    def of(cls, message: Message) -> "Frame":
        """Return the frame that carries `message`, with its data as a string."""
        channel = message.channel
        if is_watch_channel(channel):
            return _watchlist_event(message, channel)
        body = {"event": message.event, "channel": channel, "data": message.data}
        if message.user_id is not None:
            body["user_id"] = message.user_id
        return cls(encode(body))


def _text_header(size: int) -> bytes:
    if size < 126:
        return bytes((0x81, size))
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2)
    return b"\x81\x7f" + size.to_bytes(8)


@dataclass(frozen=True, slots=True)
class Cached:
    """
    The last event of a cache channel.

    It is kept for `ttl` more seconds. `version` is that of its `Message`.
    """

    event: str
    data: str
    version: int
    ttl: float


@dataclass(frozen=True, slots=True)
class SubscriptionSnapshot:
    """
    What a new subscriber must be sent before the live messages of its channel.

    Attributes:
        frames: The frames that arrived while the subscription was made, in order, as
            far as they are newer than the rest of the snapshot.
        members: The members of a presence channel, id to information as JSON text.
        cached: The last event of a cache channel, if one is kept.
    """

    frames: tuple[Frame, ...] = ()
    members: Mapping[str, str] | None = None
    cached: Cached | None = None


def encode(value: object) -> str:
    """
    Return `value` as compact JSON.

    Raise `ValueError` for NaN and infinity, and for nesting that exhausts the recursion
    limit. What `decode` has accepted may be nested too deeply for this.
    """
    try:
        return _ENCODER.encode(value)
    except RecursionError:
        raise ValueError("Nested too deeply for JSON") from None


# json.dumps would make an encoder for each call that does not take its defaults.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def decode(text: str | bytes) -> object:
    """
    Return the value that the JSON `text` holds.

    Raise `ValueError` for everything else, also for NaN and infinity, and for nesting
    that exhausts the recursion limit.
    """
    try:
        if isinstance(text, bytes):
            return json.loads(text, parse_constant=_refuse_constant)
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# json.loads, too, would make one for each call.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def connection_established(socket_id: str, activity_timeout: int, **more: object) -> Frame:
    """Return the first frame of every accepted connection, with `more` in its data."""
    data = encode({"socket_id": socket_id, "activity_timeout": activity_timeout, **more})
    return _frame("pusher:connection_established", data)


def subscription_succeeded(
    channel: str, members: Mapping[str, str] | None = None, **more: object
) -> Frame:
    """
    Return the confirmation of a subscription, with the `members` of a presence channel.

    What stands in `more` goes beside the data, where pusher-js does not look.
    """
    data = "{}"
    if members is not None:
        # Joined by hand: the information is JSON text already. Every id has a key in
        # `hash`, from which pusher-js lists the members.
        infos = ",".join(f"{encode(user_id)}:{info}" for user_id, info in members.items())
        ids = encode(list(members))
        data = f'{{"presence":{{"ids":{ids},"hash":{{{infos}}},"count":{len(members)}}}}}'
    return _frame("pusher_internal:subscription_succeeded", data, channel, more)


def cache_miss(channel: str) -> Frame:
    """Return what a new subscriber of a cache channel without an event is sent."""
    return _frame("pusher:cache_miss", "{}", channel)


def cached_event(channel: str, cached: Cached) -> Frame:
    """Return the last event of a cache channel."""
    return Frame(encode({"event": cached.event, "channel": channel, "data": cached.data}))


def signin_success(user_data: str) -> Frame:
    """Return the confirmation of a sign-in, with the text that the client sent."""
    return _frame("pusher:signin_success", encode({"user_data": user_data}))


def watchlist_events(online: Iterable[str], offline: Iterable[str]) -> Frame:
    """Return which watched users are online and which are not. Empty lists are left out."""
    events = [
        {"name": name, "user_ids": list(ids)}
        for name, ids in (("online", online), ("offline", offline))
    ]
    data = encode({"events": [event for event in events if event["user_ids"]]})
    return _frame("pusher_internal:watchlist_events", data)


def _watchlist_event(message: Message, channel: str) -> Frame:
    user_ids = [channel.partition("-")[2]]
    is_online = message.event == MEMBER_ADDED
    return watchlist_events(user_ids if is_online else [], [] if is_online else user_ids)


# Events that the server publishes itself, on the bus like any other.
MEMBER_ADDED = "pusher_internal:member_added"
MEMBER_REMOVED = "pusher_internal:member_removed"
SUBSCRIPTION_COUNT = "pusher_internal:subscription_count"


def member_added_data(user_id: str, info: str) -> str:
    """Return the data of ``member_added``. `info` is JSON text."""
    return f'{{"user_id":{encode(user_id)},"user_info":{info}}}'


def member_removed_data(user_id: str) -> str:
    return encode({"user_id": user_id})


def subscription_count_data(count: int) -> str:
    return encode({"subscription_count": count})


def subscription_error(channel: str, kind: str, error: str, status: int) -> Frame:
    """
    Return the refusal of a subscription, which reaches the channel's error callback.

    Its data is an object, not a string, as in pusher-js and soketi.
    """
    return _frame(
        "pusher:subscription_error", {"type": kind, "error": error, "status": status}, channel
    )


def error(exception: PusherError) -> Frame:
    """Return a ``pusher:error`` frame: the other event whose data is an object."""
    return _frame("pusher:error", {"code": exception.code, "message": exception.message})


def _frame(
    event: str,
    data: object,
    channel: str | None = None,
    more: Mapping[str, object] | None = None,
) -> Frame:
    # ASCII only: an error may quote what the client sent, lone surrogates included.
    body = {"event": event, "data": data} | ({} if channel is None else {"channel": channel})
    body.update(more or {})
    return Frame(json.dumps(body, separators=(",", ":")))


PING: Final = _frame("pusher:ping", "{}")
PONG: Final = _frame("pusher:pong", "{}")
