"""The demo's settings, with the library's own defaults for broadcasting and throw-away data."""

import os
import tempfile
from pathlib import Path

# What a shell has set for its own demo must not change what a test means, here and in the
# processes that tests start.
for _name in (
    "ALLOWED_HOSTS",
    "BROADCAST_CONNECTION",
    "BROADCAST_URL",
    "CHANNEL_LAYER",
    "DJANGO_DEBUG",
    "REDIS_URL",
    "SECRET_KEY",
    "WHIK_DATABASE",
):
    os.environ.pop(_name, None)

from whik.settings import *  # noqa: E402, F403
from whik.settings import DATABASES as _DEMO_DATABASES  # noqa: E402
from whik.settings import INSTALLED_APPS as _DEMO_APPS  # noqa: E402

DEBUG = False
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
# Importing daphne makes an event loop of its own; only its runserver needs that.
INSTALLED_APPS = [
    *(app for app in _DEMO_APPS if app != "daphne"),
    "tests.model_events.shop",  # Models that broadcast; without migrations.
]
# No cache channels here, and a model of the shop that declares nothing on purpose.
SILENCED_SYSTEM_CHECKS = ["broadcasting.I001", "broadcasting.E006"]
BROADCASTING = {"DEFAULT": "memory"}
# Real hashing costs a quarter of a second for each user that a test makes.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def _database(alias: str) -> dict[str, object]:
    # A file and not memory: SQLite's shared cache answers "table is locked" where threads
    # of a test meet, however long the timeout. The process id keeps two runs apart.
    path = Path(tempfile.gettempdir()) / f"whik-tests-{os.getpid()}-{alias}.sqlite3"
    return {**_DEMO_DATABASES["default"], "NAME": path, "TEST": {"NAME": path}}


DATABASES = {alias: _database(alias) for alias in ("default", "other")}
