"""
Presence in Redis: one truth for all server processes.

Theory of operation
-------------------

Every change is one call of the script in ``presence.lua``, which also publishes
the message about it; what the keys hold is said there. A process takes part as a
*node*: it says every few seconds that it lives, and what it has entered goes when it
has not been heard of for `DEAD_AFTER`.

Redis may fail, come back empty, or take this process for dead. So the process knows
by itself what it has entered and counted, and is *in doubt* after any failure and
whenever Redis does not know its node. Whatever needs a node first resolves the doubt:
`_sync` registers, removes what Redis holds too much, tells again what it holds too
little, and makes up for what could not be told meanwhile.

Where Redis had lost its data nobody was told that a user went, so what is told again
in the next seconds makes no message, unless somebody has read the members meanwhile;
and who leaves in these seconds is removed after them, since another node may still
have to tell of the same user. Where the process was taken for dead, its users have
been reported as gone, and are entered like new ones.

Whoever counts its sockets tells their new number to subscribers. What was counted
without that, as a dead node is removed or everything is told again, falls to the
process that `expire` gives it to: its listener is asked to count the topic again.

Rules of this file:

* What Redis confirmed is in `_entries` and `_told`; what it has still to hear is in
  `_leaves` and `_wanted`. A join is entered by its answer, never before.
* Arguments are put together in the same step, without an await, in which their call is
  queued: calls run in the order of the queue, so Redis follows the local state.
* A call whose answer was lost may have run. Doing it again changes nothing.
"""

import asyncio
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ...exceptions import BroadcastError
from ...protocol.members import Member
from ...protocol.messages import decode, encode
from ..base import NOTIFY_GRACE, Listener, Members, Presence, PresenceChange
from .clients import CallQueue
from .names import Names
from .scripts import NEXT_VERSION, Script

T = TypeVar("T")

SCRIPT = Script(NEXT_VERSION + Path(__file__).with_name("presence.lua").read_text("utf-8"))

_UNKNOWN_NODE = -1


@dataclass(frozen=True, slots=True)
class _Leave:
    """A leave that Redis has not confirmed: whose, if that is certain, and until when."""

    member: Member | None
    ends: float


class RedisPresence(Presence):
    """
    One loop's view of the presence in Redis.

    Args:
        queue: Calls the script.
        names: How things are called in Redis.
    """

    is_shared = True
    DEAD_AFTER = 20.0  # Seconds without a heartbeat.
    NOTIFY_GRACE = NOTIFY_GRACE
    SETTLING = 10.0  # Seconds in which all nodes notice that Redis came back empty.
    TTL = 3600  # Seconds that keys outlive the last process.
    SYNC_EVERY = 900.0  # Seconds; renews the keys' time to live, and mends what was lost.
    TIMEOUT = 10.0  # Seconds that a question may take, with what it waits for.
    CLOSE_TIMEOUT = 2.0
    CHUNK = 200  # Entries or topics in one call.

    def __init__(self, queue: CallQueue, names: Names) -> None:
        self._queue = queue
        self._names = names
        self._listener: Listener | None = None
        # How Redis knows us.
        self._node = ""
        self._epoch = ""
        self._told_epoch = ""  # The one in which all was told.
        # In doubt unless they are equal; each failure raises the first.
        self._doubts = 1
        self._resolved = 0
        self._resolved_at = 0.0
        self._syncing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # (topic, entry) -> who entered; joins under way, with the end of the grace of those
        # that have been left meanwhile; leaves to be told.
        self._entries: dict[tuple[str, str], Member] = {}
        self._joining: dict[tuple[str, str], float | None] = {}
        self._leaves: dict[tuple[str, str], _Leave] = {}
        # Topic -> sockets of ours.
        self._told: dict[str, int] = {}
        self._wanted: dict[str, int] = {}
        self._counting: Counter[str] = Counter()  # Topics for which a call is under way.

    def connect(self, listener: Listener) -> None:
        """Hand changes and topics to be counted again to `listener`, from now on."""
        self._listener = listener

    def doubt(self) -> None:
        """Store everything again soon: the bus was lost and is back."""
        self._doubts += 1
        self._spawn(self._sync_quietly())

    async def close(self) -> None:
        """Take the node out of Redis, if that can be told; else it dies by itself."""
        self._listener = None
        for task in [*self._tasks, *([self._syncing] if self._syncing else [])]:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._node:
            with suppress(BroadcastError, TimeoutError):
                async with asyncio.timeout(self.CLOSE_TIMEOUT):
                    await self._call("bye")
            self._node = ""

    async def join(
        self, topic: str, entry: str, member: Member, *, socket_id: str, limit: int
    ) -> Members | None:
        """Enter `member`."""
        key = topic, entry
        socket = encode(socket_id)
        is_asked = False

        def arguments() -> Sequence[str | int]:
            nonlocal is_asked
            is_asked = True
            return topic, entry, member.user_id, member.info, socket, limit

        self._joining[key] = None
        try:
            answer = await self._call_as_node("join", arguments)
        except asyncio.CancelledError:
            if is_asked:
                self._leaves[key] = _Leave(None, 0)
                self._spawn(self._tell_leave(key))
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
        """Take `entry` out, or remember to do so when Redis is back."""
        key = topic, entry
        if key in self._joining:
            self._joining[key] = self._now() + grace  # It leaves as soon as it is in.
        elif member := self._entries.pop(key, None):
            self._leaves[key] = _Leave(member, self._now() + grace)
            await self._tell_leave(key)

    async def count(self, sockets: Mapping[str, int]) -> Mapping[str, tuple[int, int]]:
        """Note this process's sockets, or remember to do so when Redis is back."""
        self._wanted.update(sockets)
        self._counting.update(sockets.keys())
        totals: dict[str, tuple[int, int]] = {}
        try:
            for topics in _chunks([*sockets], self.CHUNK):
                totals |= await self._count(topics)
        except BroadcastError:
            # What is as Redis knows it needs no telling, and would pile up.
            told = self._told
            self._wanted = {t: n for t, n in self._wanted.items() if n != told.get(t, 0)}
        except asyncio.CancelledError:
            self._doubts += 1
            raise
        finally:
            self._counting -= Counter(sockets.keys())
        return totals

    async def members(self, topic: str) -> Members:
        """Return who is in `topic`."""
        version, users = await self._call("members", topic)
        return _members(version, users)

    async def sizes(self, topics: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        """Return the sockets and the users of each topic."""
        sizes: dict[str, tuple[int, int]] = {}
        for chunk in _chunks(topics, self.CHUNK):
            numbers = await self._call("sizes", *chunk)
            sizes |= {t: (s, u) for t, (s, u) in zip(chunk, _tuples(numbers, 2), strict=True)}
        return sizes

    async def occupied(self, app_id: str, prefix: str = "") -> Mapping[str, int]:
        """Return the channels that have sockets."""
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*"
        found: dict[str, int] = {}
        async for page in self._pages("occupied", app_id, last=pattern):
            found |= {channel: int(number) for channel, number in _tuples(page, 2)}
        return found

    async def heartbeat(self, connections: Mapping[str, int]) -> Mapping[str, int]:
        """Note this process's connections, and tell again what Redis has forgotten."""
        if self._resolved and self._now() - self._resolved_at >= self.SYNC_EVERY:
            self._doubts += 1
        answer = await self._call_as_node("heartbeat", lambda: [encode(dict(connections))])
        total: dict[str, int] = defaultdict(int)
        for text in answer:
            of_node = decode(text)
            assert isinstance(of_node, dict)  # noqa: S101  # Written above.
            for app_id, number in of_node.items():
                total[app_id] += number
        return dict(total)

    async def expire(self) -> None:
        """End graces, remove what dead nodes left, and report what is due."""
        reports, recounts = await self._call("expire")
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

    # Doubt

    @property
    def _is_in_doubt(self) -> bool:
        return self._doubts != self._resolved

    async def _sync_quietly(self) -> None:
        with suppress(BroadcastError):  # The next heartbeat tries again.
            if self._is_in_doubt:
                await self._sync()

    async def _sync(self) -> None:
        """Resolve the doubt, all callers together. Raise `BroadcastError` if that fails."""
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.create_task(self._resolve())
            # Its failure is no news where every caller was cancelled.
            self._syncing.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._syncing)

    async def _resolve(self) -> None:
        doubts = self._doubts
        fresh = secrets.token_hex(8)
        epoch, is_known, is_lost = await self._call("hello", self._told_epoch, fresh)
        self._epoch = epoch.decode()
        if is_known:
            await self._find_surplus()
        else:
            # A new name: what is under the old one may just be being removed.
            self._node = fresh
        await self._tell_entries(self._entries, is_lost)
        if is_lost:
            # They were there when it happened, and leave below.
            await self._tell_entries(self._leaves, is_lost)
        for topics in _chunks([*self._told], self.CHUNK):
            told = {topic: self._told[topic] for topic in topics if topic in self._told}
            await self._tell_counts(told, is_lost)
        for keys in _chunks([*self._leaves], self.CHUNK):
            await self._tell_leaves(keys)
            for key in keys:
                self._leaves.pop(key, None)  # Redis does not know it: it is gone long since.
        # What a call is under way for is left to it, which answers how it was before.
        wanted = [topic for topic in self._wanted if topic not in self._counting]
        for topics in _chunks(wanted, self.CHUNK):
            await self._tell_counts({t: self._wanted[t] for t in topics if t in self._wanted})
        self._told_epoch = self._epoch
        self._resolved, self._resolved_at = doubts, self._now()

    async def _find_surplus(self) -> None:
        """Note what Redis holds of this node that is not here any more."""
        async for page in self._pages("entries"):
            for item in page:
                topic, _, entry = item.decode().partition("\n")
                key = topic, entry
                if key not in self._entries and key not in self._joining:
                    self._leaves.setdefault(key, _Leave(None, 0))
        async for page in self._pages("sockets"):
            for name, _ in _tuples(page, 2):
                if name not in self._told and name not in self._wanted:
                    self._wanted[name] = 0

    async def _tell_entries(
        self, entries: Mapping[tuple[str, str], Member | _Leave], is_lost: int
    ) -> None:
        # Of several entries of a user the newest says what is told of the user.
        infos = {(topic, m.user_id): m.info for (topic, _), m in self._entries.items()}
        for keys in _chunks([*entries], self.CHUNK):
            told: list[tuple[str, str]] = []
            arguments: list[str] = []
            for topic, entry in keys:
                member = entries.get((topic, entry))  # It may have left meanwhile.
                if isinstance(member, _Leave):
                    member = member.member
                if member is not None:
                    told.append((topic, member.user_id))
                    info = infos.get((topic, member.user_id), member.info)
                    arguments += [topic, entry, member.user_id, info]
            answer = await self._call_as_told("tell", is_lost, *arguments)
            for (topic, user_id), reported in zip(told, answer, strict=True):
                if reported:
                    self._notify("member_added", topic, user_id)

    # Calls

    async def _tell_leave(self, key: tuple[str, str]) -> None:
        with suppress(BroadcastError):  # It stays in `_leaves` and is told by `_resolve`.
            if not self._is_in_doubt:
                await self._tell_leaves([key])
                if key not in self._leaves:
                    return
                self._doubts += 1  # Redis does not know what it had confirmed.
            await self._sync()

    async def _tell_leaves(self, keys: Iterable[tuple[str, str]]) -> None:
        now = self._now()
        leaves = [(key, leave) for key in keys if (leave := self._leaves.get(key))]
        arguments: list[str | int] = []
        for (topic, entry), leave in leaves:
            arguments += [topic, entry, max(0, int((leave.ends - now) * 1000))]
        if not leaves:
            return
        answer = await self._call("leave", *arguments)
        for (key, leave), found in zip(leaves, answer, strict=True):
            if found or leave.member is None:
                self._leaves.pop(key, None)

    async def _count(self, topics: Sequence[str]) -> dict[str, tuple[int, int]]:
        numbers: dict[str, int] = {}

        def arguments() -> Sequence[str | int]:
            # Read now: another call may have brought newer ones while this one waited.
            numbers.clear()
            numbers.update((t, self._wanted.get(t, self._told.get(t, 0))) for t in topics)
            return [0, *(part for item in numbers.items() for part in item)]

        return self._note(numbers, await self._call_as_node("count", arguments))

    async def _tell_counts(self, numbers: Mapping[str, int], is_lost: int = 0) -> None:
        arguments = [part for item in numbers.items() for part in item]
        how = 2 if is_lost else 1
        self._note(numbers, await self._call_as_told("count", how, *arguments))

    def _note(self, numbers: Mapping[str, int], answer: list[int]) -> dict[str, tuple[int, int]]:
        totals: dict[str, tuple[int, int]] = {}
        for (topic, number), (old, new, reported) in zip(
            numbers.items(), _tuples(answer, 3), strict=True
        ):
            totals[topic] = old, new
            self._told[topic] = number
            if not number:
                del self._told[topic]
            if self._wanted.get(topic) == number:
                del self._wanted[topic]
            if reported:
                self._notify("channel_occupied", topic)
        return totals

    async def _pages(
        self, op: str, *arguments: str, last: str | None = None
    ) -> AsyncIterator[list[bytes]]:
        cursor = "0"
        while True:
            tail = () if last is None else (last,)
            answer, page = await self._call(op, *arguments, cursor, *tail)
            yield page
            cursor = answer.decode()
            if cursor == "0":
                return

    async def _call_as_node(self, op: str, arguments: Callable[[], Sequence[str | int]]) -> Any:
        """Call as a node that Redis knows, having resolved any doubt."""
        try:
            async with asyncio.timeout(self.TIMEOUT):
                while True:
                    if self._is_in_doubt:
                        await self._sync()
                    answer = await self._call(op, *arguments())
                    if answer != _UNKNOWN_NODE:
                        return answer
                    self._doubts += 1
        except TimeoutError:
            self._doubts += 1
            raise BroadcastError(f"Redis did not answer in {self.TIMEOUT:g} seconds") from None

    async def _call_as_told(self, op: str, *arguments: str | int) -> Any:
        """Call while the doubt is being resolved."""
        answer = await self._call(op, *arguments)
        if answer == _UNKNOWN_NODE:
            raise BroadcastError("Redis lost its data again")
        return answer

    async def _call(self, op: str, *arguments: str | int) -> Any:
        names = self._names
        header = [op, names.publish, names.prefix, names.first, self._node, self._epoch]
        seconds = self.DEAD_AFTER, self.NOTIFY_GRACE, self.SETTLING
        times = [*(int(value * 1000) for value in seconds), self.TTL]
        try:
            call = SCRIPT.call([self._names.state], [*header, *times, *arguments])
            return await self._queue.put(call)
        except BroadcastError:
            self._doubts += 1
            raise

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
