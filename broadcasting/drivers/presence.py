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
    What the loops of a process have entered and counted. Hold `lock` to use it.

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
        self.lock = lock
        self.clock = clock
        self.users: dict[str, dict[str, _User]] = {}  # topic -> user id -> user
        self.entries: dict[tuple[str, str], tuple[object, str]] = {}  # -> loop's view, user id
        self.graces: dict[tuple[str, str], float] = {}  # (topic, user id) -> end
        # What left -> when listeners hear of it.
        self.gone: dict[tuple[str, str | None], float] = {}
        self.counts: dict[str, dict[object, int]] = defaultdict(dict)  # topic -> view -> sockets
        self.connections: dict[object, Mapping[str, int]] = {}
        self._publish = publish
        self._versions = count(1)

    def next_version(self) -> int:
        """Return a version greater than all before."""
        return next(self._versions)

    def members(self, topic: str) -> Members:
        """Return the members of `topic`."""
        users = self.users.get(topic, {})
        return Members({user_id: user.info for user_id, user in users.items()}, self.next_version())

    def leave(self, topic: str, entry: str, grace: float = 0) -> None:
        """Remove `entry`, and its user if that was the last one."""
        _, user_id = self.entries.pop((topic, entry), (None, None))
        if user_id is None:
            return
        user = self.users[topic][user_id]
        user.entries.discard(entry)
        if user.entries:
            return
        if grace > 0:
            self.graces[topic, user_id] = self.clock() + grace
        else:
            self.remove(topic, user_id)

    def remove(self, topic: str, user_id: str) -> None:
        """Remove a user who has no entry."""
        del self.users[topic][user_id]
        if not self.users[topic]:
            del self.users[topic]
        self.publish(topic, MEMBER_REMOVED, member_removed_data(user_id), None)
        self.gone[topic, user_id] = self.clock() + NOTIFY_GRACE

    def set_count(self, topic: str, view: object, number: int) -> tuple[int, int]:
        """Set the sockets of one loop. Return the old and the new total."""
        numbers = self.counts[topic]
        old = sum(numbers.values())
        numbers[view] = number
        if not number:
            del numbers[view]
        if not numbers:
            del self.counts[topic]
        new = sum(numbers.values())
        if old and not new:
            self.gone[topic, None] = self.clock() + NOTIFY_GRACE
        return old, new

    def publish(self, topic: str, event: str, data: str, socket_id: str | None) -> None:
        """Publish the message about a change, which is made in any case."""
        message = Message(topic, event, data, socket_id, version=self.next_version())
        try:
            self._publish(message)
        except BroadcastError as exc:  # A loop is behind.
            logger.warning("Could not publish %s in %s: %s", event, message.channel, exc)

    def forget(self, view: object) -> None:
        """Remove what a loop has entered and counted: it has ended."""
        with self.lock:
            self.connections.pop(view, None)
            for topic, entry in [key for key, (of, _) in self.entries.items() if of is view]:
                self.leave(topic, entry)
            for topic in [topic for topic, numbers in self.counts.items() if view in numbers]:
                self.set_count(topic, view, 0)


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
        store, user_id = self._store, member.user_id
        with store.lock:
            user = store.users.get(topic, {}).get(user_id)
            if is_new := user is None:
                if len(store.users.get(topic, {})) >= limit:
                    return None
                user = store.users.setdefault(topic, {})[user_id] = _User(member.info)
                data = member_added_data(user_id, member.info)
                store.publish(topic, MEMBER_ADDED, data, socket_id)
            user.info = member.info
            user.entries.add(entry)
            store.graces.pop((topic, user_id), None)
            store.entries[topic, entry] = self, user_id
            members = store.members(topic)
            # A listener does not hear of who comes back before it heard of the absence.
            is_news = is_new and store.gone.pop((topic, user_id), None) is None
        if is_news:
            self._notify("member_added", topic, user_id)
        return members

    async def leave(self, topic: str, entry: str, *, grace: float = 0) -> None:
        with self._store.lock:
            self._store.leave(topic, entry, grace)

    async def count(self, sockets: Mapping[str, int]) -> Mapping[str, tuple[int, int]]:
        store, news = self._store, []
        with store.lock:
            totals = {t: store.set_count(t, self, number) for t, number in sockets.items()}
            for topic, (old, new) in totals.items():
                if not old and new and store.gone.pop((topic, None), None) is None:
                    news.append(topic)
        for topic in news:
            self._notify("channel_occupied", topic)
        return totals

    async def members(self, topic: str) -> Members:
        with self._store.lock:
            return self._store.members(topic)

    async def sizes(self, topics: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        store = self._store
        with store.lock:
            return {
                topic: (sum(store.counts.get(topic, {}).values()), len(store.users.get(topic, {})))
                for topic in topics
            }

    async def occupied(self, app_id: str, prefix: str = "") -> Mapping[str, int]:
        start = f"{app_id}:"
        with self._store.lock:
            return {
                topic.removeprefix(start): sum(numbers.values())
                for topic, numbers in self._store.counts.items()
                if topic.startswith(start + prefix)
            }

    async def heartbeat(self, connections: Mapping[str, int]) -> Mapping[str, int]:
        totals: dict[str, int] = defaultdict(int)
        with self._store.lock:
            self._store.connections[self] = connections
            for of_view in self._store.connections.values():
                for app_id, number in of_view.items():
                    totals[app_id] += number
        return dict(totals)

    async def expire(self) -> None:
        store = self._store
        with store.lock:
            now = store.clock()
            for topic, user_id in [key for key, end in store.graces.items() if end <= now]:
                del store.graces[topic, user_id]
                store.remove(topic, user_id)
            due = [key for key, end in store.gone.items() if end <= now]
            for key in due:
                del store.gone[key]
        for topic, gone in due:
            self._notify("channel_vacated" if gone is None else "member_removed", topic, gone)

    def _notify(self, name: str, topic: str, user_id: str | None = None) -> None:
        if self._listener is not None:
            self._listener.changed(PresenceChange(name, topic, user_id))
