"""The demo with applications whose limits a test reaches within seconds, and without a database."""

import json
import os
from typing import Any

from whik.settings import *  # noqa: F403
from whik.settings import BROADCASTING as _DEMO_BROADCASTING

USUAL: dict[str, Any] = {"ID": "1", "KEY": "usual-key", "SECRET": "usual", "CLIENT_EVENTS": True}
HASTY: dict[str, Any] = {"ID": "2", "KEY": "hasty-key", "SECRET": "hasty", "ACTIVITY_TIMEOUT": 1}
SMALL: dict[str, Any] = {"ID": "3", "KEY": "small-key", "SECRET": "small", "MAX_MEMBERS": 3}
GRACE: dict[str, Any] = {
    **{"ID": "4", "KEY": "grace-key", "SECRET": "grace", "PRESENCE_GRACE": 8},
    **{"CLIENT_EVENTS": True, "SUBSCRIPTION_COUNT": True, "MAX_MEMBERS": 100_000},
}
BROADCASTING = {
    **_DEMO_BROADCASTING,
    "APPS": [USUAL, HASTY, SMALL, GRACE],
    "SERVER": json.loads(os.environ.get("SERVER", "{}")),
}
