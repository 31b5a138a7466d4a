"""Where the server is, as far as the settings tell."""

from ..conf import get_settings
from ..drivers import broadcasters
from ..drivers.pusher import PusherBroadcaster

_ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (compared)


def find_server_url() -> str:
    """
    Return ``http(s)://host[:port]`` of the server.

    It is the one that is posted to; where a bus leads to it, ``SERVER["HOST"]`` and
    ``SERVER["PORT"]``. Raise `ImproperlyConfigured` if the settings make no sense.
    """
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
