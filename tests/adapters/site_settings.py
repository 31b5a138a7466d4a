"""The demo with applications of its own, and without a database."""

from typing import Any

from whik.settings import *  # noqa: F403
from whik.settings import BROADCASTING as _DEMO_BROADCASTING

APP: dict[str, Any] = {"ID": "1", "KEY": "app-key", "SECRET": "secret", "CLIENT_EVENTS": True}
CROWD: dict[str, Any] = {
    **{"ID": "2", "KEY": "crowd-key", "SECRET": "secret", "MAX_MEMBERS": 100_000},
    **{"PRESENCE_GRACE": 60, "SUBSCRIPTION_COUNT": True},
}
BROADCASTING = {**_DEMO_BROADCASTING, "APPS": [APP, CROWD]}
