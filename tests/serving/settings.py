"""The demo as production tests serve it: with limits that a test reaches, and views that hang."""

import json
import os

from whik.settings import *  # noqa: F403
from whik.settings import BROADCASTING as _DEMO_BROADCASTING

BROADCASTING = {**_DEMO_BROADCASTING, "SERVER": json.loads(os.environ.get("SERVER", "{}"))}
ROOT_URLCONF = "tests.serving.urls"
