"""Who may join what."""

from broadcasting import channel_authorizer
from broadcasting.guests import Guest


@channel_authorizer("desk.{name}", guests=True)
def desk(user: Guest, name: str) -> bool:
    """Everybody may, at one desk."""
    return name == "open"
