from django.db import models


class Note(models.Model):
    text = models.TextField()

    broadcast_fields = "text"  # Meant to be ("text",).
