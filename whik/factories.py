"""Made-up people, for /pub and for tests."""

import secrets

import factory
from django.contrib.auth.hashers import make_password
from factory.django import DjangoModelFactory

from .models import ChatMessage, DemoUser, Person, Room, Thing


def _either(provider: str) -> factory.Maybe:
    return factory.Maybe(
        "korean",
        yes_declaration=factory.Faker(provider, locale="ko_KR"),
        no_declaration=factory.Faker(provider, locale="en_US"),
    )


class UserFactory(DjangoModelFactory[DemoUser]):
    """A user with an English or a Korean name, who can never log in."""

    class Meta:
        model = DemoUser
        exclude = ("handle",)

    class Params:
        korean = factory.Faker("pybool")

    first_name = _either("first_name")
    last_name = _either("last_name")
    handle = _either("user_name")
    # Random, not counted: several processes make users in one database.
    username = factory.LazyAttribute(lambda user: f"{user.handle}-{secrets.token_hex(4)}")
    email = factory.LazyAttribute(lambda user: f"{user.handle}@example.com")
    # Unusable, so that nothing is hashed: a hundred hashes would take half a minute.
    password = factory.LazyFunction(lambda: make_password(None))


class RoomFactory(DjangoModelFactory[Room]):
    """A room of its own."""

    class Meta:
        model = Room

    name = factory.Sequence(lambda number: f"room-{number}")


class PersonFactory(DjangoModelFactory[Person]):
    """A guest with a name of their own."""

    class Meta:
        model = Person

    id = factory.LazyFunction(lambda: f"guest-{secrets.token_hex(16)}")
    name = factory.Sequence(lambda number: f"person-{number}")


class ChatMessageFactory(DjangoModelFactory[ChatMessage]):
    """Something said to all in a room."""

    class Meta:
        model = ChatMessage

    room = factory.SubFactory(RoomFactory)
    author = factory.SubFactory(PersonFactory)
    text = factory.Faker("sentence")


class ThingFactory(DjangoModelFactory[Thing]):
    """A thing with a name of its own."""

    class Meta:
        model = Thing

    name = factory.Sequence(lambda number: f"thing-{number}")
