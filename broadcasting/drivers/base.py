"""
The contracts of a connection's two ends.

A `Broadcaster` is the write end, which any process uses. A `Broker` is the read end, which
processes that serve sockets use. A driver defines both, so that names and encodings are
known in one place.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, Protocol, TypedDict, Unpack

from asgiref.sync import sync_to_async
from django.core.checks import CheckMessage

from ..applications import Application
from ..exceptions import BroadcastError, ChannelsRefused
from ..protocol.members import Member
from ..protocol.messages import Cached, Message, encode, topic_of
from ..protocol.names import is_cache, is_client_event
from ..retention import Retentions
from .diagnosis import Diagnosis

# Where `runserver` listens unless told otherwise.
DEFAULT_URL = "http://127.0.0.1:8000"

# The channel of each application on which server processes are given commands. Every hub
# listens to it. Clients cannot subscribe to it, and publishers cannot send to it.
CONTROL = "#control"
TERMINATE = "terminate"
RESTART = "restart"

CACHE_TTL = 1800.0  # Seconds that the last event of a cache channel is kept.
KEEP_NOTHING = Retentions()

# Seconds that a vacated channel and a removed member have to come back before listeners
# hear of the `PresenceChange` (Pusher, "Webhooks"). Messages to clients do not wait for it.
NOTIFY_GRACE = 3.0


def is_kept(message: Message) -> bool:
    """Return whether `message` becomes the last event of its channel. Client events do not."""
    return (
        is_cache(message.channel)
        and not is_client_event(message.event)
        and not message.event.startswith("pusher_internal:")
    )


class Common(TypedDict):
    """The arguments that the constructor of every driver passes on to `Broadcaster`."""

    app: Application
    first_app_id: str
    retentions: NotRequired[Retentions]


class Options(TypedDict, total=False):
    """The optional arguments of `Broadcaster.broadcast`."""

    socket_id: str | None
    message_id: str | None
    is_transient: bool


class Broadcaster(ABC):
    """
    The write end of a connection.

    A process has one for each alias, made on first use and shared by all threads, so every
    method must be thread-safe. The connection's options arrive as keyword arguments in
    lower case.

    Args:
        app: The application that the connection publishes for.
        first_app_id: The id of the first application. Some drivers give its channels their
            bare names on the bus.
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

    async def abroadcast(
        self, channels: Sequence[str], event: str, data: str, **options: Unpack[Options]
    ) -> None:
        """`broadcast`, without blocking the event loop."""
        call = sync_to_async(self.broadcast, thread_sensitive=False)
        await call(channels, event, data, **options)

    def make_messages(
        self, channels: Sequence[str], event: str, data: str, options: Options
    ) -> list[Message]:
        """Return what `broadcast` sends: a message for each channel."""
        socket_id = options.get("socket_id")
        topics = [topic_of(self.app.id, channel) for channel in channels]
        return [Message(topic, event, data, socket_id) for topic in topics]

    def terminate_user_connections(self, user_id: str) -> None:
        """
        Close every socket on which `user_id` is signed in, in all server processes.

        Raises:
            BroadcastError: The servers could not be reached.
        """
        self.broadcast([CONTROL], TERMINATE, encode(user_id))

    @property
    def posts_to(self) -> str | None:
        """The server's address if the bus ends at its process and others must post to it."""
        return None

    @property
    def can_be_read(self) -> bool:
        """Whether there is a read end. Some drivers only write."""
        return type(self).get_broker is not Broadcaster.get_broker

    def get_broker(self) -> "Broker":
        """Return a new read end for the running event loop."""
        raise NotImplementedError(f"{type(self).__name__} has no read end")

    def check(self) -> list[CheckMessage]:
        """Return what is wrong with the connection's settings. No network is used."""
        return []

    def diagnose(self) -> list[Diagnosis]:
        """Return what is found where the connection leads. This may take seconds."""
        return []

    def close(self) -> None:  # noqa: B027 (most drivers hold nothing)
        """Close connections and end threads. The object is not used again."""


def raise_refused(refused: Mapping[str, BroadcastError], channels: int) -> None:
    """
    Raise what `Broadcaster.broadcast` must if some channels are without the event.

    Args:
        refused: Why, by channel.
        channels: How many channels there were.
    """
    if len(refused) == channels:
        raise next(iter(refused.values()))
    if refused:
        raise ChannelsRefused(refused)


@dataclass(frozen=True, slots=True)
class Members:
    """
    The members of a presence channel.

    Attributes:
        infos: What others see of each user, by user id, as JSON text.
        version: As of a `Message`. Changes with a greater version are not in `infos`.
    """

    infos: Mapping[str, str]
    version: int


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """
    A topic became occupied or vacant, or a member came or went.

    Attributes:
        name: ``channel_occupied``, ``channel_vacated``, ``member_added`` or
            ``member_removed``.
        user_id: The member who came or went.
    """

    name: str
    topic: str
    user_id: str | None = None


class Listener(Protocol):
    """
    What a broker reads for: the hub of its loop.

    Every method is called on the loop, returns at once and does not raise.
    """

    def deliver(self, message: Message) -> object:
        """Take a message of a subscribed topic."""

    def changed(self, change: PresenceChange) -> None:
        """Take a change. One process of the cluster hears of each."""

    def recount(self, topic: str) -> None:
        """
        Announce the number of subscribers of `topic` to them.

        It changed without a call of `Presence.count`, as when a dead process is removed.
        """


class Presence(ABC):
    """
    The sockets of each topic and the users behind them.

    A change and its message on the topic are one atomic step. The message has a version and
    is published once in the cluster: ``member_added`` when a user's first entry joins,
    ``member_removed`` when the last one has left. An *entry* is one subscription of one
    socket. Its name is unique in the cluster and is not used again, so a late leave cannot
    undo a later join.

    Entries belong to the process that made them. After the loss of a bus its processes
    enter them again. After the death of a process, when it was not heard of for 20 s,
    `expire` of any other process removes them.

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
        Enter `member`. Return all members, or `None` if the topic has `limit` users.

        A user who is a member already can always join, and the newest information counts.
        `socket_id` does not receive the message.
        """

    @abstractmethod
    async def leave(self, topic: str, entry: str, *, grace: float = 0) -> None:
        """
        Remove `entry`, if it is there.

        If it was its user's last one, the user stays for `grace` seconds. A join meanwhile
        is no change.
        """

    @abstractmethod
    async def count(self, sockets: Mapping[str, int]) -> Mapping[str, tuple[int, int]]:
        """
        Store how many sockets *of this process* each topic has now.

        Return the former and the new number in the cluster, for the topics that could be
        stored at once.
        """

    @abstractmethod
    async def members(self, topic: str) -> Members:
        """Return the members of `topic`."""

    @abstractmethod
    async def sizes(self, topics: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        """Return the numbers of sockets and of users of each topic."""

    @abstractmethod
    async def occupied(self, app_id: str, prefix: str = "") -> Mapping[str, int]:
        """Return the application's channels that have sockets, with their number."""

    @abstractmethod
    async def heartbeat(self, connections: Mapping[str, int]) -> Mapping[str, int]:
        """
        Store that this process lives, and its number of connections by application id.

        Return the numbers of the whole cluster. Called every 5 seconds.
        """

    @abstractmethod
    async def expire(self) -> None:
        """End graces that are over, and remove what dead processes left. Called each second."""


class Broker(ABC):
    """
    The read end of a connection, for one event loop.

    Every method is called on that loop. `connect` comes before `subscribe`; the other
    methods and `presence` need no `connect`. The messages of a topic are delivered in the
    order in which the bus took them, each at most once.

    Attributes:
        is_shared: Whether messages of other processes arrive.
        supports_cache: Whether the last event of a cache channel is kept.
        presence: The presence on this bus.
        is_up: Whether the bus answers, as far as is known.
        reconnects: How often the bus was lost and found again.
    """

    is_shared: bool
    supports_cache: bool = False
    presence: Presence
    is_up: bool = True
    reconnects: int = 0

    @abstractmethod
    async def connect(self, listener: Listener) -> None:
        """
        Begin to read for `listener`.

        Return without waiting for a server that is away. The broker goes on trying, and
        logs one line when it loses its bus and one when the bus is back.
        """

    @abstractmethod
    async def close(self) -> None:
        """End. Messages under way are dropped, and this process's entries removed."""

    @abstractmethod
    async def subscribe(self, topic: str) -> None:
        """
        Return once messages of `topic` are certain to arrive.

        A subscription outlives a lost bus.

        Raises:
            BroadcastError: The bus did not confirm within a few seconds.
        """

    @abstractmethod
    async def unsubscribe(self, topic: str) -> None:
        """Stop receiving `topic`. Does not raise."""

    @abstractmethod
    async def publish(self, message: Message) -> None:
        """
        Send `message` to every process that listens, this one included.

        The last event of a cache channel is kept, unless a client sent it. Calls that are
        awaited one after the other are delivered in that order.

        Raises:
            PublisherBusy: Too many messages wait already; nothing was sent.
            BroadcastError: The bus did not take this message. It may have taken others
                that were published at the same time.
        """

    async def cached(self, topic: str) -> Cached | None:
        """Return the last event of a cache channel, `None` if there is none."""
        return None

    async def acquire_lease(self, name: str, seconds: float) -> bool:
        """
        Acquire or prolong the lease `name`, which one process holds at a time.

        Return whether this process holds it now, for `seconds` at most. Where the bus ends
        at the process every process holds it.

        Raises:
            BroadcastError: The bus is away.
        """
        return True

    async def release_lease(  # noqa: B027 (where every process holds it, it has no end)
        self, name: str, after: float = 0
    ) -> None:
        """Release the lease, `after` so many seconds. Does not raise."""
