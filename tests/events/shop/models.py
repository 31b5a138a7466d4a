"""Models that broadcast."""

import uuid
from typing import Any, ClassVar

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models.functions import Upper
from django.utils.functional import cached_property

from broadcasting import BroadcastsModelEvents


class Owner(models.Model):
    name = models.CharField(max_length=20)
    broadcast_fields = ("name",)


class Tag(BroadcastsModelEvents, models.Model):
    name = models.CharField(max_length=20)
    broadcast_fields = ("pk", "name", "thing_set")


class Label(models.Model):
    """Does not broadcast."""

    name = models.CharField(max_length=20)
    broadcast_fields = ("name",)


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
    """Declares what is no column, and has its say in everything."""

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
    asked: ClassVar[list[Any]] = []

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


class Note(BroadcastsModelEvents, models.Model):
    """Hangs on a thing, and on anything."""

    thing = models.ForeignKey(Thing, models.CASCADE, related_name="notes")
    kind = models.ForeignKey(ContentType, models.CASCADE, null=True, db_constraint=False)
    key = models.IntegerField(null=True)
    subject = GenericForeignKey("kind", "key")
    text = models.CharField(max_length=20)
    broadcast_fields = ("pk", "thing", "text")
