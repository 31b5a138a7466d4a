"""
A site that has broadcasting and nothing else.

BENCH_CONNECTION      memory (default) or redis.
BENCH_REDIS_URL       Where Redis listens; it carries the channel layer too.
BENCH_URL             Where this server listens.
BENCH_COUNT           1 tells subscribers how many they are.
"""

import os

DEBUG = False
SECRET_KEY = "for measurements only"  # noqa: S105
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "broadcasting.urls"
ASGI_APPLICATION = "benchmarks.site.asgi.application"
INSTALLED_APPS = ["channels", "broadcasting"]
USE_TZ = True

REDIS_URL = os.environ.get("BENCH_REDIS_URL", "")
APP = {
    "ID": "1",
    "KEY": "bench-key",
    "SECRET": "bench-secret",
    "MAX_MEMBERS": 100_000,
    "SUBSCRIPTION_COUNT": os.environ.get("BENCH_COUNT") == "1",
}
BROADCASTING = {
    "DEFAULT": os.environ.get("BENCH_CONNECTION", "memory"),
    "CONNECTIONS": {
        "memory": {
            "DRIVER": "broadcasting.drivers.memory.MemoryBroadcaster",
            "URL": os.environ.get("BENCH_URL", "http://127.0.0.1:8000"),
        },
        "redis": {
            "DRIVER": "broadcasting.drivers.redis.RedisBroadcaster",
            "URL": REDIS_URL or "redis://127.0.0.1:6379/0",
        },
    },
    "APPS": [APP],
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            "hosts": [{"address": REDIS_URL, "socket_timeout": None, "health_check_interval": 15}]
        },
    }
    if REDIS_URL
    else {
        "BACKEND": "channels.layers.InMemoryChannelLayer",
        "CONFIG": {"capacity": 10_000, "group_expiry": 86_400},
    }
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
