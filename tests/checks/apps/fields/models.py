from django.db import models


class Account(models.Model):
    name = models.TextField()
    api_key = models.TextField()
    nonce_token = models.TextField()
    tokenizer = models.TextField()

    broadcast_fields = ("name", "api_key", "nonce_token", "tokenizer")
    harmless_broadcast_fields = ("nonce_token",)


class OldAccount(Account):
    class Meta:
        proxy = True
