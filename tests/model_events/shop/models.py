"""Models that broadcast."""

import uuid
from collections.abc import Mapping
from typing import ClassVar

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models.functions import Upper
from django.utils.functional import cached_property

from broadcasting import BroadcastsModelEvents, BroadcastsQuerySet, Channel


class Owner(models.Model):
    name = models.CharField(max_length=20)
    broadcast_fields = ("name",)


class Tag(BroadcastsModelEvents, models.Model):
    name = models.CharField(max_length=20)
    broadcast_fields = ("pk", "name", "thing_set")


class Label(models.Model):
    name = models.CharField(max_length=20)
    broadcast_fields = ("name",)

    class Meta:
        ordering: ClassVar = ["pk"]


class Thing(BroadcastsModelEvents, models.Model):
    name = models.CharField(max_length=20)
    count = models.IntegerField(default=0)
    secret = models.CharField(max_length=20, default="")
    owner = models.ForeignKey(Owner, models.CASCADE, null=True)
    extra = models.JSONField(default=dict)
    file = models.FileField(blank=True)
    labels = models.ManyToManyField(Label, related_name="things")
    tags = models.ManyToManyField(Tag)

    broadcast_fields: ClassVar[tuple[str, ...]] = (
        *("pk", "name", "count", "owner", "extra", "file", "labels"),
    )


class Person(BroadcastsModelEvents, models.Model):
    first = models.CharField(max_length=20)
    last = models.CharField(max_length=20)
    age = models.IntegerField(default=0)
    upper = models.GeneratedField(
        expression=Upper("first"),
        output_field=models.CharField(max_length=20),
        db_persist=True,
    )
    boss = models.ForeignKey("self", models.CASCADE, null=True, related_name="staff")

    broadcast_fields = ("full_name", "upper", "boss_name", "staff")

    objects = BroadcastsQuerySet.as_manager()

    @property
    def full_name(self) -> str:
        return f"{self.first} {self.last}"

    @property
    def boss_name(self) -> str | None:
        return self.boss.first if self.boss else None

    @cached_property
    def initials(self) -> str:
        return self.first[0] + self.last[0]


class Place(BroadcastsModelEvents, models.Model):
    name = models.CharField(max_length=20)
    broadcast_fields: ClassVar[tuple[str, ...]] = ("pk", "name")

    objects = BroadcastsQuerySet.as_manager()


class Pub(Place):
    beers = models.IntegerField(default=0)
    broadcast_fields: ClassVar[tuple[str, ...]] = ("pk", "name", "beers")


class PlaceProxy(Place):
    class Meta:
        proxy = True


class OwnerProxy(BroadcastsModelEvents, Owner):
    class Meta:
        proxy = True


class Base(BroadcastsModelEvents, models.Model):
    name = models.CharField(max_length=20)
    broadcast_fields: ClassVar[tuple[str, ...]] = ("pk", "name")

    class Meta:
        abstract = True


class Concrete(Base):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)

    objects = BroadcastsQuerySet.as_manager()


class Note(BroadcastsModelEvents, models.Model):
    """Hangs on a thing, and on anything."""

    thing = models.ForeignKey(Thing, models.CASCADE, related_name="notes")
    kind = models.ForeignKey(ContentType, models.CASCADE, null=True, db_constraint=False)
    key = models.IntegerField(null=True)
    subject = GenericForeignKey("kind", "key")
    text = models.CharField(max_length=20)
    broadcast_fields = ("pk", "thing", "text")


class Moment(BroadcastsModelEvents, models.Model):
    divisor = models.IntegerField()
    broadcast_fields = ("quotient",)

    def broadcast_when(self, event: str) -> bool:
        return event == "updated"

    @property
    def quotient(self) -> float:
        return 1 / self.divisor


class Member(BroadcastsModelEvents, models.Model):
    name = models.CharField(max_length=20)
    friends = models.ManyToManyField("self")
    follows = models.ManyToManyField("self", symmetrical=False, related_name="followers")
    broadcast_fields = ("name", "friends", "follows", "followers")

    class Meta:
        ordering: ClassVar = ["pk"]

    def broadcast_with(self, event: str) -> Mapping[str, object]:
        # Friends of friends have no end.
        names = ("friends", "follows", "followers")
        row = {name: list(getattr(self, name).values("name")) for name in names}
        return {"model": row, "changed": self.broadcast_changed}


class Item(BroadcastsModelEvents, models.Model):
    name = models.CharField(max_length=20, unique=True)
    count = models.IntegerField(default=0)
    secret = models.CharField(max_length=20, default="")
    owner = models.ForeignKey(Owner, models.CASCADE, null=True)
    labels = models.ManyToManyField(Label)
    broadcast_fields = ("name", "count", "owner")

    objects = BroadcastsQuerySet.as_manager()


class Silent(BroadcastsModelEvents, models.Model):
    """Declares nothing."""


class Opinion(BroadcastsModelEvents, models.Model):
    text = models.CharField(max_length=20)
    broadcast_fields = ("text",)

    def broadcast_on(self, event: str) -> list[Channel]:
        if self.text == "mistake":
            raise ZeroDivisionError
        return [] if self.text == "nowhere" else [Channel("opinions"), Channel(event)]

    def broadcast_as(self, event: str) -> str:
        return f"opinion:{event}"

    def broadcast_with(self, event: str) -> Mapping[str, object]:
        return {"text": self.text, "changed": self.broadcast_changed}

    def broadcast_when(self, event: str) -> bool:
        return event != "updated" or self.text != "silence"

    def broadcast_via(self, event: str) -> str:
        return "second"

    def broadcast_queue(self, event: str) -> str | bool:
        return "slow" if event == "updated" and not self.broadcast_changed else False

    def broadcast_to_others(self, event: str) -> bool:
        return True
