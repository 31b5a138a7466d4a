from django.db import models

from broadcasting import BroadcastsModelEvents


class Note(BroadcastsModelEvents, models.Model):
    text = models.TextField()
