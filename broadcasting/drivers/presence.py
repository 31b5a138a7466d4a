"""
Presence within a process, in dictionaries.

This is all there is if one process serves. Over a channel layer, which stores nothing, each
process has its own.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from threading import RLock

from ..exceptions import BroadcastError
from ..protocol.members import Member
from ..protocol.messages import (
    MEMBER_ADDED,
    MEMBER_REMOVED,
    Message,
    member_added_data,
    member_removed_data,
)
from .base import NOTIFY_GRACE, Listener, Members, Presence, PresenceChange

logger = logging.getLogger("broadcasting.drivers")


@dataclass(slots=True)
class _User:
    """A member and the entries by which it is one. It has none during a grace."""

    info: str
    entries: set[str] = field(default_factory=set)


class PresenceStore:
    """
    The entries of a process. Thread-safe: each method is one step under one lock.

    A *node* makes entries and counts sockets. It is one loop of the process. Methods return
    the changes that its listener must hear of.

    Args:
        publish: Takes the message about a change, in the order of the changes.
        lock: Held during a step. The bus passes its own, so that versions fit its order.
        clock: Returns seconds that never go back.
    """

    def __init__(
        self,
        publish: Callable[[Message], object],
        lock: RLock,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publish = publish
        self._lock = lock
        self._clock = clock
        self._versions = count(1)
        self._users: dict[str, dict[str, _User]] = {}  # topic -> user id -> user
        self._entries: dict[tuple[str, str], tuple[object, str]] = {}  # -> node, user id
        self._graces: dict[tuple[str, str], float] = {}  # (topic, user id) -> end
        # What left -> when listeners hear of it.
        self._gone: dict[tuple[str, str | None], float] = {}
        self._counts: dict[str, dict[object, int]] = defaultdict(dict)  # topic -> node -> sockets
        self._connections: dict[object, Mapping[str, int]] = {}

    def next_version(self) -> int:
        """Return a version greater than all before. Call it under the lock."""
        return next(self._versions)

    def join(
        self, node: object, topic: str, entry: str, member: Member, socket_id: str, limit: int
    ) -> tuple[Members | None, list[PresenceChange]]:
        """Enter `member` for `node`. Return all members, `None` if the topic is full."""
        with self._lock:
            users = self._users.get(topic, {})
            user = users.get(member.user_id)
            changes: list[PresenceChange] = []
            if user is None:
                if len(users) >= limit:
                    return None, []
                users = self._users.setdefault(topic, users)
                user = users[member.user_id] = _User(member.info)
                data = member_added_data(member.user_id, member.info)
                self._publish_change(topic, MEMBER_ADDED, data, socket_id)
                changes = self._came(topic, member.user_id)
            user.info = member.info
            user.entries.add(entry)
            self._graces.pop((topic, member.user_id), None)
            self._entries[topic, entry] = node, member.user_id
            return self._members(topic), changes

    def leave(self, topic: str, entry: str, grace: float) -> None:
        """Remove `entry`."""
        with self._lock:
            self._leave(topic, entry, grace)

    def count(
        self, node: object, sockets: Mapping[str, int]
    ) -> tuple[dict[str, tuple[int, int]], list[PresenceChange]]:
        """Store the sockets of `node`. Return the old and new total of each topic."""
        totals: dict[str, tuple[int, int]] = {}
        changes: list[PresenceChange] = []
        with self._lock:
            for topic, number in sockets.items():
                old, new = self._set_count(topic, node, number)
                totals[topic] = old, new
                if not old and new:
                    changes += self._came(topic, None)
        return totals, changes

    def members(self, topic: str) -> Members:
        """Return the members of `topic`."""
        with self._lock:
            return self._members(topic)

    def sizes(self, topics: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return the numbers of sockets and of users of each topic."""
        with self._lock:
            return {
                topic: (
                    sum(self._counts.get(topic, {}).values()),
                    len(self._users.get(topic, {})),
                )
                for topic in topics
            }

    def occupied(self, prefix: str) -> dict[str, int]:
        """Return the topics that begin with `prefix`, with their number of sockets."""
        with self._lock:
            return {
                topic: sum(nodes.values())
                for topic, nodes in self._counts.items()
                if topic.startswith(prefix)
            }

    def connect(self, node: object, connections: Mapping[str, int]) -> dict[str, int]:
        """Store the connections of `node`. Return the total of all nodes."""
        total: dict[str, int] = defaultdict(int)
        with self._lock:
            self._connections[node] = connections
            for of_node in self._connections.values():
                for app_id, number in of_node.items():
                    total[app_id] += number
        return dict(total)

    def expire(self) -> list[PresenceChange]:
        """End graces that are over. Return what has been gone for long enough."""
        with self._lock:
            now = self._clock()
            for topic, user_id in [key for key, end in self._graces.items() if end <= now]:
                del self._graces[topic, user_id]
                self._remove(topic, user_id)
            due = [key for key, end in self._gone.items() if end <= now]
            for key in due:
                del self._gone[key]
            return [
                PresenceChange("channel_vacated", topic)
                if user_id is None
                else PresenceChange("member_removed", topic, user_id)
                for topic, user_id in due
            ]

    def forget(self, node: object) -> None:
        """Remove what `node` entered and counted: it has ended."""
        with self._lock:
            self._connections.pop(node, None)
            for topic, entry in [key for key, (of, _) in self._entries.items() if of is node]:
                self._leave(topic, entry, 0)
            for topic in [topic for topic, nodes in self._counts.items() if node in nodes]:
                self._set_count(topic, node, 0)

    # Under the lock

    def _members(self, topic: str) -> Members:
        users = self._users.get(topic, {})
        return Members({user_id: user.info for user_id, user in users.items()}, self.next_version())

    def _leave(self, topic: str, entry: str, grace: float) -> None:
        _, user_id = self._entries.pop((topic, entry), (None, None))
        if user_id is None:
            return
        user = self._users[topic][user_id]
        user.entries.discard(entry)
        if user.entries:
            return
        if grace > 0:
            self._graces[topic, user_id] = self._clock() + grace
        else:
            self._remove(topic, user_id)

    def _remove(self, topic: str, user_id: str) -> None:
        del self._users[topic][user_id]
        if not self._users[topic]:
            del self._users[topic]
        self._publish_change(topic, MEMBER_REMOVED, member_removed_data(user_id), None)
        self._gone[topic, user_id] = self._clock() + NOTIFY_GRACE

    def _came(self, topic: str, user_id: str | None) -> list[PresenceChange]:
        if self._gone.pop((topic, user_id), None) is not None:
            return []  # Back before any listener heard that it had gone.
        name = "channel_occupied" if user_id is None else "member_added"
        return [PresenceChange(name, topic, user_id)]

    def _set_count(self, topic: str, node: object, number: int) -> tuple[int, int]:
        nodes = self._counts[topic]
        old = sum(nodes.values())
        nodes[node] = number
        if not number:
            del nodes[node]
        if not nodes:
            del self._counts[topic]
        new = sum(nodes.values())
        if old and not new:
            self._gone[topic, None] = self._clock() + NOTIFY_GRACE
        return old, new

    def _publish_change(self, topic: str, event: str, data: str, socket_id: str | None) -> None:
        message = Message(topic, event, data, socket_id, version=self.next_version())
        try:
            self._publish(message)
        except BroadcastError as exc:  # A loop that is behind: the change is made all the same.
            logger.warning("Could not publish %s in %s: %s", event, message.channel, exc)


class LocalPresence(Presence):
    """One loop's view of a `PresenceStore`."""

    is_shared = False

    def __init__(self, store: PresenceStore) -> None:
        self._store = store
        self._listener: Listener | None = None

    def connect(self, listener: Listener) -> None:
        """Give changes to `listener`."""
        self._listener = listener

    def close(self) -> None:
        """Remove what belongs to this loop."""
        self._listener = None
        self._store.forget(self)

    async def join(
        self, topic: str, entry: str, member: Member, *, socket_id: str, limit: int
    ) -> Members | None:
        members, changes = self._store.join(self, topic, entry, member, socket_id, limit)
        self._notify(changes)
        return members

    async def leave(self, topic: str, entry: str, *, grace: float = 0) -> None:
        self._store.leave(topic, entry, grace)

    async def count(self, sockets: Mapping[str, int]) -> Mapping[str, tuple[int, int]]:
        totals, changes = self._store.count(self, sockets)
        self._notify(changes)
        return totals

    async def members(self, topic: str) -> Members:
        return self._store.members(topic)

    async def sizes(self, topics: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        return self._store.sizes(topics)

    async def occupied(self, app_id: str, prefix: str = "") -> Mapping[str, int]:
        start = f"{app_id}:"
        found = self._store.occupied(start + prefix)
        return {topic.removeprefix(start): number for topic, number in found.items()}

    async def heartbeat(self, connections: Mapping[str, int]) -> Mapping[str, int]:
        return self._store.connect(self, connections)

    async def expire(self) -> None:
        self._notify(self._store.expire())

    def _notify(self, changes: list[PresenceChange]) -> None:
        if self._listener is not None:
            for change in changes:
                self._listener.changed(change)
