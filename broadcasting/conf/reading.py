"""From ``settings.BROADCASTING`` to `Settings`."""

from dataclasses import fields
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from ..applications import Application, find_application
from .applications import read_applications
from .schema import CircuitBreaker, Connection, Queue, Server, Settings
from .values import (
    VISIBLE,
    checked,
    read_cache,
    read_mapping,
    read_name,
    read_options,
    read_text,
    read_texts,
)

# The aliases that exist without being written down. None of them needs an option.
BUILT_IN_CONNECTIONS = {
    "channels": "broadcasting.drivers.channel_layer.ChannelLayerBroadcaster",
    "memory": "broadcasting.drivers.memory.MemoryBroadcaster",
    "log": "broadcasting.drivers.log.LogBroadcaster",
    "null": "broadcasting.drivers.null.NullBroadcaster",
}
# No key is read for what events are kept.
_COMPUTED = {"proxy_header", "retentions"}
KEYS = tuple(f.name.upper() for f in fields(Settings) if f.name not in _COMPUTED)


def read_settings() -> Settings:
    """Return the project's settings. Raise `ImproperlyConfigured` if they are mistaken."""
    raw = read_mapping(getattr(django_settings, "BROADCASTING", {}), "BROADCASTING", KEYS)
    apps = read_applications(raw.get("APPS"))
    breaker = _circuit_breaker(raw.get("CIRCUIT_BREAKER", {}), "BROADCASTING")
    has_layer = bool(getattr(django_settings, "CHANNEL_LAYERS", {}))
    settings = Settings(
        default=raw.get("DEFAULT", "channels" if has_layer else "memory"),
        connections=_connections(raw.get("CONNECTIONS", {}), apps, breaker),
        apps=apps,
        server=_server(raw.get("SERVER", {})),
        proxy_header=_proxy_header(django_settings.SECURE_PROXY_SSL_HEADER),
        authenticators=read_texts(raw.get("AUTHENTICATORS", ()), 'BROADCASTING["AUTHENTICATORS"]'),
        queue=_queue(raw.get("QUEUE")),
        circuit_breaker=breaker,
    )
    settings.connection(settings.default)
    if settings.server.connection is not None:
        settings.connection(settings.server.connection)
    return settings


def _connections(
    raw: object, apps: tuple[Application, ...], breaker: CircuitBreaker
) -> dict[str, Connection]:
    connections = {
        alias: Connection(alias, driver, apps[0], circuit_breaker=breaker)
        for alias, driver in BUILT_IN_CONNECTIONS.items()
    }
    for alias, value in read_mapping(raw, 'BROADCASTING["CONNECTIONS"]').items():
        where = f'BROADCASTING["CONNECTIONS"][{alias!r}]'
        connections[alias] = _connection(alias, value, where, apps, breaker)
    return connections


def _connection(
    alias: str,
    raw: object,
    where: str,
    apps: tuple[Application, ...],
    breaker: CircuitBreaker,
) -> Connection:
    options: dict[str, Any] = dict(read_mapping(raw, where))
    driver = options.pop("DRIVER", None)
    if not isinstance(driver, str):
        raise ImproperlyConfigured(
            f'{where} names no driver. Give "DRIVER" the dotted path of a Broadcaster, '
            f"for example {BUILT_IN_CONNECTIONS['memory']!r}."
        )
    app_id = options.pop("APP", apps[0].id)
    app = find_application(apps, app_id=str(app_id))
    if app is None:
        known = ", ".join(app.id for app in apps)
        raise ImproperlyConfigured(
            f'{where}["APP"] is {app_id!r}, which is no ID in BROADCASTING["APPS"] ({known}).'
        )
    if "CIRCUIT_BREAKER" in options:
        breaker = _circuit_breaker(options.pop("CIRCUIT_BREAKER"), where)
    lowered = {str(name).lower(): value for name, value in options.items()}
    return Connection(alias, driver, app, lowered, breaker)


def _server(raw: object) -> Server:
    own = {
        "PATH": lambda value, name: read_text(value, name).strip("/"),
        "METRICS_TOKEN": _token,
    }
    return Server(**read_options(Server, raw, 'BROADCASTING["SERVER"]', own))


def _token(value: object, name: str) -> str:
    if not (isinstance(value, str) and VISIBLE.fullmatch(value)):
        # The value is not repeated: it is a secret.
        raise ImproperlyConfigured(f"{name} must be text without spaces, or None.")
    return value


def _circuit_breaker(raw: object, where: str) -> CircuitBreaker:
    if raw is None:
        return CircuitBreaker(failures=None)
    own = {"FAILURES": _failures}
    return CircuitBreaker(**read_options(CircuitBreaker, raw, f'{where}["CIRCUIT_BREAKER"]', own))


def _failures(value: object, name: str) -> int:
    count: int = checked(
        type(value) is int and value > 0,
        value,
        name,
        "a whole number, 1 or more. None in place of the whole dictionary switches the circuit "
        "breaker off",
    )
    return count


def _queue(raw: object) -> Queue:
    if raw is None:
        return Queue(all=False)
    own = {"BACKEND": read_name, "NAME": read_name, "CACHE": read_cache}
    return Queue(**read_options(Queue, raw, 'BROADCASTING["QUEUE"]', own))


def _proxy_header(value: tuple[str, str] | None) -> tuple[str, str] | None:
    if value is None:
        return None
    name, expected = value
    return name.removeprefix("HTTP_").replace("_", "-").lower(), expected
