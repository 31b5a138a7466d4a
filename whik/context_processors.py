"""What every page knows."""

from django.conf import settings
from django.http import HttpRequest


def connection(request: HttpRequest) -> dict[str, str]:
    """Name the connection that events go through, and its driver without the modules."""
    alias = settings.BROADCASTING["DEFAULT"]
    entry = settings.BROADCASTING.get("CONNECTIONS", {}).get(alias, {})
    return {"connection": alias, "driver": entry.get("DRIVER", alias).rpartition(".")[2]}
