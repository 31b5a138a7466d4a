"""The demo as a site in production: without DEBUG, on Redis, behind a proxy."""

from typing import Any

from whik.settings import *  # noqa: F403
from whik.settings import BROADCASTING as _DEMO_BROADCASTING
from whik.settings import INSTALLED_APPS as _DEMO_APPS

MAIN: dict[str, Any] = {"ID": "1", "KEY": "main-key", "SECRET": "main", "CLIENT_EVENTS": True}
SECURE: dict[str, Any] = {"ID": "2", "KEY": "secure-key", "SECRET": "secure", "FORCE_TLS": True}
MAX_PER_ADDRESS = 4
METRICS_TOKEN = "token-of-the-metrics"

BROADCASTING = {
    **_DEMO_BROADCASTING,
    "APPS": [MAIN, SECURE],
    "SERVER": {
        "MAX_CONNECTIONS_PER_ADDRESS": MAX_PER_ADDRESS,
        "METRICS_TOKEN": METRICS_TOKEN,
    },
}
# A WSGI server has no use for it.
INSTALLED_APPS = [app for app in _DEMO_APPS if app != "daphne"] + ["tests.deploy.site"]
ROOT_URLCONF = "tests.deploy.site.urls"
