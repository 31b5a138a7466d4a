"""
Settings of the demo. All its environment variables are read here.

DJANGO_DEBUG          1 (default) or 0.
SECRET_KEY            Required without DEBUG.
ALLOWED_HOSTS         Names separated by commas. Default with DEBUG: this machine.
WHIK_DATABASE         Path of the SQLite file, ``var/db.sqlite3``.
BROADCAST_CONNECTION  channels (default), memory, redis, log, null or pusher.
BROADCAST_URL         The address at which other processes reach the running server.
REDIS_URL             The Redis server; if set, the channel layer uses it, too.
CHANNEL_LAYER         pubsub (default) or core: which layer of channels_redis.
"""

import os
import warnings
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

BASE_DIR = Path(__file__).resolve().parent.parent


def env(name: str, default: str = "") -> str:
    """Return an environment variable; an empty one counts as unset."""
    return os.environ.get(name) or default


DEBUG = env("DJANGO_DEBUG", "1").lower() in {"1", "true", "yes", "on"}
SECRET_KEY = env("SECRET_KEY", "insecure-and-known-to-everybody-for-development" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. Without DEBUG the site needs a key of its own: put a long "
        "random text into the environment variable SECRET_KEY, or set DJANGO_DEBUG=1."
    )
ALLOWED_HOSTS = [host for host in env("ALLOWED_HOSTS").split(",") if host]

INSTALLED_APPS = [
    "daphne",  # First: its runserver supports WebSocket.
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "broadcasting",
    "whik",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "broadcasting.middleware.SocketIdMiddleware",
    "broadcasting.middleware.GuestMiddleware",
]
ROOT_URLCONF = "whik.urls"
ASGI_APPLICATION = "whik.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "whik.context_processors.connection",
            ],
        },
    },
]

# Data

DATABASE = Path(env("WHIK_DATABASE", str(BASE_DIR / "var" / "db.sqlite3")))
DATABASE.parent.mkdir(parents=True, exist_ok=True)
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATABASE,
        "OPTIONS": {
            # Many threads write: take the write lock at the start of a transaction instead
            # of failing halfway, and do not block readers.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL;",
        },
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ADMIN_PASSWORD_FILE = DATABASE.parent / "admin-password"

# Broadcasting

REDIS_URL = env("REDIS_URL")
BROADCAST_URL = env("BROADCAST_URL", "http://127.0.0.1:8000")

BROADCASTING = {
    "DEFAULT": env("BROADCAST_CONNECTION", "channels"),
    "CONNECTIONS": {
        "memory": {
            "DRIVER": "broadcasting.drivers.memory.MemoryBroadcaster",
            "URL": BROADCAST_URL,
        },
        "channels": {
            "DRIVER": "broadcasting.drivers.channel_layer.ChannelLayerBroadcaster",
            "URL": BROADCAST_URL,
        },
        "redis": {
            "DRIVER": "broadcasting.drivers.redis.RedisBroadcaster",
            "URL": REDIS_URL or "redis://127.0.0.1:6379/0",
        },
        "log": {"DRIVER": "broadcasting.drivers.log.LogBroadcaster"},
        "null": {"DRIVER": "broadcasting.drivers.null.NullBroadcaster"},
        "pusher": {
            "DRIVER": "broadcasting.drivers.pusher.PusherBroadcaster",
            "URL": BROADCAST_URL,
        },
    },
    # Key and secret are derived from SECRET_KEY.
    "APPS": [
        {
            "CLIENT_EVENTS": True,  # Who is typing.
            "PRESENCE_GRACE": 3,  # Seconds, so that reloading a page is not leaving the room.
        },
    ],
}

_LAYERS = {
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
}


def _channel_layer() -> dict[str, Any]:
    name = env("CHANNEL_LAYER", "pubsub")
    if name not in _LAYERS:
        raise ImproperlyConfigured(f"CHANNEL_LAYER is {name!r}; it must be 'pubsub' or 'core'.")
    # A burst must fit: a full layer drops messages silently. Groups of a process that died
    # are forgotten after group_expiry seconds. Pub/sub has neither option.
    limits = {"capacity": 10_000, "group_expiry": 120}
    if not REDIS_URL:
        return {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": limits}
    # redis-py 8 gives sockets a timeout of 5 s, which ends the blocking reads of an idle
    # layer. A health check finds dead connections instead.
    host = {"address": REDIS_URL, "socket_timeout": None, "health_check_interval": 15}
    config = {"hosts": [host]} | ({} if name == "pubsub" else limits)
    return {"BACKEND": _LAYERS[name], "CONFIG": config}


CHANNEL_LAYERS = {"default": _channel_layer()}
SILENCED_SYSTEM_CHECKS = ["broadcasting.I001"]  # The demo has no cache channels.

# Browsers

CSRF_FAILURE_VIEW = "whik.error_views.csrf_failure"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "chat"
LOGOUT_REDIRECT_URL = "index"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("ko", _("Korean"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "var" / "static"
if not DEBUG and STATIC_ROOT.is_dir():  # After `manage.py collectstatic`.
    _after_security = MIDDLEWARE.index("django.middleware.security.SecurityMiddleware") + 1
    MIDDLEWARE.insert(_after_security, "whitenoise.middleware.WhiteNoiseMiddleware")
    # Under ASGI it reads a file whole before it sends it. These are small.
    warnings.filterwarnings("ignore", "StreamingHttpResponse must consume synchronous iterators")

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = not DEBUG
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "SAMEORIGIN"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        # Includes the WebSocket of the same host and port.
        "default-src": [SELF],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [SELF],
        "object-src": [NONE],
    },
}

# One line per record, on stderr.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "filters": {"signatures": {"()": "whik.log_filters.SignatureFilter"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["signatures"],
        },
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "django": {"level": "INFO"},
        "broadcasting": {"level": "INFO"},
        "whik": {"level": "INFO"},
        # Without Redis it would print a traceback every second. `broadcasting` logs one line
        # when the layer is lost and one when it is back.
        "channels_redis": {"level": "CRITICAL"},
    },
}
