"""Who may join what: everybody, but not the channel that is closed."""

from broadcasting import channel_authorizer
from broadcasting.guests import Guest


@channel_authorizer("swaps.{name}", guests=True)
def swaps(user: Guest, name: str) -> bool:
    """Refuse one."""
    return name != "closed"
