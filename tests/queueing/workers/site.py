"""The Celery application of the site, as Celery's documentation has it."""

from celery import Celery  # type: ignore[import-untyped]  # It has no types.

app = Celery("site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
