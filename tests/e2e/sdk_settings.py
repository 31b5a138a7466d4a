"""The demo with an application whose credentials other people's SDKs take, too."""

import base64
import os
from typing import Any

from whik.settings import *  # noqa: F403
from whik.settings import BROADCASTING as _DEMO_BROADCASTING

MASTER_KEY = b"0123456789abcdef0123456789abcdef"
APP: dict[str, Any] = {
    "ID": "4242",  # Pusher's SDK for Python takes nothing but digits.
    "KEY": "whik-key",
    "SECRET": "whik-secret-ż",
    "ENCRYPTION_MASTER_KEY_BASE64": base64.b64encode(MASTER_KEY).decode(),
}
if _url := os.environ.get("WEBHOOK_URL"):
    APP["WEBHOOKS"] = [{"URL": _url, "ALLOW_PRIVATE": True}]
BROADCASTING = {**_DEMO_BROADCASTING, "APPS": [APP]}
