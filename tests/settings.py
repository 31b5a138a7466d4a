"""
Settings of the test suite: the library's own defaults over two throw-away databases.

They do not derive from `whik.settings`, which read the environment: a shell with
``BROADCAST_CONNECTION=redis`` must not change what the tests mean.
"""

import os
import tempfile
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = "only for tests"
DEBUG = False
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
USE_TZ = True
LANGUAGE_CODE = "en"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def _database(alias: str) -> dict[str, object]:
    # A file and not memory: SQLite's shared cache answers "table is locked" where threads
    # of a test meet, however long the timeout. The process id keeps two runs apart.
    path = Path(tempfile.gettempdir()) / f"whik-tests-{os.getpid()}-{alias}.sqlite3"
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "TEST": {"NAME": path},
        "OPTIONS": {"timeout": 20},
    }


DATABASES = {alias: _database(alias) for alias in ("default", "other")}

INSTALLED_APPS = [
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
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "broadcasting.middleware.SocketIdMiddleware",
]
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
            ],
        },
    }
]
# Real hashing costs a quarter of a second for each user a test makes.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

ROOT_URLCONF = "whik.urls"
ASGI_APPLICATION = "whik.asgi.application"
STATIC_URL = "static/"
LOGIN_REDIRECT_URL = "/"

BROADCASTING = {"DEFAULT": "memory"}
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
