"""
One broker made of several, each of which has its share of the topics.

Where one server is away, calls for its topics fail as they do on a single one, and
those for the others' go on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from ...protocol.members import Member
from ...protocol.messages import Cached, Message
from ..base import Broker, Listener, Members, Presence

T = TypeVar("T")
V = TypeVar("V")

PartOf = Callable[[str], int]


class ShardedBroker(Broker):
    """
    Several brokers as one.

    Args:
        brokers: The parts, in the same order in every process.
        part_of: Returns the number of the part that a topic belongs to.
    """

    is_shared = True
    supports_cache = True

    def __init__(self, brokers: Sequence[Broker], part_of: PartOf) -> None:
        self._brokers = brokers
        self._part_of = part_of
        self.presence = ShardedPresence([broker.presence for broker in brokers], part_of)

    @property
    def is_up(self) -> bool:  # type: ignore[override]  # Nobody but the parts sets it.
        """Whether every part is."""
        return all(broker.is_up for broker in self._brokers)

    @property
    def reconnects(self) -> int:  # type: ignore[override]  # As above.
        """How often parts were lost and found again."""
        return sum(broker.reconnects for broker in self._brokers)

    async def connect(self, listener: Listener) -> None:
        """Connect all parts."""
        for broker in self._brokers:
            await broker.connect(listener)

    async def close(self) -> None:
        """Close all parts."""
        await asyncio.gather(*(broker.close() for broker in self._brokers))

    async def subscribe(self, topic: str) -> None:
        """Subscribe in the topic's part."""
        await self._of(topic).subscribe(topic)

    async def unsubscribe(self, topic: str) -> None:
        """Unsubscribe in the topic's part."""
        await self._of(topic).unsubscribe(topic)

    async def publish(self, message: Message) -> None:
        """Publish in the topic's part."""
        await self._of(message.topic).publish(message)

    async def cached(self, topic: str) -> Cached | None:
        """Ask the topic's part."""
        return await self._of(topic).cached(topic)

    async def acquire_lease(self, name: str, seconds: float) -> bool:
        """Ask the first part, which has all turns."""
        return await self._brokers[0].acquire_lease(name, seconds)

    async def release_lease(self, name: str, after: float = 0) -> None:
        """Publish on the first part."""
        await self._brokers[0].release_lease(name, after)

    def _of(self, topic: str) -> Broker:
        return self._brokers[self._part_of(topic)]


class ShardedPresence(Presence):
    """The presence of several parts as one."""

    is_shared = True

    def __init__(self, parts: Sequence[Presence], part_of: PartOf) -> None:
        self._parts = parts
        self._part_of = part_of

    async def join(
        self, topic: str, entry: str, member: Member, *, socket_id: str, limit: int
    ) -> Members | None:
        """Join in the topic's part."""
        part = self._parts[self._part_of(topic)]
        return await part.join(topic, entry, member, socket_id=socket_id, limit=limit)

    async def leave(self, topic: str, entry: str, *, grace: float = 0) -> None:
        """Leave in the topic's part."""
        await self._parts[self._part_of(topic)].leave(topic, entry, grace=grace)

    async def count(self, sockets: Mapping[str, int]) -> Mapping[str, tuple[int, int]]:
        """Store in each part the numbers of its topics."""
        groups: dict[int, dict[str, int]] = {}
        for topic, number in sockets.items():
            groups.setdefault(self._part_of(topic), {})[topic] = number
        return _merged(await _all(self._parts[part].count(group) for part, group in groups.items()))

    async def members(self, topic: str) -> Members:
        """Ask the topic's part."""
        return await self._parts[self._part_of(topic)].members(topic)

    async def sizes(self, topics: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        """Ask each part for its topics."""
        groups: dict[int, list[str]] = {}
        for topic in topics:
            groups.setdefault(self._part_of(topic), []).append(topic)
        return _merged(await _all(self._parts[part].sizes(group) for part, group in groups.items()))

    async def occupied(self, app_id: str, prefix: str = "") -> Mapping[str, int]:
        """Ask all parts."""
        return _merged(await _all(part.occupied(app_id, prefix) for part in self._parts))

    async def heartbeat(self, connections: Mapping[str, int]) -> Mapping[str, int]:
        """Store in all parts. Each has all connections, so any one's answer is right."""
        answers = await _settled(part.heartbeat(connections) for part in self._parts)
        totals = [answer for answer in answers if not isinstance(answer, BaseException)]
        if not totals:
            _raise_first(answers)
        return totals[0]

    async def expire(self) -> None:
        """Expire in all parts."""
        await _all(part.expire() for part in self._parts)


async def _settled(calls: Iterable[Awaitable[T]]) -> list[T | BaseException]:
    return await asyncio.gather(*calls, return_exceptions=True)


async def _all(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Return what `calls` return, or raise what one of them does when all have ended."""
    answers = await _settled(calls)
    _raise_first(answers)
    return [answer for answer in answers if not isinstance(answer, BaseException)]


def _raise_first(answers: Sequence[object]) -> None:
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer


def _merged(parts: Iterable[Mapping[str, V]]) -> dict[str, V]:
    return {name: value for part in parts for name, value in part.items()}
