"""Where the server is, as far as the settings tell."""

from django.core.management.base import CommandError

from ..conf import get_settings
from ..drivers.pusher import PusherBroadcaster, checked_url
from ..drivers.registry import broadcasters

_ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (compared)


def find_server_url(given: str | None = None) -> str:
    """
    Return ``http(s)://host[:port]`` of the server: what was `given`, else where it should be.

    That is the one that is posted to; where a bus leads to it, ``SERVER["HOST"]`` and
    ``SERVER["PORT"]``.

    Raises:
        CommandError: What was given cannot be an address.
        ImproperlyConfigured: The settings make no sense.
    """
    if given is not None:
        try:
            return checked_url(given)
        except ValueError as exc:
            raise CommandError(f"--url: {exc}.") from exc
    settings = get_settings()
    alias = settings.server.connection or settings.default
    broadcaster = broadcasters[alias]
    if isinstance(broadcaster, PusherBroadcaster):
        return broadcaster.url
    if broadcaster.posts_to is not None:
        return broadcaster.posts_to
    url = str(settings.connection(alias).options.get("url", ""))
    if url.startswith(("http://", "https://")):  # Of a layer that might stay in its process.
        return url.rstrip("/")
    host = settings.server.host
    host = _ANY_ADDRESS.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{settings.server.port}"
