"""
``settings.BROADCASTING`` as frozen dataclasses; the only place that reads settings.

Everything has a default, so a project need not write the setting at all: events go
through the channel layer where the project has one and stay in the process where
it has none, and one application's key and secret are derived from ``SECRET_KEY``. A
single application that does not say who it is has them derived, too.
"""

import base64
import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from django.utils.module_loading import import_string

from ..applications import WEBHOOK_EVENTS, Application, Webhook
from ..protocol.names import MAX_CHANNEL_LENGTH

# The aliases that exist without being written down. None of them needs an option.
BUILT_IN_CONNECTIONS = {
    "channels": "broadcasting.drivers.channel_layer.ChannelLayerBroadcaster",
    "memory": "broadcasting.drivers.memory.MemoryBroadcaster",
    "log": "broadcasting.drivers.log.LogBroadcaster",
    "null": "broadcasting.drivers.null.NullBroadcaster",
}
# The module that keeps events that wait; `broadcasting.events` knows it by this name alone.
QUEUEING = "broadcasting.queueing.enqueue"
# With DEBUG and an empty ALLOWED_HOSTS Django admits these; so does a socket.
LOCAL_HOSTS = (".localhost", "127.0.0.1", "[::1]")

_IN_ADDRESSES = re.compile(r"[A-Za-z0-9._-]+")
_VISIBLE = re.compile(r"[!-~]+")
_KEYS = (
    "DEFAULT",
    "CONNECTIONS",
    "APPS",
    "SERVER",
    "AUTHENTICATORS",
    "QUEUE",
    "CIRCUIT_BREAKER",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreaker:
    """
    ``CIRCUIT_BREAKER``: when a connection that does not work is left alone.

    Attributes:
        failures: How many in a row; `None` for never.
        seconds: For how long, before it is tried again.
        slow: Seconds that a failure must have taken to be counted.
    """

    failures: int | None = 5
    seconds: float = 10
    slow: float = 0.1


@dataclass(frozen=True, slots=True)
class Connection:
    """One entry of ``CONNECTIONS``: which driver, for which application, with what."""

    alias: str
    driver: str
    app: Application
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)  # Passwords, perhaps.
    circuit_breaker: CircuitBreaker = CircuitBreaker()


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """
    ``SERVER``: how processes serve sockets.

    Attributes:
        connection: The alias that they read, `None` for the default one if its driver
            can be read.
        path: What stands before ``/app/<key>`` in a socket's address.
        host: The address that ``broadcast_serve`` listens on.
        port: Its port.
        max_connections: Sockets that one process accepts; `None` for as many as its
            limit on open files allows.
        max_connections_per_address: Of these, from one client address; `None` for no limit.
        handshake_timeout: Seconds that a client may take to send the head of a request.
        metrics_token: What a caller from elsewhere than this machine must send to read
            the metrics; `None` to refuse all of them.
    """

    connection: str | None = None
    path: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    max_connections: int | None = None
    max_connections_per_address: int | None = None
    handshake_timeout: int = 10
    metrics_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """
    ``QUEUE``: events that a worker sends.

    Attributes:
        backend: An alias in ``TASKS``, or the dotted path of a function that puts an
            event into any other queue.
        name: The queue's name, for events that give none.
        all: Whether events that do not say are queued.
        tries: How often an event is tried.
        backoff: Seconds before the second try, the third and so on; the last one repeats.
        expires: Seconds after which an event that still waits is dropped; `None` for never.
        cache: The alias in ``CACHES`` where debounced events wait.
    """

    backend: str = "default"
    name: str = "default"
    all: bool = True
    tries: int = 5
    backoff: tuple[float, ...] = (1, 5, 15, 60)
    expires: int | None = None
    cache: str = "default"


@dataclass(frozen=True, slots=True)
class Settings:
    """
    The whole of ``BROADCASTING``.

    Attributes:
        default: The alias that events go through unless they say otherwise.
        connections: Every known connection by its alias.
        apps: The applications, the first of them being the default one.
        server: How processes serve sockets.
        proxy_header: The header, in lower case, and the value by which a proxy says
            that its client's connection is encrypted: ``SECURE_PROXY_SSL_HEADER``.
        authenticators: Dotted paths of what finds the user of a request, in order.
        queue: How events are queued, and whether those are that do not say.
        circuit_breaker: When connections that do not say otherwise, and the queue, are left
            alone.
    """

    default: str
    connections: Mapping[str, Connection]
    apps: tuple[Application, ...]
    server: Server
    proxy_header: tuple[str, str] | None = None
    authenticators: tuple[str, ...] = ()
    queue: Queue = Queue(all=False)
    circuit_breaker: CircuitBreaker = CircuitBreaker()

    def connection(self, alias: str) -> Connection:
        """Return a connection. Raise `ImproperlyConfigured` that lists the known ones."""
        try:
            return self.connections[alias]
        except (KeyError, TypeError):  # A list, for one, cannot be a key.
            known = ", ".join(sorted(self.connections))
            raise ImproperlyConfigured(
                f"There is no broadcast connection {alias!r}. Known connections: {known}. "
                f'Add it to BROADCASTING["CONNECTIONS"] or correct the name.'
            ) from None


@cache
def get_settings() -> Settings:
    """Return the project's settings. Raise `ImproperlyConfigured` if they make no sense."""
    raw = _mapping(getattr(django_settings, "BROADCASTING", {}), "BROADCASTING", known=_KEYS)
    apps = _applications(raw.get("APPS"))
    breaker = _circuit_breaker(raw.get("CIRCUIT_BREAKER", {}), "BROADCASTING")
    connections = _connections(raw.get("CONNECTIONS", {}), apps, breaker)
    has_layer = bool(getattr(django_settings, "CHANNEL_LAYERS", {}))
    result = Settings(
        default=raw.get("DEFAULT", "channels" if has_layer else "memory"),
        connections=connections,
        apps=apps,
        server=_server(raw.get("SERVER", {})),
        proxy_header=_proxy_header(django_settings.SECURE_PROXY_SSL_HEADER),
        authenticators=_texts(raw.get("AUTHENTICATORS", ()), "BROADCASTING", "AUTHENTICATORS"),
        queue=_queue(raw.get("QUEUE")),
        circuit_breaker=breaker,
    )
    result.connection(result.default)
    if result.server.connection is not None:
        result.connection(result.server.connection)
    return result


@cache
def get_authenticators() -> tuple[Callable[[HttpRequest], object], ...]:
    """
    Return what finds the user of a request.

    Imported on first use: what is named may import the whole project. Raise
    `ImproperlyConfigured` if one cannot be imported.
    """
    return tuple(map(_authenticator, get_settings().authenticators))


def sends_secure_cookies() -> bool:
    """Tell whether the project has its session's cookie sent over encrypted connections only."""
    return bool(django_settings.SESSION_COOKIE_SECURE)


@receiver(setting_changed)
def _reset(*, setting: str, **kwargs: object) -> None:
    if setting in {
        "BROADCASTING",
        "CHANNEL_LAYERS",
        "SECRET_KEY",
        "ALLOWED_HOSTS",
        "CSRF_TRUSTED_ORIGINS",
        "DEBUG",
        "CACHES",
        "SECURE_PROXY_SSL_HEADER",
    }:
        get_settings.cache_clear()
        get_authenticators.cache_clear()


def _authenticator(path: str) -> Callable[[HttpRequest], object]:
    where = 'BROADCASTING["AUTHENTICATORS"]'
    try:
        found: Callable[[HttpRequest], object] = import_string(path)
    except ImportError as exc:
        raise ImproperlyConfigured(
            f"{where} names {path!r}, which cannot be imported: {exc}"
        ) from exc
    if not callable(found):
        raise ImproperlyConfigured(f"{where} names {path!r}, which is no function.")
    return found


def _connections(
    raw: object, apps: tuple[Application, ...], breaker: CircuitBreaker
) -> dict[str, Connection]:
    connections = {
        alias: Connection(alias, driver, apps[0], circuit_breaker=breaker)
        for alias, driver in BUILT_IN_CONNECTIONS.items()
    }
    ours = {"DRIVER", "APP", "CIRCUIT_BREAKER"}
    for alias, value in _mapping(raw, 'BROADCASTING["CONNECTIONS"]').items():
        where = f'BROADCASTING["CONNECTIONS"][{alias!r}]'
        entry = _mapping(value, where)
        if not isinstance(entry.get("DRIVER"), str):
            raise ImproperlyConfigured(
                f'{where} names no driver. Give "DRIVER" the dotted path of a Broadcaster, '
                f"for example {BUILT_IN_CONNECTIONS['memory']!r}."
            )
        options = {str(k).lower(): v for k, v in entry.items() if k not in ours}
        own_breaker = breaker
        if "CIRCUIT_BREAKER" in entry:
            own_breaker = _circuit_breaker(entry["CIRCUIT_BREAKER"], where)
        connections[alias] = Connection(
            alias, entry["DRIVER"], _application_of(entry, apps, where), options, own_breaker
        )
    return connections


def _application_of(
    entry: Mapping[str, Any], apps: tuple[Application, ...], where: str
) -> Application:
    wanted = entry.get("APP", apps[0].id)
    for app in apps:
        if app.id == str(wanted):
            return app
    known = ", ".join(app.id for app in apps)
    raise ImproperlyConfigured(
        f'{where}["APP"] is {wanted!r}, which is no ID in BROADCASTING["APPS"] ({known}).'
    )


def _applications(raw: object) -> tuple[Application, ...]:
    if raw is None:
        raw = [{}]
    if not isinstance(raw, list | tuple) or not raw:
        raise ImproperlyConfigured(
            'BROADCASTING["APPS"] must be a list with at least one application, each with '
            '"ID", "KEY" and "SECRET". Leave these out of a single one to have them derived from '
            "SECRET_KEY."
        )
    credentials = _derived_credentials() if _is_derived(raw) else {}
    apps = tuple(
        _application(entry, f'BROADCASTING["APPS"][{i}]', credentials)
        for i, entry in enumerate(raw)
    )
    for attribute in ("id", "key"):
        values = [getattr(app, attribute) for app in apps]
        twice = [value for value in values if values.count(value) > 1]
        if twice:
            raise ImproperlyConfigured(
                f'Two entries of BROADCASTING["APPS"] have the same {attribute.upper()}, '
                f"{twice[0]!r}; give each its own."
            )
    return apps


def _application(value: object, where: str, credentials: Mapping[str, str]) -> Application:
    computed = {"allowed_hosts", "encryption_master_key"}
    known = [f.name.upper() for f in dataclasses.fields(Application) if f.name not in computed]
    entry = {
        **credentials,
        **_mapping(value, where, known=[*known, "ENCRYPTION_MASTER_KEY_BASE64"]),
    }
    for name in ("ID", "KEY", "SECRET"):
        if not entry.get(name):
            raise ImproperlyConfigured(f'{where} has no "{name}".')
    values: dict[str, Any] = {name.lower(): value for name, value in entry.items()}
    values |= {name: str(values[name]) for name in ("id", "key", "secret")}
    for name in ("id", "key"):
        if not _IN_ADDRESSES.fullmatch(values[name]):
            raise ImproperlyConfigured(
                f'{where}["{name.upper()}"] is {values[name]!r}; it stands in addresses and may '
                f"have letters, digits, dots, hyphens and underscores."
            )
    values |= _origins(entry.get("ALLOWED_ORIGINS"), where)
    values["secret_fallbacks"] = _texts(
        entry.get("SECRET_FALLBACKS", ()), where, "SECRET_FALLBACKS"
    )
    values["webhooks"] = _webhooks(entry.get("WEBHOOKS", ()), f'{where}["WEBHOOKS"]')
    key = values.pop("encryption_master_key_base64", None)
    values["encryption_master_key"] = None if key is None else _master_key(key, where)
    app = Application(**values)
    for f in dataclasses.fields(Application):
        _check_type(f, getattr(app, f.name), where)
    if app.max_channel_name_length > MAX_CHANNEL_LENGTH:
        raise ImproperlyConfigured(
            f'{where}["MAX_CHANNEL_NAME_LENGTH"] is {app.max_channel_name_length}; '
            f"the protocol allows {MAX_CHANNEL_LENGTH} characters."
        )
    return app


def _check_type(f: "dataclasses.Field[Any]", value: object, where: str) -> None:
    """Raise `ImproperlyConfigured` unless `value` suits the annotation of a simple field."""
    if value is None and f.default is None:
        return
    name = f'{where}["{f.name.upper()}"]'
    if f.type is bool and not isinstance(value, bool):
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be True or False.")
    if f.name == "replay_cache" and value not in django_settings.CACHES:
        raise ImproperlyConfigured(f"{name} is {value!r}, which is no alias in CACHES.")
    if f.type in (int, int | None):
        least = 0 if f.name == "presence_grace" else 1
        above = "from 0 on" if least == 0 else "above 0"
        # bool is an int, and True seconds is a typing error.
        if type(value) is not int or value < least:
            raise ImproperlyConfigured(f"{name} is {value!r}; it must be a whole number {above}.")


def _texts(raw: object, where: str, name: str) -> tuple[str, ...]:
    if not isinstance(raw, list | tuple) or not all(isinstance(s, str) and s for s in raw):
        # The value is not repeated: it may hold secrets.
        raise ImproperlyConfigured(f'{where}["{name}"] must be a list of non-empty texts.')
    return tuple(raw)


def _master_key(value: object, where: str) -> bytes:
    key = b""
    if isinstance(value, str):
        with suppress(ValueError):
            key = base64.b64decode(value, validate=True)
    if len(key) != 32:
        raise ImproperlyConfigured(
            f'{where}["ENCRYPTION_MASTER_KEY_BASE64"] is not 32 bytes in base64. '
            f"`openssl rand -base64 32` makes such a key."
        )
    return key


def _webhooks(raw: object, where: str) -> tuple[Webhook, ...]:
    if not isinstance(raw, list | tuple):
        raise ImproperlyConfigured(f"{where} must be a list of dictionaries.")
    return tuple(_webhook(entry, f"{where}[{i}]") for i, entry in enumerate(raw))


def _webhook(value: object, where: str) -> Webhook:
    known = [f.name.upper() for f in dataclasses.fields(Webhook)]
    entry = _mapping(value, where, known=known)
    values: dict[str, Any] = {name.lower(): value for name, value in entry.items()}
    values["events"] = _texts(entry.get("EVENTS", WEBHOOK_EVENTS), where, "EVENTS")
    unknown = [name for name in values["events"] if name not in WEBHOOK_EVENTS]
    if unknown:
        raise ImproperlyConfigured(
            f'{where}["EVENTS"] names {unknown[0]!r}. Known events: {", ".join(WEBHOOK_EVENTS)}.'
        )
    for name in ("CHANNEL_PREFIX", "CHANNEL_SUFFIX"):
        if not isinstance(entry.get(name, ""), str):
            raise ImproperlyConfigured(f'{where}["{name}"] must be text.')
    if not isinstance(entry.get("ALLOW_PRIVATE", False), bool):
        raise ImproperlyConfigured(f'{where}["ALLOW_PRIVATE"] must be True or False.')
    schemes = ("http", "https") if entry.get("ALLOW_PRIVATE") else ("https",)
    url = entry.get("URL")
    text = url if isinstance(url, str) else ""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        # It is sent as it is written, and stands in logs, where a password must not.
        valid = valid and parts.username is None and _VISIBLE.fullmatch(text) is not None
    except ValueError:
        valid = False
    if not valid:
        raise ImproperlyConfigured(
            f'{where}["URL"] must be an address that begins with https://, in ASCII and without '
            f"spaces or a user name. "
            f'With "ALLOW_PRIVATE": True it may begin with http:// and lead to a private network.'
        )
    return Webhook(**values)


def _server(raw: object) -> Server:
    where = 'BROADCASTING["SERVER"]'
    known = [f.name.upper() for f in dataclasses.fields(Server)]
    entry = _mapping(raw, where, known=known)
    server = Server(**{name.lower(): value for name, value in entry.items()})
    for name in ("path", "host"):
        if not isinstance(getattr(server, name), str):
            raise ImproperlyConfigured(
                f'{where}["{name.upper()}"] is {getattr(server, name)!r}; it must be text.'
            )
    token: object = server.metrics_token
    if token is not None and not (isinstance(token, str) and _VISIBLE.fullmatch(token)):
        # The value is not repeated: it is a secret.
        raise ImproperlyConfigured(
            f'{where}["METRICS_TOKEN"] must be text without spaces, or None.'
        )
    for f in dataclasses.fields(Server):
        _check_type(f, getattr(server, f.name), where)
    return dataclasses.replace(server, path=server.path.strip("/"))


def _circuit_breaker(raw: object, where: str) -> CircuitBreaker:
    if raw is None:
        return CircuitBreaker(failures=None)
    where = f'{where}["CIRCUIT_BREAKER"]'
    known = [f.name.upper() for f in dataclasses.fields(CircuitBreaker)]
    entry = _mapping(raw, where, known=known)
    breaker = CircuitBreaker(**{name.lower(): value for name, value in entry.items()})
    if type(breaker.failures) is not int or breaker.failures < 1:
        raise ImproperlyConfigured(
            f'{where}["FAILURES"] is {breaker.failures!r}; it must be a whole number above 0. '
            f"None in place of the whole dictionary switches the circuit breaker off."
        )
    for name in ("SECONDS", "SLOW"):
        _check_seconds(entry.get(name, 0), f'{where}["{name}"]')
    return breaker


def _queue(raw: object) -> Queue:
    if raw is None:
        return Queue(all=False)
    where = 'BROADCASTING["QUEUE"]'
    known = [f.name.upper() for f in dataclasses.fields(Queue)]
    entry = _mapping(raw, where, known=known)
    values: dict[str, Any] = {name.lower(): value for name, value in entry.items()}
    backoff = entry.get("BACKOFF", Queue().backoff)
    if not isinstance(backoff, list | tuple) or not backoff:
        raise ImproperlyConfigured(
            f'{where}["BACKOFF"] is {backoff!r}; it must be a list of seconds, such as [1, 5, 15].'
        )
    for seconds in backoff:
        _check_seconds(seconds, f'{where}["BACKOFF"]')
    queue = Queue(**values | {"backoff": tuple(backoff)})
    for name in ("backend", "name", "cache"):
        value = getattr(queue, name)
        if not isinstance(value, str) or not value:
            raise ImproperlyConfigured(f'{where}["{name.upper()}"] is {value!r}; it must be text.')
    if queue.cache not in django_settings.CACHES:
        raise ImproperlyConfigured(
            f'{where}["CACHE"] is {queue.cache!r}, which is no alias in CACHES.'
        )
    for f in dataclasses.fields(Queue):
        _check_type(f, getattr(queue, f.name), where)
    return queue


def _check_seconds(value: object, name: str) -> None:
    if type(value) not in (int, float) or not 0 <= cast(float, value) < math.inf:
        raise ImproperlyConfigured(
            f"{name} is {value!r}; it must be a number of seconds, 0 or more."
        )


def _is_derived(raw: Sequence[object]) -> bool:
    """Tell whether there is one application, and nothing says who it is."""
    own = {"ID", "KEY", "SECRET"}
    return len(raw) == 1 and isinstance(raw[0], Mapping) and not own.intersection(raw[0])


def _derived_credentials() -> dict[str, str]:
    def derive(name: str) -> str:
        return salted_hmac(f"broadcasting.{name}", "", algorithm="sha256").hexdigest()

    return {"ID": "1", "KEY": derive("key")[:20], "SECRET": derive("secret")}


def _origins(raw: object, where: str) -> dict[str, Any]:
    """
    Return `allowed_origins` and `allowed_hosts` of an application.

    Without a list of its own an application admits the site's own pages.
    """
    if raw is None:
        hosts = tuple(django_settings.ALLOWED_HOSTS)
        if django_settings.DEBUG and not hosts:
            hosts = LOCAL_HOSTS
        return {
            "allowed_hosts": hosts,
            # Django has a check of its own for those that are none.
            "allowed_origins": tuple(filter(_is_origin, django_settings.CSRF_TRUSTED_ORIGINS)),
        }
    if not isinstance(raw, list | tuple) or not all(_is_origin(item) for item in raw):
        raise ImproperlyConfigured(
            f'{where}["ALLOWED_ORIGINS"] must be a list of origins such as '
            f'"https://example.com", "https://*.example.com" or "*", not {raw!r}.'
        )
    return {"allowed_origins": tuple(raw)}


def _proxy_header(value: tuple[str, str] | None) -> tuple[str, str] | None:
    if value is None:
        return None
    name, expected = value
    return name.removeprefix("HTTP_").replace("_", "-").lower(), expected


def _is_origin(value: object) -> bool:
    if value == "*":
        return True
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 (raises ValueError, as urlsplit does)
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and parts.username is None
        and value == f"{parts.scheme}://{parts.netloc}"
    )


def _mapping(value: object, where: str, known: Sequence[str] = ()) -> Mapping[str, Any]:
    """Return `value` if it is a dictionary, with none but the `known` keys if they are given."""
    if not isinstance(value, Mapping):
        raise ImproperlyConfigured(f"{where} must be a dictionary, not {type(value).__name__}.")
    unknown = [str(key) for key in value if key not in known] if known else []
    if unknown:
        raise ImproperlyConfigured(
            f"{where} has unknown keys: {', '.join(sorted(unknown))}. "
            f"Known keys: {', '.join(known)}."
        )
    return value
