"""
Messages, as they travel on the bus, and frames, as they travel on a socket.

A message is encoded once however many sockets receive it: its `Frame` is made
when the hub first sees it, and every socket sends the same text.
"""

import json
from dataclasses import dataclass
from typing import Final

from .errors import PusherError


@dataclass(frozen=True, slots=True)
class Message:
    """
    One event on one channel of one application.

    `data` is the text that the client's callback receives, usually JSON; it is
    carried byte for byte. `socket_id` names the one socket that must not get it.
    """

    app_id: str
    channel: str
    event: str
    data: str
    socket_id: str | None = None

    @property
    def topic(self) -> str:
        """The message's address on the bus. A Pusher name holds no colon."""
        return topic(self.app_id, self.channel)


def topic(app_id: str, channel: str) -> str:
    """Return the bus address of a channel: ``app_id:channel``."""
    return f"{app_id}:{channel}"


class Frame:
    """
    A text frame, encoded once and shared by every socket that sends it.

    Attributes:
        text: The frame as JSON (Pusher, "Channels protocol", "Events").
        size: The bytes that `text` takes on the wire.
    """

    __slots__ = ("size", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.size = len(text.encode())

    @classmethod
    def of(cls, message: Message) -> "Frame":
        """Return the frame that carries `message`. Its data stays a string in it."""
        return cls(
            encode({"event": message.event, "channel": message.channel, "data": message.data})
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    What a new subscriber must hear before its channel's live messages.

    `frames` holds what arrived while the subscription was being made, in order.
    """

    frames: tuple[Frame, ...] = ()


def encode(value: object) -> str:
    """Return `value` as compact JSON. Raise `ValueError` for NaN and infinity."""
    return _ENCODER.encode(value)


# json.dumps would make an encoder for each call that does not take its defaults.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def decode(text: str | bytes) -> object:
    """
    Return the value that the JSON `text` holds.

    Raise `ValueError` for whatever is not JSON: NaN and infinity, and nesting that
    exhausts Python's recursion limit, for which `json` raises `RecursionError`.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def connection_established(socket_id: str, activity_timeout: int) -> Frame:
    """Return the first frame of every accepted connection."""
    data = encode({"socket_id": socket_id, "activity_timeout": activity_timeout})
    return _frame("pusher:connection_established", data)


def subscription_succeeded(channel: str) -> Frame:
    """Return the confirmation of a subscription."""
    return _frame("pusher_internal:subscription_succeeded", "{}", channel)


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


def _frame(event: str, data: object, channel: str | None = None) -> Frame:
    # ASCII only: an error may quote what the client sent, lone surrogates included.
    body = {"event": event, "data": data} | ({} if channel is None else {"channel": channel})
    return Frame(json.dumps(body, separators=(",", ":")))


PING: Final = _frame("pusher:ping", "{}")
PONG: Final = _frame("pusher:pong", "{}")
