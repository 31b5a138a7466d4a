"""What presence ought to do, as simply as it can be said."""

from collections.abc import Iterable

from broadcasting.drivers.base import PresenceChange

TOPICS = ("1:presence-a", "1:presence-b", "2:presence-a")
USERS = ("7", "8", "휙", "__proto__", "a\nb")
LIMIT = 4
GRACE = 50.0  # Seconds.


class Model:
    """
    The topics, their users and sockets.

    Attributes:
        now: Seconds.
        messages: What was told, as ``("+", topic, user id)``.
        changes: What was reported.
    """

    def __init__(self, report_grace: float) -> None:
        self.now = 0.0
        self.messages: list[tuple[str, str, str]] = []
        self.changes: list[PresenceChange] = []
        self.entries: dict[tuple[str, str], tuple[int, str]] = {}  # -> node, user id
        self._report_grace = report_grace
        self._infos: dict[tuple[str, str], str] = {}
        self._graces: dict[tuple[str, str], float] = {}
        self._gone: dict[tuple[str, str | None], float] = {}
        self._sockets: dict[tuple[int, str], int] = {}

    def infos(self, topic: str) -> dict[str, str]:
        """Return the members."""
        return {user: info for (of, user), info in self._infos.items() if of == topic}

    def sizes(self, topic: str) -> tuple[int, int]:
        """Return sockets and users."""
        sockets = sum(number for (_, of), number in self._sockets.items() if of == topic)
        return sockets, len(self.infos(topic))

    def join(
        self, node: int, topic: str, entry: str, user_id: str, info: str, limit: int
    ) -> dict[str, str] | None:
        """Return the members, `None` if there are too many."""
        if (topic, user_id) not in self._infos:
            if len(self.infos(topic)) >= limit:
                return None
            self.messages.append(("+", topic, user_id))
            self._came(PresenceChange("member_added", topic, user_id))
        self._infos[topic, user_id] = info
        self._graces.pop((topic, user_id), None)
        self.entries[topic, entry] = node, user_id
        return self.infos(topic)

    def leave(self, topic: str, entry: str, grace: float) -> None:
        """Take an entry out."""
        _, user_id = self.entries.pop((topic, entry), (None, ""))
        is_there = any(of == topic and user == user_id for (of, _), (_, user) in self._items())
        if (topic, user_id) in self._infos and not is_there:
            if grace:
                self._graces[topic, user_id] = self.now + grace
            else:
                self._remove(topic, user_id)

    def count(self, node: int, topic: str, number: int) -> tuple[int, int]:
        """Return the old and the new total."""
        old, _ = self.sizes(topic)
        self._sockets[node, topic] = number
        new, _ = self.sizes(topic)
        if new and not old:
            self._came(PresenceChange("channel_occupied", topic))
        if old and not new:
            self._gone[topic, None] = self.now + self._report_grace
        return old, new

    def die(self, node: int) -> None:
        """Remove what is the node's."""
        for (topic, entry), (of, _) in self._items():
            if of == node:
                self.leave(topic, entry, 0)
        for of, topic in list(self._sockets):
            if of == node:
                self.count(node, topic, 0)

    def expire(self) -> None:
        """Do what is due."""
        self._end_graces()
        for topic, user_id in [key for key, end in self._gone.items() if end <= self.now]:
            del self._gone[topic, user_id]
            name = "channel_vacated" if user_id is None else "member_removed"
            self.changes.append(PresenceChange(name, topic, user_id))

    def _items(self) -> list[tuple[tuple[str, str], tuple[int, str]]]:
        return list(self.entries.items())

    def _end_graces(self) -> None:
        for topic, user_id in [key for key, end in self._graces.items() if end <= self.now]:
            del self._graces[topic, user_id]
            self._remove(topic, user_id)

    def _remove(self, topic: str, user_id: str) -> None:
        del self._infos[topic, user_id]
        self.messages.append(("-", topic, user_id))
        self._gone[topic, user_id] = self.now + self._report_grace

    def _came(self, change: PresenceChange) -> None:
        if self._gone.pop((change.topic, change.user_id), None) is None:
            self.changes.append(change)


def in_order_of_each(messages: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Return `messages` by topic and user, each user's in their order."""
    return sorted(messages, key=lambda message: message[1:])


def changes_of_each(changes: Iterable[PresenceChange]) -> list[PresenceChange]:
    """Return `changes` by topic and user, each user's in their order."""
    return sorted(changes, key=lambda change: (change.topic, change.user_id or ""))
