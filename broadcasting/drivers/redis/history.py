"""
What Redis keeps of the events of a channel: the last one of a cache channel.

One step keeps an event and publishes it, so that a new subscriber can tell by the version
which live messages are newer than what was kept.
"""

from ...protocol.messages import Message
from ..base import CACHE_TTL, is_kept
from .names import Names
from .scripts import NEXT_VERSION, Call, Script

# Keys: the last version, the kept event. Arguments: the Redis channel, the message without
# its closing brace, the seconds that it is kept, the command that publishes.
APPEND = Script(
    NEXT_VERSION
    + """
local message = ARGV[2] .. ',"version":' .. next_version(KEYS[1]) .. '}'
redis.call('SET', KEYS[2], message, 'EX', ARGV[3])
return redis.call(ARGV[4], ARGV[1], message)
"""
)
# Key: the kept event.
CACHED = Script("return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}")


def publish(message: Message, payload: str, names: Names) -> Call:
    """Return the call that publishes `message`, and keeps it if it is to be kept."""
    if is_kept(message):
        return append(message, payload, names)
    return Call([names.publish, names.of(message.topic), payload])


def append(message: Message, payload: str, names: Names) -> Call:
    """Return the call that keeps `message` and publishes it with its version."""
    keys = [names.version, names.cache_of(message.topic)]
    channel = names.of(message.topic)
    return APPEND.call(keys, [channel, payload[:-1], int(CACHE_TTL), names.publish])
