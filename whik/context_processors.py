"""What every page knows."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def connection(request: HttpRequest) -> dict[str, str]:
    """Name the connection that events go through, and its driver without the modules."""
    broadcasting: dict[str, Any] = settings.BROADCASTING
    alias = broadcasting["DEFAULT"]
    # An alias that the library itself knows need not be written down.
    entry = broadcasting.get("CONNECTIONS", {}).get(alias, {})
    return {"connection": alias, "driver": entry.get("DRIVER", alias).rpartition(".")[2]}
