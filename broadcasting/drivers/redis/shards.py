"""
One broker made of several, each of which has its share of the topics.

Calls for topics of a server that is away fail. Those for other topics go on.
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
        for broker in self._brokers:
            await broker.connect(listener)

    async def close(self) -> None:
        await asyncio.gather(*(broker.close() for broker in self._brokers))

    async def subscribe(self, topic: str) -> None:
        await self._of(topic).subscribe(topic)

    async def unsubscribe(self, topic: str) -> None:
        await self._of(topic).unsubscribe(topic)

    async def publish(self, message: Message) -> None:
        await self._of(message.topic).publish(message)

    async def cached(self, topic: str) -> Cached | None:
        return await self._of(topic).cached(topic)

    # All leases are on the first part.

    async def acquire_lease(self, name: str, seconds: float) -> bool:
        return await self._brokers[0].acquire_lease(name, seconds)

    async def release_lease(self, name: str, after: float = 0) -> None:
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
        part = self._part(topic)
        return await part.join(topic, entry, member, socket_id=socket_id, limit=limit)

    async def leave(self, topic: str, entry: str, *, grace: float = 0) -> None:
        await self._part(topic).leave(topic, entry, grace=grace)

    async def count(self, sockets: Mapping[str, int]) -> Mapping[str, tuple[int, int]]:
        groups = self._by_part(sockets)
        return _merged(
            await _all(part.count({t: sockets[t] for t in topics}) for part, topics in groups)
        )

    async def members(self, topic: str) -> Members:
        return await self._part(topic).members(topic)

    async def sizes(self, topics: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        return _merged(await _all(part.sizes(group) for part, group in self._by_part(topics)))

    async def occupied(self, app_id: str, prefix: str = "") -> Mapping[str, int]:
        return _merged(await _all(part.occupied(app_id, prefix) for part in self._parts))

    async def heartbeat(self, connections: Mapping[str, int]) -> Mapping[str, int]:
        answers = await _settled(part.heartbeat(connections) for part in self._parts)
        # Each part has all connections, so any one's answer is right.
        for answer in answers:
            if not isinstance(answer, BaseException):
                return answer
        raise _first_error(answers)

    async def expire(self) -> None:
        await _all(part.expire() for part in self._parts)

    def _part(self, topic: str) -> Presence:
        return self._parts[self._part_of(topic)]

    def _by_part(self, topics: Iterable[str]) -> list[tuple[Presence, list[str]]]:
        groups: dict[int, list[str]] = {}
        for topic in topics:
            groups.setdefault(self._part_of(topic), []).append(topic)
        return [(self._parts[number], group) for number, group in groups.items()]


async def _settled(calls: Iterable[Awaitable[T]]) -> list[T | BaseException]:
    return await asyncio.gather(*calls, return_exceptions=True)


async def _all(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Return what `calls` return. Raise what one of them does, once all have ended."""
    answers = await _settled(calls)
    found = [answer for answer in answers if not isinstance(answer, BaseException)]
    if len(found) < len(answers):
        raise _first_error(answers)
    return found


def _first_error(answers: Sequence[object]) -> BaseException:
    return next(answer for answer in answers if isinstance(answer, BaseException))


def _merged(parts: Iterable[Mapping[str, V]]) -> dict[str, V]:
    return {name: value for part in parts for name, value in part.items()}
