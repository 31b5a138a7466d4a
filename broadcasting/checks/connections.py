"""The setting ``BROADCASTING``, and what each connection in use finds wrong with itself."""

import os
import re
from collections.abc import Iterator

from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured

from ..conf import get_authenticators, get_settings
from ..drivers.registry import broadcasters, server_alias, server_broadcaster
from ..encryption import can_seal
from .problem import problem

# Where servers look for how many processes to run, and what stands before the number.
_WORKERS = {
    "WEB_CONCURRENCY": r"^",  # gunicorn, uvicorn and what starts them
    "GUNICORN_CMD_ARGS": r"(?:^|\s)(?:-w|--workers)[\s=]*",
    "UVICORN_WORKERS": r"^",
    "GRANIAN_WORKERS": r"^",
}


def check_settings() -> Iterator[CheckMessage]:
    """Make the connections that the project uses, and ask each what it finds wrong."""
    try:
        settings = get_settings()
        get_authenticators()
        # Both are the same, unless SERVER names another or the default one only writes.
        for broadcaster in dict.fromkeys([broadcasters[settings.default], server_broadcaster()]):
            yield from broadcaster.check()
    except ImproperlyConfigured as exc:
        yield problem("broadcasting.E001", str(exc), "docs/settings.md lists the keys.")


def check_encryption() -> Iterator[CheckMessage]:
    """Report applications whose events cannot be encrypted."""
    for app in get_settings().apps:
        if app.encryption_master_key is not None and not can_seal():
            yield problem(
                "broadcasting.W003",
                f"Application {app.id!r} has a master key for encrypted channels, and PyNaCl, "
                f"which encrypts their events, is not installed.",
                'pip install "whik[encrypted]".',
            )


def check_workers() -> Iterator[CheckMessage]:
    """Report several server processes with a connection that ends at each of them."""
    alias = server_alias()
    if broadcasters[alias].posts_to is None:
        return
    for name, before in _WORKERS.items():
        number = re.search(rf"{before}(\d+)", os.environ.get(name, ""))
        if number is not None and int(number[1]) > 1:
            yield problem(
                "broadcasting.W016",
                f"The environment asks for {number[1]} server processes "
                f"({name}={os.environ[name]!r}), and the connection {alias!r} stays in one of "
                f"them: a socket hears nothing of what happens in the others.",
                "Use a redis connection, or one process. If these processes serve pages only, "
                "and one broadcast_serve all sockets, silence this check.",
            )


def serves_sockets() -> bool:
    """Whether processes of this project may serve sockets, and not those of another one."""
    try:
        settings = get_settings()
        is_read = broadcasters[settings.default].can_be_read
    except ImproperlyConfigured:
        return False
    return is_read or settings.server.connection is not None
