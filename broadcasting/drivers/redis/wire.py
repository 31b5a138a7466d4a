"""
Messages in Laravel's wire format, so that foreign processes can take part.

``PUBLISH <prefix><channel> {"event": …, "data": …, "socket": …}``

The first application's channels bear their own names; another's are
``<prefix><app id>:<channel>``. A Pusher name holds no colon, so the two cannot meet.
``data`` is either a string, which is the final text, or any other JSON value, which
the reader encodes. Two more keys stand there where they have something to say:
``user_id``, who sent a client event, and ``version``, the place of a message among the
changes of its topic. Further keys are ignored.

The last event of a cache channel is kept when a server of ours sends it. What a foreign
process publishes on one is delivered, but not kept: Redis remembers no PUBLISH.
"""

from ...protocol.messages import (
    MEMBER_ADDED,
    MEMBER_REMOVED,
    SUBSCRIPTION_COUNT,
    Message,
    decode,
    encode,
)
from ...protocol.names import is_event_name, is_socket_id, is_utf8
from ..base import CACHE_TTL, is_kept
from .names import Names
from .scripts import NEXT_VERSION, Script

# Keys: the counter of versions, the kept event. Arguments: the Redis channel, the message
# without its closing brace, the seconds that it is kept, the command that publishes.
KEEP_AND_PUBLISH = Script(
    NEXT_VERSION
    + """
local message = ARGV[2] .. ',"version":' .. next_version(KEYS[1]) .. '}'
redis.call('SET', KEYS[2], message, 'EX', ARGV[3])
return redis.call(ARGV[4], ARGV[1], message)
"""
)
# Key: the kept event.
CACHED = Script("return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}")

# Events of the server itself that it sends over the bus.
_OWN_EVENTS = {MEMBER_ADDED, MEMBER_REMOVED, SUBSCRIPTION_COUNT}


def publish_command(
    message: Message, payload: str, names: Names, known: set[str]
) -> list[str | int]:
    """
    Return the command that publishes `message`, and keeps it where that is due.

    `known` are the scripts that Redis has seen, this one included then.
    """
    channel = names.of(message.topic)
    if not is_kept(message):
        return [names.publish, channel, payload]
    keys = [names.version, names.cache_of(message.topic)]
    arguments: list[str | int] = [channel, payload[:-1], int(CACHE_TTL), names.publish]
    command = KEEP_AND_PUBLISH.command(keys, arguments, known)
    known.add(KEEP_AND_PUBLISH.sha)
    return command


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
    value = decode(payload)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    event, data, socket_id = value.get("event"), value.get("data"), value.get("socket")
    if not (is_event_name(event) or (isinstance(event, str) and event in _OWN_EVENTS)):
        raise ValueError("its event is not a valid event name")
    if socket_id is not None and not is_socket_id(socket_id):
        raise ValueError("its socket is not a socket id")
    text = data if isinstance(data, str) else encode(data)
    if not is_utf8(text):
        raise ValueError("its data cannot be encoded as UTF-8")
    user_id, version = value.get("user_id"), value.get("version")
    if user_id is not None and not (isinstance(user_id, str) and is_utf8(user_id)):
        raise ValueError("its user_id is not a text")
    if version is not None and type(version) is not int:
        raise ValueError("its version is not an integer")
    return Message(topic, event, text, socket_id, user_id, version)
