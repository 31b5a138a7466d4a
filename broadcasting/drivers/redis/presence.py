"""
Presence in Redis: one truth for all server processes.

Theory of operation
-------------------

Every change is one call of ``presence.lua``, which also publishes the message about it. Its
comments say what the keys hold. A process takes part as a `Node`. It knows by itself what it
has entered and counted; when that is in doubt, `_restore` removes what Redis holds too much,
stores what it holds too little, and makes up for what could not be stored meanwhile.

A Redis that had lost its data published no message about anybody who left. So what is stored
again in the next seconds makes no message either, unless somebody has read the members
meanwhile. Who leaves in these seconds is removed after them, since another node may have yet
to store the same user. If the process was taken for dead, its users have been announced as
gone, and are entered like new ones.

The process that counts its sockets announces their new number to subscribers. A number that
changes without that, as when a dead node is removed, is left to the process to which `expire`
returns it: its listener counts the topic again.

Rules of this file:

* What Redis confirmed is in `_entries` and `_stored`; what it has yet to learn is in
  `_leaves` and `_wanted`. A join is entered by its answer, never before.
* Arguments are made in the same step, without an await, in which their call is queued: calls
  run in the order of the queue, so Redis follows the local state.
* A call whose answer was lost may have run. Doing it again changes nothing.
"""

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from ...exceptions import BroadcastError
from ...protocol.members import Member
from ...protocol.messages import decode, encode
from ..base import Listener, Members, Presence, PresenceChange
from .clients import CallQueue
from .names import Names
from .node import Node

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Leave:
    """A leave that Redis has not confirmed: whose, if that is certain, and until when."""

    member: Member | None
    ends: float


class RedisPresence(Presence):
    """
    One loop's view of the presence in one part of the bus.

    Args:
        queue: Calls the script.
        names: How things are called in Redis.

    Attributes:
        node: This process, as Redis knows it.
    """

    is_shared = True
    CHUNK = 200  # Entries or topics in one call.

    def __init__(self, queue: CallQueue, names: Names) -> None:
        self.node = Node(queue, names, self._restore)
        self._listener: Listener | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # (topic, entry) -> who entered; joins under way, with the end of the grace of those
        # that have been left meanwhile; leaves to be stored.
        self._entries: dict[tuple[str, str], Member] = {}
        self._joining: dict[tuple[str, str], float | None] = {}
        self._leaves: dict[tuple[str, str], _Leave] = {}
        # Topic -> sockets of this process.
        self._stored: dict[str, int] = {}
        self._wanted: dict[str, int] = {}
        self._counting: Counter[str] = Counter()  # Topics for which a call is under way.

    def connect(self, listener: Listener) -> None:
        """Give changes, and topics to be counted again, to `listener`."""
        self._listener = listener

    def doubt(self) -> None:
        """Restore everything soon: the bus was lost and is back."""
        self.node.doubt()
        self._spawn(self._restore_quietly())

    async def close(self) -> None:
        """Remove what this process has stored, if Redis answers."""
        self._listener = None
        for task in list(self._tasks):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.node.close()

    async def join(
        self, topic: str, entry: str, member: Member, *, socket_id: str, limit: int
    ) -> Members | None:
        key = topic, entry
        socket = encode(socket_id)
        is_asked = False

        def arguments() -> Sequence[str | int]:
            nonlocal is_asked
            is_asked = True
            return topic, entry, member.user_id, member.info, socket, limit

        self._joining[key] = None
        try:
            answer = await self.node.call_when_known("join", arguments)
        except asyncio.CancelledError:
            if is_asked:
                self._leaves[key] = _Leave(None, 0)
                self._spawn(self._store_leave(key))
            raise
        finally:
            left = self._joining.pop(key)
        if answer == 0:
            return None
        version, reported, users = answer
        self._entries[key] = member
        if reported:
            self._notify("member_added", topic, member.user_id)
        if left is not None:
            await self.leave(topic, entry, grace=max(0, left - self._now()))
        return _members(version, users)

    async def leave(self, topic: str, entry: str, *, grace: float = 0) -> None:
        key = topic, entry
        if key in self._joining:
            self._joining[key] = self._now() + grace  # It leaves as soon as it is in.
        elif member := self._entries.pop(key, None):
            self._leaves[key] = _Leave(member, self._now() + grace)
            await self._store_leave(key)

    async def count(self, sockets: Mapping[str, int]) -> Mapping[str, tuple[int, int]]:
        self._wanted.update(sockets)
        self._counting.update(sockets.keys())
        totals: dict[str, tuple[int, int]] = {}
        try:
            for topics in _chunks([*sockets], self.CHUNK):
                totals |= await self._count(topics)
        except BroadcastError:
            # What Redis knows already need not be stored again, and would pile up.
            stored = self._stored
            self._wanted = {t: n for t, n in self._wanted.items() if n != stored.get(t, 0)}
        except asyncio.CancelledError:
            self.node.doubt()
            raise
        finally:
            self._counting -= Counter(sockets.keys())
        return totals

    async def members(self, topic: str) -> Members:
        version, users = await self.node.call("members", topic)
        return _members(version, users)

    async def sizes(self, topics: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        sizes: dict[str, tuple[int, int]] = {}
        for chunk in _chunks(topics, self.CHUNK):
            numbers = await self.node.call("sizes", *chunk)
            sizes |= {t: (s, u) for t, (s, u) in zip(chunk, _tuples(numbers, 2), strict=True)}
        return sizes

    async def occupied(self, app_id: str, prefix: str = "") -> Mapping[str, int]:
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*"
        found: dict[str, int] = {}
        async for page in self.node.pages("occupied", app_id, last=pattern):
            found |= {channel: int(number) for channel, number in _tuples(page, 2)}
        return found

    async def heartbeat(self, connections: Mapping[str, int]) -> Mapping[str, int]:
        self.node.doubt_now_and_then()
        answer = await self.node.call_when_known("heartbeat", lambda: [encode(dict(connections))])
        total: dict[str, int] = defaultdict(int)
        for text in answer:
            of_node = decode(text)
            assert isinstance(of_node, dict)  # noqa: S101  # Written above.
            for app_id, number in of_node.items():
                total[app_id] += number
        return dict(total)

    async def expire(self) -> None:
        reports, recounts = await self.node.call("expire")
        for topic in recounts:
            if self._listener is not None:
                self._listener.recount(topic.decode())
        for item in reports:
            kind, text = item[:1], item[1:].decode()
            if kind == b"v":
                self._notify("channel_vacated", text)
            else:
                topic, _, user_id = text.partition("\n")
                self._notify("member_removed", topic, user_id)

    # Restoring

    async def _restore_quietly(self) -> None:
        with suppress(BroadcastError):  # The next heartbeat tries again.
            if self.node.is_in_doubt:
                await self.node.resolve()

    async def _restore(self, is_known: bool, is_lost: bool) -> None:
        if is_known:
            await self._find_surplus()
        await self._store_entries(self._entries, is_lost)
        if is_lost:
            # They were there when it happened, and leave below.
            await self._store_entries(self._leaves, is_lost)
        for topics in _chunks([*self._stored], self.CHUNK):
            stored = {topic: self._stored[topic] for topic in topics if topic in self._stored}
            await self._store_counts(stored, is_lost)
        for keys in _chunks([*self._leaves], self.CHUNK):
            await self._store_leaves(keys)
            for key in keys:
                self._leaves.pop(key, None)  # Redis does not know it: it is gone long since.
        # A call that is under way stores its own topics, and returns how it was before.
        wanted = [topic for topic in self._wanted if topic not in self._counting]
        for topics in _chunks(wanted, self.CHUNK):
            await self._store_counts({t: self._wanted[t] for t in topics if t in self._wanted})

    async def _find_surplus(self) -> None:
        """Note what Redis holds of this node that is not here any more."""
        async for page in self.node.pages("entries"):
            for item in page:
                topic, _, entry = item.decode().partition("\n")
                key = topic, entry
                if key not in self._entries and key not in self._joining:
                    self._leaves.setdefault(key, _Leave(None, 0))
        async for page in self.node.pages("sockets"):
            for name, _ in _tuples(page, 2):
                if name not in self._stored and name not in self._wanted:
                    self._wanted[name] = 0

    async def _store_entries(
        self, entries: Mapping[tuple[str, str], Member | _Leave], is_lost: bool
    ) -> None:
        # A user's newest entry has the information that counts.
        infos = {(topic, m.user_id): m.info for (topic, _), m in self._entries.items()}
        for keys in _chunks([*entries], self.CHUNK):
            users: list[tuple[str, str]] = []
            arguments: list[str] = []
            for topic, entry in keys:
                member = entries.get((topic, entry))  # It may have left meanwhile.
                if isinstance(member, _Leave):
                    member = member.member
                if member is not None:
                    users.append((topic, member.user_id))
                    info = infos.get((topic, member.user_id), member.info)
                    arguments += [topic, entry, member.user_id, info]
            answer = await self.node.call_while_resolving("tell", int(is_lost), *arguments)
            for (topic, user_id), reported in zip(users, answer, strict=True):
                if reported:
                    self._notify("member_added", topic, user_id)

    # Calls

    async def _store_leave(self, key: tuple[str, str]) -> None:
        with suppress(BroadcastError):  # It stays in `_leaves` for `_restore`.
            if not self.node.is_in_doubt:
                await self._store_leaves([key])
                if key not in self._leaves:
                    return
                self.node.doubt()  # Redis does not know what it had confirmed.
            await self.node.resolve()

    async def _store_leaves(self, keys: Iterable[tuple[str, str]]) -> None:
        now = self._now()
        leaves = [(key, leave) for key in keys if (leave := self._leaves.get(key))]
        arguments: list[str | int] = []
        for (topic, entry), leave in leaves:
            arguments += [topic, entry, max(0, int((leave.ends - now) * 1000))]
        if not leaves:
            return
        answer = await self.node.call("leave", *arguments)
        for (key, leave), found in zip(leaves, answer, strict=True):
            if found or leave.member is None:
                self._leaves.pop(key, None)

    async def _count(self, topics: Sequence[str]) -> dict[str, tuple[int, int]]:
        numbers: dict[str, int] = {}

        def arguments() -> Sequence[str | int]:
            # Read now: another call may have brought newer ones while this one waited.
            numbers.clear()
            numbers.update((t, self._wanted.get(t, self._stored.get(t, 0))) for t in topics)
            return [0, *(part for item in numbers.items() for part in item)]

        return self._note(numbers, await self.node.call_when_known("count", arguments))

    async def _store_counts(self, numbers: Mapping[str, int], is_lost: bool = False) -> None:
        arguments = [part for item in numbers.items() for part in item]
        how = 2 if is_lost else 1
        self._note(numbers, await self.node.call_while_resolving("count", how, *arguments))

    def _note(self, numbers: Mapping[str, int], answer: list[int]) -> dict[str, tuple[int, int]]:
        totals: dict[str, tuple[int, int]] = {}
        for (topic, number), (old, new, reported) in zip(
            numbers.items(), _tuples(answer, 3), strict=True
        ):
            totals[topic] = old, new
            self._stored[topic] = number
            if not number:
                del self._stored[topic]
            if self._wanted.get(topic) == number:
                del self._wanted[topic]
            if reported:
                self._notify("channel_occupied", topic)
        return totals

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _notify(self, name: str, topic: str, user_id: str | None = None) -> None:
        if self._listener is not None:
            self._listener.changed(PresenceChange(name, topic, user_id))


def _members(version: bytes, users: list[bytes]) -> Members:
    infos = {user_id: value.partition(":")[2] for user_id, value in _tuples(users, 2)}
    return Members(infos, int(version))


def _tuples(flat: Sequence[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """Yield what a flat answer of Redis holds, `size` values at a time, bytes as text."""
    values = [value.decode() if isinstance(value, bytes) else value for value in flat]
    return zip(*[iter(values)] * size, strict=True)


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
