"""Template variables of every page."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def connection(request: HttpRequest) -> dict[str, str]:
    """Return the alias of the default connection, and the class name of its driver."""
    broadcasting: dict[str, Any] = settings.BROADCASTING
    alias = broadcasting["DEFAULT"]
    # Built-in aliases need no entry.
    entry = broadcasting.get("CONNECTIONS", {}).get(alias, {})
    return {"connection": alias, "driver": entry.get("DRIVER", alias).rpartition(".")[2]}
