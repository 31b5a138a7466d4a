"""
Messages in Laravel's wire format, so that foreign processes can take part.

``PUBLISH <prefix><channel> {"event": …, "data": …, "socket": …}``

The first application's channels bear their own names; another's are
``<prefix><app id>:<channel>``. A Pusher name holds no colon, so the two cannot meet.
``data`` is either a string, which is the final text, or any other JSON value. A JSON
object that a process of ours has written stays the text that it is; any other value is
encoded by the reader. Two more keys stand there where they have something to say:
``user_id``, who sent a client event, and ``version``, the place of a message among the
changes of its topic. Further keys are ignored.

The last event of a cache channel is kept when a server of ours sends it. What a foreign
process publishes on one is delivered, but not kept: Redis remembers no PUBLISH.
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

# Events of the server itself that it sends over the bus.
_OWN_EVENTS = {MEMBER_ADDED, MEMBER_REMOVED, SUBSCRIPTION_COUNT}


def encode_wire(message: Message, *, verbatim: bool) -> str:
    """
    Return one message as it stands in Redis.

    Data that must arrive byte for byte goes as a string; otherwise the JSON object in
    it goes as an object, which is what Laravel writes and its readers expect.
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
    Return the text of the object in `written`, which is JSON, if it was written so here.

    Other writers escape what needs no escape, such as slashes in PHP; that is not passed
    on to clients.
    """
    match = _OBJECT.match(written)
    if match is None or "\\u" in written or "\\/" in written:
        return None
    return written[match.end() : _DECODER.raw_decode(written, match.end())[1]]
