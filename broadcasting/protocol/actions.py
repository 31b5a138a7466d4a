"""What a client asked for that needs more than the state machine: the hub's work."""

from dataclasses import dataclass

from .members import Member, User


@dataclass(frozen=True, slots=True)
class Subscribe:
    """
    Join `channel`, then report back with `Connection.subscribed` or `.refused`.

    `attempt` is unique in its connection; the answer must carry it, so that one
    that comes after the client changed its mind is recognised as stale. `member` is
    who joins a presence channel, `None` on all others.
    """

    attempt: int
    channel: str
    member: Member | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Leave `channel`, whether its subscription was confirmed or still under way."""

    channel: str


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """Send `event` to the other subscribers of `channel`; `user_id` is who the member is."""

    channel: str
    event: str
    data: str
    user_id: str | None


@dataclass(frozen=True, slots=True)
class SignIn:
    """Take note that the socket is now one of `user`'s; the client has been told."""

    user: User


Action = Subscribe | Unsubscribe | ClientEvent | SignIn
