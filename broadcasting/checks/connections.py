"""The setting ``BROADCASTING``, and what each connection in use finds wrong with itself."""

import os
import re
from collections.abc import Sequence

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

from ..conf import get_authenticators, get_settings
from ..drivers.registry import broadcasters, server_alias, server_broadcaster
from ..encryption import can_seal

# Where servers look for how many processes to run, and what stands before the number.
_WORKERS = {
    "WEB_CONCURRENCY": r"^",  # gunicorn, uvicorn and what starts them
    "GUNICORN_CMD_ARGS": r"(?:^|\s)(?:-w|--workers)[\s=]*",
    "UVICORN_WORKERS": r"^",
    "GRANIAN_WORKERS": r"^",
}


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """Make the connections that the project uses, and ask each what it finds wrong."""
    try:
        settings = get_settings()
        get_authenticators()
        # One and the same, unless SERVER says otherwise or the default one only writes.
        used = dict.fromkeys([broadcasters[settings.default], server_broadcaster()])
        return [message for broadcaster in used for message in broadcaster.check()]
    except ImproperlyConfigured as exc:
        hint = "docs/settings.md lists the keys. See docs/checks.md#broadcastinge001"
        return [Error(str(exc), hint=hint, id="broadcasting.E001")]


def check_encryption(
    app_configs: Sequence[AppConfig] | None, **kwargs: object
) -> list[CheckMessage]:
    """Report applications whose events could not be sealed."""
    try:
        apps = get_settings().apps
    except ImproperlyConfigured:
        return []  # `check_settings` says so.
    return [
        Warning(
            f"Application {app.id!r} has a master key for encrypted channels, and PyNaCl, which "
            f"seals their events, is not installed.",
            hint='pip install "whik[encrypted]". See docs/checks.md#broadcastingw003',
            id="broadcasting.W003",
        )
        for app in apps
        if app.encryption_master_key is not None and not can_seal()
    ]


def check_workers(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """Report several server processes with a connection that ends at each of them."""
    try:
        alias = server_alias()
        if broadcasters[alias].posts_to is None:
            return []
    except ImproperlyConfigured:
        return []  # `check_settings` reports it.
    return [
        Warning(
            f"The environment asks for {number} server processes ({name}={os.environ[name]!r}), "
            f"and the connection {alias!r} stays in one of them: a socket hears nothing of what "
            f"happens in the others.",
            hint="Use a redis connection, or one process. If these processes serve pages only, "
            "and one broadcast_serve all sockets, silence this check. "
            "See docs/checks.md#broadcastingw016",
            id="broadcasting.W016",
        )
        for name, number in _workers_asked_for().items()
        if number > 1
    ]


def serves_sockets() -> bool:
    """Tell whether processes of this project may serve sockets, and not those of another one."""
    try:
        settings = get_settings()
        is_read = broadcasters[settings.default].can_be_read
    except ImproperlyConfigured:
        return False
    return is_read or settings.server.connection is not None


def _workers_asked_for() -> dict[str, int]:
    found = {
        name: re.search(rf"{before}(\d+)", os.environ.get(name, ""))
        for name, before in _WORKERS.items()
    }
    return {name: int(match[1]) for name, match in found.items() if match}
