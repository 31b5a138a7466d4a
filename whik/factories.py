"""Random users for /pub, and test data."""

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
    """A user with an English or Korean name who cannot log in."""

    class Meta:
        model = DemoUser
        exclude = ("handle",)

    class Params:
        korean = factory.Faker("pybool")

    first_name = _either("first_name")
    last_name = _either("last_name")
    handle = _either("user_name")
    # Random and not counted, since several processes make users in one database.
    username = factory.LazyAttribute(lambda user: f"{user.handle}-{secrets.token_hex(4)}")
    email = factory.LazyAttribute(lambda user: f"{user.handle}@example.com")
    # Unusable, since hashing a hundred passwords would take half a minute.
    password = factory.LazyFunction(lambda: make_password(None))


class RoomFactory(DjangoModelFactory[Room]):
    class Meta:
        model = Room

    name = factory.Sequence(lambda number: f"room-{number}")


class PersonFactory(DjangoModelFactory[Person]):
    class Meta:
        model = Person

    id = factory.LazyFunction(lambda: f"guest-{secrets.token_hex(16)}")
    name = factory.Sequence(lambda number: f"person-{number}")


class ChatMessageFactory(DjangoModelFactory[ChatMessage]):
    class Meta:
        model = ChatMessage

    room = factory.SubFactory(RoomFactory)
    author = factory.SubFactory(PersonFactory)
    text = factory.Faker("sentence")


class ThingFactory(DjangoModelFactory[Thing]):
    class Meta:
        model = Thing

    name = factory.Sequence(lambda number: f"thing-{number}")
