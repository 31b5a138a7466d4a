from django.apps import AppConfig


class WhikConfig(AppConfig):
    name = "whik"
    verbose_name = "휙 whik"
