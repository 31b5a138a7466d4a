"""
What things are called in Redis, and which part of the bus a topic belongs to.

A bus has one part or several: servers that share the topics, or the partitions of a cluster.
All that belongs to a topic is in one part: its messages, its members, its last event. Every
process, a foreign one too, finds the part without asking: it is the one for which the SHA-256
of ``<number of the part>:<channel>`` is greatest ("rendezvous hashing"). `channel` is the name
with its prefix. A part that is added at the end takes its share from the others, and nothing
else moves.
"""

import binascii
import hashlib
from functools import lru_cache

# Of a cluster. Fixed, because the partition of a name depends on it. There are more than
# nodes, so that each node has its share, and few, because every server process reads all.
PARTITIONS = 16

_SLOTS = 16384


class Names:
    """
    How topics are called in one part of the bus.

    Args:
        tag: The hash tag of a partition. All of its names are in one slot, and its channels
            are sharded ones.

    Attributes:
        prefix: Stands before every channel's name.
        first: The start of the first application's topics.
        tag: The hash tag of the keys. It keeps them in one slot, as a script needs them.
        state: Stands before the keys of what is stored.
        publish: The command that publishes.
    """

    def __init__(self, prefix: str, first_app_id: str, tag: str | None = None) -> None:
        self.first = f"{first_app_id}:"
        self.tag = tag or f"{prefix}broadcasting"
        self.state = f"{{{self.tag}}}:"
        self.prefix = prefix if tag is None else self.state
        self.is_sharded = tag is not None
        self.publish = "SPUBLISH" if self.is_sharded else "PUBLISH"

    def of(self, topic: str) -> str:
        """Return the Redis channel of `topic`."""
        return self.prefix + topic.removeprefix(self.first)

    def cache_of(self, topic: str) -> str:
        """Return the key of the last event of `topic`."""
        return f"{self.state}cached:{topic}"

    def lease_of(self, name: str) -> str:
        """Return the key of the lease `name`."""
        return f"{self.state}turn:{name}"

    @property
    def version(self) -> str:
        """The key of the last version."""
        return f"{self.state}version"


class Layout:
    """
    The parts of a bus.

    Args:
        count: How many servers there are; `None` for the partitions of a cluster.

    Attributes:
        parts: The names of each part, by its number.
    """

    def __init__(self, prefix: str, first_app_id: str, count: int | None = 1) -> None:
        self._plain = Names(prefix, first_app_id)
        if count is None:
            tags = partition_tags(prefix)
            self.parts = [Names(prefix, first_app_id, tag) for tag in tags]
        else:
            self.parts = [self._plain] * count

    def part_of(self, topic: str) -> int:
        """Return the number of the part that has `topic`."""
        count = len(self.parts)
        return 0 if count == 1 else place(self._plain.of(topic), count)


@lru_cache(maxsize=8192)
def place(channel: str, count: int) -> int:
    """Return which of `count` parts has `channel`."""

    def weight(number: int) -> bytes:
        return hashlib.sha256(f"{number}:{channel}".encode()).digest()

    return max(range(count), key=weight)


def partition_tags(prefix: str) -> list[str]:
    """
    Return the hash tag of each partition of a cluster.

    A tag ends in the first number that puts its slot into the partition's share of all
    slots, so that nodes of equal size have equally many partitions.
    """
    tags = []
    for number in range(PARTITIONS):
        attempt = 0
        tag = f"{prefix}broadcasting-{number}"
        while slot_of(tag) * PARTITIONS // _SLOTS != number:
            attempt += 1
            tag = f"{prefix}broadcasting-{number}.{attempt}"
        tags.append(tag)
    return tags


def slot_of(tag: str) -> int:
    """Return the slot of names with this hash tag (Redis, "Cluster specification")."""
    return binascii.crc_hqx(tag.encode(), 0) % _SLOTS
