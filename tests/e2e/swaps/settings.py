"""The demo with pages whose body a test writes, under the demo's own content policy."""

from pathlib import Path
from typing import Any

from whik.settings import *  # noqa: F403
from whik.settings import BROADCASTING as _DEMO_BROADCASTING
from whik.settings import INSTALLED_APPS as _DEMO_APPS

APP: dict[str, Any] = {"ID": "1", "KEY": "swaps-key", "SECRET": "swaps", "CLIENT_EVENTS": True}
BROADCASTING = {**_DEMO_BROADCASTING, "APPS": [APP]}
INSTALLED_APPS = [*_DEMO_APPS, "tests.e2e.swaps"]
STATICFILES_DIRS = [Path(__file__).resolve().parent.parent / "vendor"]
ROOT_URLCONF = "tests.e2e.swaps.urls"
