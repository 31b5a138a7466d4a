"""
Messages in Laravel's wire format, so that foreign processes can take part.

``PUBLISH <prefix><channel> {"event": …, "data": …, "socket": …}``

Channels of the first application have their own names, channels of another one are called
``<prefix><app id>:<channel>``. A Pusher name has no colon, so these differ. ``data`` is either
a string, which is the final text, or any other JSON value. An object that this library has
written stays the text that it is; any other value is encoded by the reader. There may be two
more keys: ``user_id``, who sent a client event, and ``version``, the place of a message among
the changes of its topic. Further keys are ignored.

An event that a foreign process publishes on a cache channel is delivered, but not kept.
"""

import json
import re

from ...protocol.messages import (
    MEMBER_ADDED,
    MEMBER_REMOVED,
    SUBSCRIPTION_COUNT,
    Message,
    decode,
    encode,
)
from ...protocol.names import is_event_name, is_socket_id, is_utf8

# Events that servers send each other over the bus.
_OWN_EVENTS = {MEMBER_ADDED, MEMBER_REMOVED, SUBSCRIPTION_COUNT}


def encode_wire(message: Message, *, verbatim: bool) -> str:
    """
    Return a message as it is published in Redis.

    Verbatim data is a string there, and arrives as the same text. Otherwise a JSON object is
    an object there, as Laravel writes it and its readers expect.
    """
    data = message.data
    value = encode(data) if verbatim or not data.startswith("{") else data
    more = "" if message.user_id is None else f',"user_id":{encode(message.user_id)}'
    if message.version is not None:
        more += f',"version":{message.version}'
    event, socket = encode(message.event), encode(message.socket_id)
    return f'{{"event":{event},"data":{value},"socket":{socket}{more}}}'


def decode_wire(topic: str, payload: bytes) -> Message:
    """Return the message in `payload`. Raise `ValueError` that says what is wrong with it."""
    written = payload.decode()
    value = decode(written)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    event, data, socket_id = value.get("event"), value.get("data"), value.get("socket")
    if not (is_event_name(event) or (isinstance(event, str) and event in _OWN_EVENTS)):
        raise ValueError("its event is not a valid event name")
    if socket_id is not None and not is_socket_id(socket_id):
        raise ValueError("its socket is not a socket id")
    text = data if isinstance(data, str) else _data_in(written) or encode(data)
    if not is_utf8(text):
        raise ValueError("its data cannot be encoded as UTF-8")
    user_id, version = value.get("user_id"), value.get("version")
    if user_id is not None and not (isinstance(user_id, str) and is_utf8(user_id)):
        raise ValueError("its user_id is not a text")
    if version is not None and type(version) is not int:
        raise ValueError("its version is not an integer")
    return Message(topic, event, text, socket_id, user_id, version)


# As `encode_wire` begins a message whose data is an object.
_OBJECT = re.compile(r'\{"event":"[^"\\]*","data":(?=\{)')
_DECODER = json.JSONDecoder()


def _data_in(written: str) -> str | None:
    """
    Return the text of the data in `written`, if `encode_wire` wrote it as an object.

    Other writers escape what needs no escape, as PHP does with slashes. Clients do not
    receive that.
    """
    match = _OBJECT.match(written)
    if match is None or "\\u" in written or "\\/" in written:
        return None
    return written[match.end() : _DECODER.raw_decode(written, match.end())[1]]
