"""The users that the demo makes, its chat, and its list of things."""

from datetime import timedelta
from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from broadcasting import BroadcastsModelEvents, Channel

from .names import MAX_KEY, MAX_ROOM_NAME, MAX_THING_NAME, key_of

MAX_MESSAGE = 500
# Long enough for a name of an account; guests choose shorter ones.
MAX_NAME = 40


class DemoUser(User):
    """Django's user with a `name`, and the fields that may be broadcast."""

    broadcast_fields = ["id", "username", "name", "email", "date_joined"]

    class Meta:
        proxy = True

    @property
    def name(self) -> str:
        """The full name, in Korean with the family name first and without a space."""
        if "가" <= self.last_name[:1] <= "힣":
            return self.last_name + self.first_name
        return self.get_full_name() or self.username


class Room(models.Model):
    """A chat room. Its id names the channel, its name the address."""

    name = models.CharField(max_length=MAX_ROOM_NAME)
    # Lobby and lobby are one room.
    key = models.CharField(max_length=MAX_KEY, unique=True, editable=False)
    made_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.key = key_of(self.name)
        super().save(*args, **kwargs)

    def get_absolute_url(self) -> str:
        return reverse("room", args=[self.name])

    def messages_for(self, person: "Person") -> models.QuerySet["ChatMessage"]:
        """Return the messages that `person` may read: public ones and their own."""
        theirs = Q(recipient=None) | Q(recipient=person) | Q(author=person)
        return self.messages.filter(theirs).select_related("author", "recipient")

    def visit(self, person: "Person") -> None:
        """Note that `person` is here. It is written at most once a minute."""
        now = timezone.now()
        visit, is_first = Visit.objects.get_or_create(room=self, person=person)
        if not is_first and visit.seen_at < now - timedelta(minutes=1):
            Visit.objects.filter(pk=visit.pk).update(seen_at=now)


class Person(models.Model):
    """
    A user or guest who chats.

    The name is up to date. That in a presence channel's member info was signed when the
    person joined.

    Attributes:
        id: The id in channels: the primary key of a user as text, or a guest's id.
    """

    id = models.CharField(primary_key=True, max_length=64)
    name = models.CharField(max_length=MAX_NAME)
    key = models.CharField(max_length=MAX_KEY, db_index=True, editable=False)
    seen_at = models.DateTimeField(default=timezone.now)

    broadcast_fields: ClassVar = ["id", "name"]

    class Meta:
        verbose_name_plural = "people"

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.key = key_of(self.name)
        super().save(*args, **kwargs)

    @property
    def is_guest(self) -> bool:
        """Whether this is a browser that has not logged in."""
        return self.id.startswith("guest-")


class Visit(models.Model):
    """That somebody has been in a room, and when they were last seen there."""

    room = models.ForeignKey(Room, models.CASCADE, related_name="visits")
    person = models.ForeignKey(Person, models.CASCADE, related_name="visits")
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["room", "person"], name="one_visit_each"),
        ]
        indexes = [models.Index(fields=["room", "-seen_at"], name="latest_visits")]

    def __str__(self) -> str:
        return f"{self.person} in {self.room}"


class ChatMessage(models.Model):
    """
    A message in a room, to everybody or to one person.

    Attributes:
        token: A random text. A page that sends a message again, after no answer came, uses
            the same token, so the message is stored once.
    """

    room = models.ForeignKey(Room, models.CASCADE, related_name="messages")
    author = models.ForeignKey(Person, models.CASCADE, related_name="messages")
    recipient = models.ForeignKey(
        Person, models.CASCADE, null=True, blank=True, related_name="private_messages"
    )
    text = models.CharField(max_length=MAX_MESSAGE)
    posted_at = models.DateTimeField(default=timezone.now)
    token = models.CharField(max_length=36, blank=True)

    broadcast_fields: ClassVar = [
        *("id", "room_id", "author", "recipient", "text", "posted_at", "token"),
    ]
    harmless_broadcast_fields: ClassVar = ["token"]

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["author", "token"], condition=~Q(token=""), name="said_once"
            ),
        ]
        indexes = [
            models.Index(fields=["room", "-id"], name="latest_messages"),
            models.Index(fields=["author", "posted_at"], name="said_lately"),
        ]

    def __str__(self) -> str:
        # The admin shows this in titles and in its history.
        return f"{self.author}: {'…' if self.recipient_id else self.text}"


# shown
class Thing(BroadcastsModelEvents, models.Model):
    """A thing in a list that everybody can change."""

    name = models.CharField(max_length=MAX_THING_NAME)
    # Apple and apple are one thing.
    key = models.CharField(max_length=MAX_KEY, unique=True, editable=False)
    made_at = models.DateTimeField(default=timezone.now, editable=False)

    broadcast_fields: ClassVar = ["id", "name", "made_at"]
    # end

    class Meta:
        ordering: ClassVar = ["-pk"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.key = key_of(self.name)
        fields = kwargs.get("update_fields")
        if fields is not None and "name" in fields:
            kwargs["update_fields"] = {*fields, "key"}
        super().save(*args, **kwargs)

    # shown

    def broadcast_on(self, event: str) -> Channel:
        return Channel("things")

    def broadcast_as(self, event: str) -> str:
        return {
            "created": "thing:create",
            "updated": "thing:update",
            "deleted": "thing:destroy",
        }[event]

    def broadcast_to_others(self, event: str) -> bool:
        return True  # The page that made the change knows it.

    # end
