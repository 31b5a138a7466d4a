"""What a client asked for that needs more than the state machine: the hub's work."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Subscribe:
    """
    Join `channel`, then report back with `Connection.subscribed` or `.refused`.

    `attempt` is unique in its connection; the answer must carry it, so that one
    that comes after the client changed its mind is recognised as stale.
    """

    attempt: int
    channel: str


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Leave `channel`, whether its subscription was confirmed or still under way."""

    channel: str


Action = Subscribe | Unsubscribe
