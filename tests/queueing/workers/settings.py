"""A site whose events wait in one of several queues: ``QUEUE_WAY`` says in which."""

import os

import django

REDIS_URL = os.environ["REDIS_URL"]
WAY = os.environ["QUEUE_WAY"]

SECRET_KEY = "a site of one test"
INSTALLED_APPS = ["broadcasting", "tests.queueing.workers"]
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": WAY,
    }
}
BROADCASTING = {
    "DEFAULT": "redis",
    "CONNECTIONS": {
        "redis": {
            "DRIVER": "broadcasting.drivers.redis.RedisBroadcaster",
            "URL": REDIS_URL,
            "PREFIX": f"{WAY}:",
        }
    },
    "QUEUE": {
        "BACKEND": {
            "celery": "tests.queueing.workers.tasks.enqueue",
            "rq": "tests.queueing.workers.jobs.enqueue",
            "database": "default",
        }[WAY]
    },
}

if WAY == "celery":
    CELERY_BROKER_URL = REDIS_URL

if WAY == "rq":
    INSTALLED_APPS += ["django_rq"]
    RQ_QUEUES = {"default": {"URL": REDIS_URL}}

if WAY == "database":
    INSTALLED_APPS += ["django_tasks_db"]
    if django.VERSION < (6, 0):
        INSTALLED_APPS += ["django_tasks"]
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["QUEUE_DATABASE"],
            "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
        }
    }
    DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
