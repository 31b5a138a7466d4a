"""
``settings.BROADCASTING`` as frozen dataclasses; the only place that reads settings.

Everything has a default, so a project need not write the setting at all: events go
through the channel layer where the project has one and stay in the process where
it has none, and one application's key and secret are derived from ``SECRET_KEY``.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.crypto import salted_hmac

from .credentials import Application

# The aliases that exist without being written down. None of them needs an option.
BUILT_IN_CONNECTIONS = {
    "channels": "broadcasting.drivers.channel_layer.ChannelLayerBroadcaster",
    "memory": "broadcasting.drivers.memory.MemoryBroadcaster",
    "log": "broadcasting.drivers.log.LogBroadcaster",
    "null": "broadcasting.drivers.null.NullBroadcaster",
}
# With DEBUG and an empty ALLOWED_HOSTS Django admits these; so does a socket.
LOCAL_HOSTS = (".localhost", "127.0.0.1", "[::1]")

_IN_ADDRESSES = re.compile(r"[A-Za-z0-9._-]+")
_KEYS = ("DEFAULT", "CONNECTIONS", "APPS", "SERVER")
_SERVER_KEYS = ("CONNECTION", "PATH")


@dataclass(frozen=True, slots=True)
class Connection:
    """One entry of ``CONNECTIONS``: which driver, for which application, with what."""

    alias: str
    driver: str
    app: Application
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """
    The whole of ``BROADCASTING``.

    Attributes:
        default: The alias that events go through unless they say otherwise.
        connections: Every known connection by its alias.
        apps: The applications, the first of them being the default one.
        server_connection: The alias that server processes read, `None` for the
            default one if its driver can be read.
        server_path: What stands before ``/app/<key>`` in a socket's address.
    """

    default: str
    connections: Mapping[str, Connection]
    apps: tuple[Application, ...]
    server_connection: str | None
    server_path: str

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
    connections = _connections(raw.get("CONNECTIONS", {}), apps)
    server = _mapping(raw.get("SERVER", {}), 'BROADCASTING["SERVER"]', known=_SERVER_KEYS)
    path = server.get("PATH", "")
    if not isinstance(path, str):
        raise ImproperlyConfigured(
            f'BROADCASTING["SERVER"]["PATH"] is {path!r}; it must be text such as "ws", or empty.'
        )
    has_layer = bool(getattr(django_settings, "CHANNEL_LAYERS", {}))
    result = Settings(
        default=raw.get("DEFAULT", "channels" if has_layer else "memory"),
        connections=connections,
        apps=apps,
        server_connection=server.get("CONNECTION"),
        server_path=path.strip("/"),
    )
    result.connection(result.default)
    if result.server_connection is not None:
        result.connection(result.server_connection)
    return result


@receiver(setting_changed)
def _reset(*, setting: str, **kwargs: object) -> None:
    if setting in {
        "BROADCASTING",
        "CHANNEL_LAYERS",
        "SECRET_KEY",
        "ALLOWED_HOSTS",
        "CSRF_TRUSTED_ORIGINS",
        "DEBUG",
    }:
        get_settings.cache_clear()


def _connections(raw: object, apps: tuple[Application, ...]) -> dict[str, Connection]:
    connections = {
        alias: Connection(alias, driver, apps[0]) for alias, driver in BUILT_IN_CONNECTIONS.items()
    }
    for alias, value in _mapping(raw, 'BROADCASTING["CONNECTIONS"]').items():
        where = f'BROADCASTING["CONNECTIONS"][{alias!r}]'
        entry = _mapping(value, where)
        if not isinstance(entry.get("DRIVER"), str):
            raise ImproperlyConfigured(
                f'{where} names no driver. Give "DRIVER" the dotted path of a Broadcaster, '
                f"for example {BUILT_IN_CONNECTIONS['memory']!r}."
            )
        options = {str(k).lower(): v for k, v in entry.items() if k not in {"DRIVER", "APP"}}
        connections[alias] = Connection(
            alias, entry["DRIVER"], _application_of(entry, apps, where), options
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
        return (_derived_application(),)
    if not isinstance(raw, list | tuple) or not raw:
        raise ImproperlyConfigured(
            'BROADCASTING["APPS"] must be a list with at least one application, each with '
            '"ID", "KEY" and "SECRET". Leave it out to have one derived from SECRET_KEY.'
        )
    apps = tuple(_application(entry, f'BROADCASTING["APPS"][{i}]') for i, entry in enumerate(raw))
    for attribute in ("id", "key"):
        values = [getattr(app, attribute) for app in apps]
        twice = [value for value in values if values.count(value) > 1]
        if twice:
            raise ImproperlyConfigured(
                f'Two entries of BROADCASTING["APPS"] have the same {attribute.upper()}, '
                f"{twice[0]!r}; give each its own."
            )
    return apps


def _application(value: object, where: str) -> Application:
    known = [f.name.upper() for f in dataclasses.fields(Application) if f.name != "allowed_hosts"]
    entry = _mapping(value, where, known=known)
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
    app = Application(**values)
    for f in dataclasses.fields(Application):
        value = getattr(app, f.name)
        # bool is an int, and True seconds is a typing error.
        if f.type is int and (type(value) is not int or value <= 0):
            raise ImproperlyConfigured(
                f'{where}["{f.name.upper()}"] is {value!r}; it must be a whole number above 0.'
            )
    return app


def _derived_application() -> Application:
    def derive(name: str) -> str:
        return salted_hmac(f"broadcasting.{name}", "", algorithm="sha256").hexdigest()

    return Application(
        id="1",
        key=derive("key")[:20],
        secret=derive("secret"),
        **_origins(None, 'BROADCASTING["APPS"]'),
    )


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
