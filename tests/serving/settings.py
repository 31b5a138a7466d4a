"""The demo as production tests serve it: with limits that a test reaches, and views that hang."""

import json
import os
from typing import Any

from whik.settings import *  # noqa: F403
from whik.settings import BROADCASTING as _DEMO_BROADCASTING
from whik.settings import LOGGING as _DEMO_LOGGING

BROADCASTING = {**_DEMO_BROADCASTING, "SERVER": json.loads(os.environ.get("SERVER", "{}"))}
ROOT_URLCONF = "tests.serving.urls"
ASGI_APPLICATION = os.environ.get("ASGI_APPLICATION", "whik.asgi.application")
# As a project may have it that was served by uvicorn alone.
_loggers: Any = _DEMO_LOGGING["loggers"]
LOGGING = {**_DEMO_LOGGING, "loggers": {**_loggers, "uvicorn": {"level": "INFO"}}}
