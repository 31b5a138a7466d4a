"""Users who have signed in on sockets of a hub, and those who watch them."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from itertools import count
from typing import Any, Protocol

from ..applications import Application
from ..drivers.base import Presence
from ..protocol.errors import ClosingError
from ..protocol.members import Member
from ..protocol.messages import Frame
from .topics import Socket, Topics


class Client(Protocol):
    """The session behind a socket, as the hub sees it."""

    @property
    def app(self) -> Application | None: ...
    @property
    def socket_id(self) -> str: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def close_code(self) -> int | None: ...

    def tick(self, now: float) -> None:
        """Do what is due at time `now`."""

    def close(self, error: ClosingError) -> None:
        """End the connection with the code of `error`."""


class Users:
    """
    The signed-in users of one hub.

    A user is online while the presence has an entry in the topic of that user. Those
    who watch the user are subscribed to this topic.
    """

    def __init__(
        self,
        topics: Topics,
        presence: Presence,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._topics = topics
        self._presence = presence
        self._spawn = spawn
        self._clients: dict[tuple[str, str], set[Client]] = {}  # By application and user.
        self._online: dict[str, tuple[str, str]] = {}  # Socket id -> topic, entry.
        self._entries = count(1)

    def add(self, client: Client) -> None:
        """Note that `client` has signed in."""
        if client.app is not None and client.user_id is not None:
            self._clients.setdefault((client.app.id, client.user_id), set()).add(client)

    def remove(self, client: Client) -> None:
        """Forget a client. One that has not signed in is fine."""
        if client.app is not None and client.user_id is not None:
            key = client.app.id, client.user_id
            clients = self._clients.get(key, set())
            clients.discard(client)
            if not clients:
                self._clients.pop(key, None)

    def clients_of(self, app_id: str, user_id: str) -> Iterable[Client]:
        """Return the clients on which a user has signed in."""
        return tuple(self._clients.get((app_id, user_id), ()))

    async def come_online(self, socket_id: str, name: str, user_id: str) -> bool:
        """
        Announce to those who watch the topic `name` that the user is online.

        Return whether the socket still is: `go_offline` may be called meanwhile.
        """
        entry = f"{socket_id}:{next(self._entries)}"
        self._online[socket_id] = name, entry
        await self._presence.join(name, entry, Member(user_id), socket_id=socket_id, limit=1)
        if self._online.get(socket_id) != (name, entry):
            await self._presence.leave(name, entry)
            return False
        return True

    def go_offline(self, socket_id: str, *, grace: float = 0) -> None:
        """Undo `come_online`; with `grace`, unless the user is back in so many seconds."""
        online = self._online.pop(socket_id, None)
        if online is not None:
            self._spawn(self._presence.leave(*online, grace=grace))

    async def watch(
        self, socket: Socket, socket_id: str, names: Sequence[str]
    ) -> tuple[set[str], list[Frame]] | None:
        """
        Subscribe `socket` to the users whose topics are `names`.

        Return the topics of those who are online, and frames of who came and went since.
        The caller must send both before it awaits anything. `None` means that the socket
        has gone meanwhile. `Hub.unsubscribe` ends it, topic by topic.

        Raise `BroadcastError` if the bus did not confirm; the socket watches nobody then.
        """
        entered = [self._topics.enter(name, socket, socket_id) for name in names]
        try:
            await asyncio.gather(*(self._topics.join(each.topic, each) for each in entered))
            members = await asyncio.gather(*map(self._presence.members, names))
        except BaseException:
            for subscription in entered:
                self._topics.withdraw(subscription)
            raise
        if not all(subscription.is_buffering for subscription in entered):
            return None
        online: set[str] = set()
        frames: list[Frame] = []
        for subscription, present in zip(entered, members, strict=True):
            if present.infos:
                online.add(subscription.topic.name)
            frames += subscription.go_live(present, None)
        return online, frames
