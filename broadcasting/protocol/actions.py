"""The work of the hub that a client has asked for."""

from dataclasses import dataclass

from .members import Member, User


@dataclass(frozen=True, slots=True)
class Subscribe:
    """
    Join `channel`, then call `Connection.subscribed` or `Connection.refuse`.

    The answer must carry `attempt`, which is unique in its connection, so that a late one
    is recognised. `member` is who joins a presence channel, `None` on all others.
    """

    attempt: int
    channel: str
    member: Member | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Leave `channel`, whether its subscription was confirmed or is under way."""

    channel: str


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """Send `event` to the other subscribers of `channel`. `user_id` is that of the member."""

    channel: str
    event: str
    data: str
    user_id: str | None


@dataclass(frozen=True, slots=True)
class SignIn:
    """Count the socket as one of `user`'s. The client was sent the confirmation."""

    user: User


Action = Subscribe | Unsubscribe | ClientEvent | SignIn
