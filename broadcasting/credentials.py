"""An application: whom a socket or a signed request claims to speak for."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from django.http.request import validate_host

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """
    One entry of ``BROADCASTING["APPS"]``.

    Attributes:
        id: Names the application in HTTP API addresses and on the bus.
        key: Public; names it in the address of a socket.
        secret: Signs requests. Never leaves the server, nor appears in a `repr`.
        allowed_origins: ``scheme://host[:port]``, a host may begin with ``*.``;
            ``*`` admits every page.
        allowed_hosts: Hosts in the notation of Django's ``ALLOWED_HOSTS``, admitted
            over http and https on any port.
        activity_timeout: Seconds of silence after which a side pings the other.
        max_channels: Subscriptions of one connection.
        max_frame_size: Bytes of one frame from a client.
        max_event_size: Bytes of the data of one published event.
    """

    id: str
    key: str
    secret: str = field(repr=False)
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    activity_timeout: int = 30
    max_channels: int = 100
    max_frame_size: int = 16_384
    max_event_size: int = 10_240

    def accepts_origin(self, origin: str | None) -> bool:
        """
        Tell whether a page on `origin` may open a socket.

        A client that sends no origin is not a browser and is admitted: the socket
        carries no cookie, so there is nothing that another site could misuse.
        """
        if origin is None or "*" in self.allowed_origins:
            return True
        try:
            page = urlsplit(origin)
            port = page.port  # Raises ValueError.
        except ValueError:
            return False
        if page.scheme not in _PORTS or page.hostname is None or port == 0:
            return False
        # ALLOWED_HOSTS writes IPv6 addresses in brackets, urlsplit takes them off.
        host = f"[{page.hostname}]" if ":" in page.hostname else page.hostname
        if validate_host(host, self.allowed_hosts):
            return True
        address = (page.scheme, port or _PORTS[page.scheme])
        return any(
            _matches(urlsplit(allowed), address, page.hostname) for allowed in self.allowed_origins
        )


def _matches(allowed: SplitResult, address: tuple[str, int], host: str) -> bool:
    if (allowed.scheme, allowed.port or _PORTS.get(allowed.scheme)) != address:
        return False
    pattern = allowed.hostname or ""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return host == pattern


def find_application(
    applications: Iterable[Application], *, key: str | None = None, app_id: str | None = None
) -> Application | None:
    """Return the application with this `key` or this `app_id`, `None` if there is none."""
    for application in applications:
        if application.key == key or application.id == app_id:
            return application
    return None
