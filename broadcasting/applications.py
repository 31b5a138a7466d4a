"""Applications, which sockets and signed requests belong to."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from django.http.request import validate_host

from .protocol.names import MAX_CHANNEL_LENGTH

_PORTS = {"http": 80, "https": 443}

# What webhooks report (Pusher, "Webhooks").
WEBHOOK_EVENTS = (
    "channel_occupied",
    "channel_vacated",
    "member_added",
    "member_removed",
    "client_event",
    "cache_miss",
    "subscription_count",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """
    One entry of an application's ``WEBHOOKS``.

    Attributes:
        url: Where signed reports are posted.
        events: Which of `WEBHOOK_EVENTS` are reported.
        channel_prefix: Only channels with this prefix are reported.
        channel_suffix: Only channels with this suffix are reported.
        allow_private: Whether `url` may lead to a private address, and be without TLS.
    """

    url: str = field(repr=False)  # Its query may hold a secret.
    events: tuple[str, ...] = WEBHOOK_EVENTS
    channel_prefix: str = ""
    channel_suffix: str = ""
    allow_private: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """
    One entry of ``BROADCASTING["APPS"]``, as `docs/settings.md` describes them.

    Attributes:
        id: Identifies the application in HTTP API addresses and on the bus.
        key: Public; identifies it in the address of a socket.
        secret: Signs requests. It never leaves the server, nor appears in a `repr`.
        secret_fallbacks: Former secrets whose signatures are still accepted, until all
            processes sign with the new one.
        enabled: Whether it can be used.
        force_tls: Whether it refuses sockets without TLS.
        allowed_origins: ``scheme://host[:port]``; a host may begin with ``*.``, and
            ``*`` admits every page.
        allowed_hosts: Hosts in the notation of Django's ``ALLOWED_HOSTS``, admitted
            over http and https on any port.
        activity_timeout: Seconds of silence after which a side pings the other.
        authorization_timeout: Seconds in which a connection must sign in or join a
            guarded channel; `None` requires neither.
        presence_grace: Seconds in which a member whose connection was lost may return
            unnoticed.
        max_connections: Open sockets, in all server processes; `None` for no limit.
        max_channels: Subscriptions of one connection.
        max_subscription_rate: Subscriptions that one connection may request per second,
            beyond the first `max_channels`.
        max_client_event_rate: Client events of one connection per second.
        max_frame_size: Bytes of one frame from a client.
        max_event_size: Bytes of the data of one event.
        max_user_info_size: Bytes of one user's information for others, as JSON.
        encryption_master_key: 32 bytes from which the keys of encrypted channels are
            derived; `None` if there are none.
        replay_cache: The alias in ``CACHES`` of the cache that prevents a signed request
            from being accepted twice; `None` to accept it again while it is fresh.
        webhooks: Where events on the sockets are reported.
    """

    id: str
    key: str
    secret: str = field(repr=False)
    secret_fallbacks: tuple[str, ...] = field(default=(), repr=False)
    enabled: bool = True
    force_tls: bool = False
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    activity_timeout: int = 30
    authorization_timeout: int | None = None
    presence_grace: int = 0
    client_events: bool = False
    subscription_count: bool = False
    watchlist: bool = False
    max_connections: int | None = None
    max_channels: int = 100
    max_channel_name_length: int = MAX_CHANNEL_LENGTH
    max_subscription_rate: int = 20
    max_client_event_rate: int = 10
    max_frame_size: int = 16_384
    max_event_size: int = 10_240
    max_members: int = 100
    max_user_info_size: int = 1_024
    encryption_master_key: bytes | None = field(default=None, repr=False)
    replay_cache: str | None = None
    webhooks: tuple[Webhook, ...] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secret, then those whose signatures are still accepted."""
        return (self.secret, *self.secret_fallbacks)

    def accepts_origin(self, origin: str | None) -> bool:
        """
        Whether a page on `origin` may open a socket.

        A client without an origin is not a browser and is admitted: the socket carries
        no cookie that another site could misuse.
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
