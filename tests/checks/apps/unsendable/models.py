from django.contrib.auth.models import Group
from django.db import models

from broadcasting import BroadcastsModelEvents


class Note(BroadcastsModelEvents, models.Model):
    text = models.TextField()
    group = models.ForeignKey(Group, models.CASCADE)

    broadcast_fields = ("txet", "group")
