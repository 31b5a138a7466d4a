"""A model that broadcasts to its owner."""

from django.contrib.auth.models import User
from django.db import models

from broadcasting import BroadcastsModelEvents


class Order(BroadcastsModelEvents, models.Model):
    """Something that a customer waits for."""

    customer = models.ForeignKey(User, models.CASCADE)
    status = models.CharField(max_length=20, default="new")
    broadcast_fields = ("pk", "status")
