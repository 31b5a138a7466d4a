"""
The contracts of a connection's two ends.

A `Broadcaster` is the write end, used by any process; a `Broker` the read end, used
by processes that serve sockets. Both live in one driver file, so that names and
encodings are known in one place.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, Protocol, TypedDict

from asgiref.sync import sync_to_async
from django.core.checks import CheckMessage

from ..applications import Application
from ..exceptions import BroadcastError, ChannelsRefused
from ..protocol.members import Member
from ..protocol.messages import Cached, Message, encode
from ..protocol.names import is_cache, is_client_event
from ..retention import Retentions
from .diagnosis import Diagnosis

# Where `runserver` listens unless told otherwise.
DEFAULT_URL = "http://127.0.0.1:8000"

# What server processes tell each other about an application. Every hub listens to this
# channel of each; its name is none that a client could join or a publisher send to.
CONTROL = "#control"
TERMINATE = "terminate"
RESTART = "restart"

KEEP_NOTHING = Retentions()
CACHE_TTL = 1800.0  # Seconds that the last event of a cache channel is kept.


def is_kept(message: Message) -> bool:
    """Return whether `message` becomes the last event of its channel. Client events do not."""
    return (
        is_cache(message.channel)
        and not is_client_event(message.event)
        and not message.event.startswith("pusher_internal:")
    )


class Common(TypedDict):
    """The arguments that every driver hands on to `Broadcaster`."""

    app: Application
    first_app_id: str
    retentions: NotRequired[Retentions]


def raise_refused(refused: Mapping[str, BroadcastError], channels: int) -> None:
    """
    Raise what `Broadcaster.broadcast` must if some of its `channels` are without the event.

    Args:
        refused: Why, by channel.
        channels: How many there were.
    """
    if len(refused) == channels:
        raise next(iter(refused.values()))
    if refused:
        raise ChannelsRefused(refused)


class Broadcaster(ABC):
    """
    The write end of a connection.

    One object per alias and process, made on first use, shared by all threads; so
    every method must be thread-safe. Options of the connection arrive as keyword
    arguments in lower case.

    Args:
        app: The application that the connection publishes for.
        first_app_id: The id of the first application, whose names some drivers
            leave unadorned on the bus.
        retentions: What the connection keeps of each channel's events.
    """

    def __init__(
        self, *, app: Application, first_app_id: str, retentions: Retentions = KEEP_NOTHING
    ) -> None:
        self.app = app
        self.first_app_id = first_app_id
        self.retentions = retentions

    @abstractmethod
    def broadcast(
        self,
        channels: Sequence[str],
        event: str,
        data: str,
        *,
        socket_id: str | None = None,
        message_id: str | None = None,
        is_transient: bool = False,
    ) -> None:
        """
        Send one event to `channels`.

        The calls of one thread are delivered in their order on each channel. On return
        the bus has taken the event; that somebody received it is not promised.

        Args:
            channels: Full names, valid and distinct.
            event: The name that clients listen for.
            data: JSON text, which subscribers receive as the event's data.
            socket_id: The one socket that must not receive the event.
            message_id: The event's own id, the same for any number of tries. A driver
                that keeps events sends no event twice under one id.
            is_transient: Whether the event is not to be kept for those who come later.

        Raises:
            ChannelsRefused: Some of the channels were refused; the others have the event.
            BroadcastError: No channel has the event, as far as is known.
        """

    def terminate_user_connections(self, user_id: str) -> None:
        """
        Close every socket that is signed in as `user_id`, in all server processes.

        Raises:
            BroadcastError: The servers could not be told.
        """
        self.broadcast([CONTROL], TERMINATE, encode(user_id))

    async def abroadcast(
        self,
        channels: Sequence[str],
        event: str,
        data: str,
        *,
        socket_id: str | None = None,
        message_id: str | None = None,
        is_transient: bool = False,
    ) -> None:
        """`broadcast`, without blocking the event loop."""
        await sync_to_async(self.broadcast, thread_sensitive=False)(
            channels,
            event,
            data,
            socket_id=socket_id,
            message_id=message_id,
            is_transient=is_transient,
        )

    @property
    def posts_to(self) -> str | None:
        """Where processes that serve no sockets post to, if the bus ends at the process."""
        return None

    @property
    def can_be_read(self) -> bool:
        """Whether `get_broker` returns a read end. Some drivers only write."""
        return type(self).get_broker is not Broadcaster.get_broker

    def get_broker(self) -> "Broker":
        """Return a new read end for the running event loop."""
        raise NotImplementedError(f"{type(self).__name__} has no read end")

    def check(self) -> list[CheckMessage]:
        """Return what is wrong with the connection's settings, without touching a network."""
        return []

    def diagnose(self) -> list[Diagnosis]:
        """
        Look at what the connection leads to, over the network, and return what was found.

        For people who ask what is wrong; it may take seconds. Never called in a loop.
        """
        return []

    def close(self) -> None:  # noqa: B027 (most drivers hold nothing)
        """Close connections and end threads. The object is not used again."""


@dataclass(frozen=True, slots=True)
class Members:
    """
    Who is in a presence channel.

    Attributes:
        infos: What others are told of each user, by user id, as JSON text.
        version: As of a `Message`: changes with a greater one are not in `infos`.
    """

    infos: Mapping[str, str]
    version: int


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """
    A topic became occupied or vacant, or a member came or went.

    One process of the cluster hears of it.

    Attributes:
        name: ``channel_occupied``, ``channel_vacated``, ``member_added`` or
            ``member_removed``.
        user_id: The member, where one came or went.
    """

    name: str
    topic: str
    user_id: str | None = None


# Seconds that a vacated channel and a removed member have to come back before listeners
# hear of the `PresenceChange` (Pusher, "Webhooks"). Messages to clients do not wait for it.
NOTIFY_GRACE = 3.0


class Listener(Protocol):
    """
    What a broker reads for: the hub of the loop.

    Every method is called on the loop and returns at once; none may raise.
    """

    def deliver(self, message: Message) -> object:
        """Take a message of a topic that is subscribed to."""

    def changed(self, change: PresenceChange) -> None:
        """Take a change that no other process of the cluster is given."""

    def recount(self, topic: str) -> None:
        """
        Announce to the subscribers of `topic` how many there are.

        Called where that number changed and no process knows that it changed it, as when
        a dead process is removed.
        """


class Presence(ABC):
    """
    Who is there: the sockets of each topic, and the users behind them.

    Every change is one atomic step that also publishes its message on the topic, with
    a version, once in the cluster: ``member_added`` when a user's first entry joins,
    ``member_removed`` when the last has left. An *entry* is one subscription of one
    socket; its name is unique in the cluster and never used again, so a late leave
    cannot undo a later join.

    Entries belong to the process that made them. They outlive a lost bus, which is
    told everything again when it is back, but not their process: `expire` of any other
    one removes what a process left behind that has not been heard of for 20 s.

    Every method is called on the loop. All but `leave` and `count`, which try again by
    themselves, raise `BroadcastError` when the bus is away.

    Attributes:
        is_shared: Whether the entries of all server processes are seen.
    """

    is_shared: bool

    @abstractmethod
    async def join(
        self, topic: str, entry: str, member: Member, *, socket_id: str, limit: int
    ) -> Members | None:
        """
        Enter `member` and return all members, or `None`: the topic has `limit` users.

        A user who is there already may always join; the newest information counts.
        The message about it leaves out `socket_id`.
        """

    @abstractmethod
    async def leave(self, topic: str, entry: str, *, grace: float = 0) -> None:
        """
        Take `entry` out; an unknown one is fine.

        With `grace`, a user whose last entry this was stays for so many seconds, and
        nobody is told anything if one joins meanwhile.
        """

    @abstractmethod
    async def count(self, sockets: Mapping[str, int]) -> Mapping[str, tuple[int, int]]:
        """
        Note how many sockets *of this process* each topic has now.

        Return the former and the new number in the cluster for those that could be
        noted at once.
        """

    @abstractmethod
    async def members(self, topic: str) -> Members:
        """Return who is in `topic`."""

    @abstractmethod
    async def sizes(self, topics: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        """Return the sockets and the users of each of `topics`."""

    @abstractmethod
    async def occupied(self, app_id: str, prefix: str = "") -> Mapping[str, int]:
        """Return the application's channels that have sockets, with their number."""

    @abstractmethod
    async def heartbeat(self, connections: Mapping[str, int]) -> Mapping[str, int]:
        """
        Say that this process lives and has so many `connections` by application id.

        Return those of the whole cluster. Called every 5 seconds.
        """

    @abstractmethod
    async def expire(self) -> None:
        """End graces that are over, and remove what dead processes left. Called each second."""


class Broker(ABC):
    """
    The read end of a connection, for one event loop.

    Every method is called on that loop. `connect` comes before `subscribe`;
    `publish`, `cached` and the questions to `presence` may come alone. Per topic,
    messages are delivered in the order in which the bus took them, at most once each.

    Attributes:
        is_shared: Whether other processes' messages arrive here.
        supports_cache: Whether the last event of cache channels is kept.
        presence: Who is there.
        is_up: Whether the bus answers, as far as is known.
        reconnects: How often it was lost and found again.
    """

    is_shared: bool
    supports_cache: bool = False
    presence: Presence
    is_up: bool = True
    reconnects: int = 0

    async def acquire_lease(self, name: str, seconds: float) -> bool:
        """
        Try to become, or stay, the only process that does `name`, for `seconds` at most.

        Return whether this process holds the lease now; one that does not may ask again.
        Where the bus ends at the process every process holds it.

        Raises:
            BroadcastError: The bus is away.
        """
        return True

    async def release_lease(  # noqa: B027 (where every process holds it, it has no end)
        self, name: str, after: float = 0
    ) -> None:
        """Give the lease back, so that others may have it `after` so many seconds. Never raises."""

    async def cached(self, topic: str) -> Cached | None:
        """Return the last event of a cache channel, `None` if there is none."""
        return None

    @abstractmethod
    async def connect(self, listener: Listener) -> None:
        """
        Begin to read for `listener`.

        Return without waiting for a server that is away: the broker goes on trying,
        with one line in the log when it loses its bus and one when it is back.
        """

    @abstractmethod
    async def close(self) -> None:
        """Stop reading and give everything back. Messages under way are dropped."""

    @abstractmethod
    async def subscribe(self, topic: str) -> None:
        """
        Return once messages of `topic` are certain to arrive.

        The subscription outlives a lost bus: it is made again with the connection.

        Raises:
            BroadcastError: The bus did not confirm within a few seconds.
        """

    @abstractmethod
    async def unsubscribe(self, topic: str) -> None:
        """Stop receiving `topic`. Does not raise when the bus is away."""

    @abstractmethod
    async def publish(self, message: Message) -> None:
        """
        Send `message` to every process that listens, this one included.

        An event of a cache channel is kept, unless a client sent it.

        Calls that are awaited one after the other are delivered in that order.

        Raises:
            PublisherBusy: Too many messages wait already; nothing was sent.
            BroadcastError: The bus did not take it.
        """
