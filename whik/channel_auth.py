"""Who may subscribe to which channel, and what other members learn about them."""

from django.contrib.auth.models import AbstractBaseUser

from broadcasting import channel_authorizer, user_authenticator
from broadcasting.guests import Guest

from .models import Room
from .people import person_of


# shown
@channel_authorizer("chat.{room}", guests=True)
def chat(user: AbstractBaseUser | Guest, room: Room) -> dict[str, str]:
    person = person_of(user)
    room.visit(person)
    return {"id": person.id, "name": person.name}


# end


@user_authenticator(guests=True)
def sign_in(user: AbstractBaseUser | Guest) -> dict[str, str]:
    """Sign everybody in, so that they can receive private messages."""
    return {"id": person_of(user).id}
