"""The demo with everything switched on, and a page that has nothing but the scripts."""

import base64
import os
from typing import Any

from whik.settings import *  # noqa: F403
from whik.settings import BROADCASTING as _DEMO_BROADCASTING
from whik.settings import INSTALLED_APPS as _DEMO_APPS

MASTER_KEY = b"0123456789abcdef0123456789abcdef"
PROOF: dict[str, Any] = {
    "ID": "4242",
    "KEY": "proof-key",
    "SECRET": "proof-secret",
    "CLIENT_EVENTS": True,
    "SUBSCRIPTION_COUNT": True,
    "WATCHLIST": True,
    "MAX_CONNECTIONS": 50,
    "ENCRYPTION_MASTER_KEY_BASE64": base64.b64encode(MASTER_KEY).decode(),
}
HASTY: dict[str, Any] = {"ID": "1", "KEY": "hasty-key", "SECRET": "hasty", "ACTIVITY_TIMEOUT": 1}
SMALL: dict[str, Any] = {"ID": "2", "KEY": "small-key", "SECRET": "small", "MAX_CONNECTIONS": 1}
OFF: dict[str, Any] = {"ID": "3", "KEY": "off-key", "SECRET": "off", "ENABLED": False}
SECURE: dict[str, Any] = {"ID": "4", "KEY": "secure-key", "SECRET": "secure", "FORCE_TLS": True}
FOREIGN: dict[str, Any] = {
    "ID": "5",
    "KEY": "foreign-key",
    "SECRET": "foreign",
    "ALLOWED_ORIGINS": ["https://example.com"],
}
# What several processes serve together: without a limit, and with one.
CLUSTER: dict[str, Any] = {
    "ID": "6",
    "KEY": "cluster-key",
    "SECRET": "cluster",
    "CLIENT_EVENTS": True,
    "SUBSCRIPTION_COUNT": True,
    "WATCHLIST": True,
}
if _url := os.environ.get("WEBHOOK_URL"):
    CLUSTER["WEBHOOKS"] = [{"URL": _url, "ALLOW_PRIVATE": True}]
FEW: dict[str, Any] = {"ID": "7", "KEY": "few-key", "SECRET": "few", "MAX_CONNECTIONS": 3}
BROADCASTING = {
    **_DEMO_BROADCASTING,
    "APPS": [PROOF, HASTY, SMALL, OFF, SECURE, FOREIGN, CLUSTER, FEW],
}
INSTALLED_APPS = [*_DEMO_APPS, "tests.e2e.proof"]
ROOT_URLCONF = "tests.e2e.proof.urls"
