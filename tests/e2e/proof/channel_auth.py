"""Who may join what in the proofs."""

from broadcasting import channel_authorizer
from broadcasting.guests import Guest


@channel_authorizer("proof.{name}", guests=True)
def proof(user: Guest, name: str) -> dict[str, str]:
    """Everybody may; others are told the last four characters of their id."""
    return {"name": user.id[-4:]}
