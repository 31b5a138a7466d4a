"""A broadcast that a fake recorded, and what a test expects of one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypedDict

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from ..channel import Channels, channel_names
from ..events.base import ShouldBroadcast
from ..events.notifications import BroadcastNotification, BroadcastNotificationCreated
from ..events.outgoing import OutgoingEvent
from ..events.payload import encode_payload
from ..protocol.messages import decode, encode

MAX_SHOWN = 200  # Characters of an event's data.

# A class, an equal event or notification, or the name that clients listen for.
Wanted: TypeAlias = (
    type[ShouldBroadcast]
    | ShouldBroadcast
    | type[BroadcastNotification]
    | BroadcastNotification
    | str
)


class CommitHook:
    """
    Stands among the commit hooks of a transaction in place of the event's own.

    A rollback, also one to a savepoint, removes it as it would remove that one.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._has_run = False
        connection.on_commit(self)

    def __call__(self) -> None:
        self._has_run = True

    @property
    def is_waiting(self) -> bool:
        """Whether neither commit nor rollback has come."""
        # The list of the connection that was used, whichever thread asks.
        return not self._has_run and self in _commit_hooks(self._connection)

    @property
    def is_dropped(self) -> bool:
        """Whether a rollback has removed it."""
        return not self._has_run and not self.is_waiting


def events_waiting_for_commit() -> list[str]:
    """Return the names of events that wait for a transaction of this thread."""
    used = connections.all(initialized_only=True)
    hooks = [hook for connection in used for hook in _commit_hooks(connection)]
    owners = [getattr(hook, "__self__", None) for hook in hooks]
    return [owner.event for owner in owners if isinstance(owner, OutgoingEvent)]


def _commit_hooks(connection: BaseDatabaseWrapper) -> list[object]:
    return [entry[1] for entry in connection.run_on_commit]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RecordedBroadcast:
    """
    One event that was broadcast.

    Attributes:
        event: The name that clients listen for.
        channels: Full names, each once.
        data: What clients receive: the decoded JSON, also of an encrypted channel.
        instance: The event itself, `None` for one without a class.
        to_others: Whether the page that sent the current request is left out.
        socket_id: That page's socket, `None` if there is none.
        connections: The aliases that it would be sent through.
        is_now: Whether it would be sent without waiting for a commit.
        queue: The queue in which it would wait for a worker, `None` for none.
        debounce: Seconds for which newer events might replace it. Each is recorded.
    """

    event: str
    channels: tuple[str, ...]
    data: Any
    instance: ShouldBroadcast | None = None
    to_others: bool = False
    socket_id: str | None = None
    connections: tuple[str, ...] = ()
    is_now: bool = False
    queue: str | None = None
    debounce: float = 0
    _hook: CommitHook | None = field(default=None, repr=False)

    @classmethod
    def of(cls, outgoing: OutgoingEvent, using: str | None, is_now: bool) -> "RecordedBroadcast":
        """Record `outgoing`, which would wait for the transaction under way on `using`."""
        connection = connections[using or DEFAULT_DB_ALIAS]
        waits = not is_now and connection.in_atomic_block
        return cls(
            event=outgoing.event,
            channels=outgoing.channels,
            data=decode(outgoing.data),
            instance=outgoing.instance,
            to_others=outgoing.to_others,
            socket_id=outgoing.socket_id,
            connections=tuple(outgoing.parts),
            is_now=is_now,
            queue=outgoing.queue,
            debounce=outgoing.debounce,
            _hook=CommitHook(connection) if waits else None,
        )

    @property
    def is_held(self) -> bool:
        """Whether it waits for a commit, as all do in a `TestCase`."""
        return self._hook is not None and self._hook.is_waiting

    @property
    def is_rolled_back(self) -> bool:
        """Whether it would never be sent, since its transaction was rolled back."""
        return self._hook is not None and self._hook.is_dropped

    def __str__(self) -> str:
        notes = {
            "to others": self.to_others,
            f"queued in {self.queue}": self.queue is not None,
            "held until commit": self.is_held,
            "rolled back": self.is_rolled_back,
        }
        text = f"{self.event} on {_listed(self.channels)}: {_shortened(encode(self.data))}"
        true = [note for note, holds in notes.items() if holds]
        return f"{text} ({', '.join(true)})" if true else text


class Conditions(TypedDict, total=False):
    """Conditions of an assertion, which must all hold. See `Broadcasts.assert_broadcast`."""

    on: Channels | Callable[[str], object] | None
    with_: Mapping[str, object] | Callable[[Any], object] | None
    to_others: bool | None
    via: str | None
    queue: str | bool | None
    where: Callable[[RecordedBroadcast], object] | None


@dataclass(frozen=True, slots=True)
class Expectation:
    """
    The broadcasts that a test asks for. Fields as of `Conditions`.

    Raises:
        TypeError: `what` is nothing that can be broadcast.
        ValueError: `on` is empty.
    """

    what: Wanted
    on: Channels | Callable[[str], object] | None = None
    with_: Mapping[str, object] | Callable[[Any], object] | None = None
    to_others: bool | None = None
    via: str | None = None
    queue: str | bool | None = None
    where: Callable[[RecordedBroadcast], object] | None = None

    def __post_init__(self) -> None:
        if issubclass(self._class, Model):
            raise TypeError(
                f"{self.what!r} is never broadcast: what happens to a row is. Name that, as in "
                f"'{self._class.__name__}Created'."
            )
        known = ShouldBroadcast | BroadcastNotification
        if not (isinstance(self.what, str) or issubclass(self._class, known)):
            raise TypeError(
                f"{self.what!r} is never broadcast. Name a ShouldBroadcast or a "
                f"BroadcastNotification, one that is equal, or the event's name for clients."
            )
        if self.on is not None and not callable(self.on) and not channel_names(self.on):
            raise ValueError("on=[] names no channel. Leave it out to ask for any.")

    def __str__(self) -> str:
        text = self.what.__name__ if isinstance(self.what, type) else str(self.what)
        if self.on is not None:
            text += f" on {_called(self.on) or _listed(channel_names(self.on))}"  # type: ignore[arg-type]  # No function here.
        if self.with_ is not None:
            text += f" with {_called(self.with_) or _shortened(encode(self._data))}"
        if self.to_others is not None:
            text += f" {_audience(self.to_others)}"
        if self.via is not None:
            text += f" via {self.via}"
        if self.queue is not None:
            text += f" {_queued(self.queue)}"
        if self.where is not None:
            text += f" where {_called(self.where)}"
        return text

    def is_about(self, record: RecordedBroadcast) -> bool:
        """Whether `record` is of this class or name, conditions left aside."""
        if isinstance(self.what, str):
            return record.event == self.what
        fired = self._fired(record)
        if isinstance(self.what, type):
            return isinstance(fired, self.what)
        return type(fired) is type(self.what)

    def misses(self, record: RecordedBroadcast) -> list[str]:
        """Return the conditions that `record` does not meet, each with what it has instead."""
        return list(self._misses(record))

    def _misses(self, record: RecordedBroadcast) -> Iterator[str]:
        fired = self._fired(record)
        if not isinstance(self.what, type | str) and fired != self.what:
            yield f"it is {fired!r}"
        yield from self._channel_misses(record.channels)
        if callable(self.with_):
            if not self.with_(record.data):
                yield f"{_called(self.with_)} is false of its data"
        elif self.with_ is not None:
            yield from _differences(self._data, record.data, "")
        if self.to_others is not None and self.to_others != record.to_others:
            yield _audience(record.to_others)
        if self.via is not None and self.via not in record.connections:
            yield f"via {_listed(record.connections)} instead of {self.via}"
        if self.queue is not None and self.queue not in (record.queue, record.queue is not None):
            yield f"{_queued(record.queue)} instead of {_queued(self.queue)}"
        if self.where is not None and not self.where(record):
            yield f"{_called(self.where)} is false of it"

    def _channel_misses(self, channels: tuple[str, ...]) -> Iterator[str]:
        if callable(self.on):
            if not any(self.on(channel) for channel in channels):
                yield f"on {_listed(channels)}, of which {_called(self.on)} is false"
        elif self.on is not None:
            missing = [name for name in channel_names(self.on) if name not in channels]
            if missing:
                yield f"on {_listed(channels)} instead of {_listed(missing)}"

    def _fired(self, record: RecordedBroadcast) -> object:
        """Return the event, or the notification that it carries if that is asked for."""
        fired = record.instance
        is_asked_for = issubclass(self._class, BroadcastNotification)
        if is_asked_for and isinstance(fired, BroadcastNotificationCreated):
            return fired.notification
        return fired

    @property
    def _class(self) -> type:
        return self.what if isinstance(self.what, type) else type(self.what)

    @property
    def _data(self) -> Any:
        # Through JSON, as the event's own data went: a UUID equals its text.
        return decode(encode_payload(self.with_, "with_"))


def _differences(expected: Any, actual: Any, path: str) -> Iterator[str]:
    """Yield what of `expected` is not in `actual`; objects may hold more, arrays may not."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for name, value in expected.items():
            below = f"{path}.{name}" if path else name
            if name in actual:
                yield from _differences(value, actual[name], below)
            else:
                yield f"without {below}"
    elif expected != actual:
        shown = (_shortened(encode(value)) for value in (actual, expected))
        yield "with {} {} instead of {}".format(path, *shown)


def _called(function: object) -> str:
    """Return the name of a function, nothing for another object."""
    return f"{getattr(function, '__name__', function)}()" if callable(function) else ""


def _listed(names: "tuple[str, ...] | list[str]") -> str:
    return ", ".join(names)


def _audience(to_others: bool) -> str:
    return "to others" if to_others else "to everybody"


def _queued(queue: str | bool | None) -> str:
    return f"queued in {queue}" if isinstance(queue, str) else "queued" if queue else "not queued"


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}\N{HORIZONTAL ELLIPSIS}"
