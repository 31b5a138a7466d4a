"""``APPS``: the applications, their origins and their webhooks."""

import base64
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac

from ..applications import WEBHOOK_EVENTS, Application, Webhook
from ..protocol.names import MAX_CHANNEL_LENGTH
from .values import VISIBLE, Reader, read_cache, read_count, read_mapping, read_options, read_texts

# With DEBUG and an empty ALLOWED_HOSTS Django admits these; so does a socket.
LOCAL_HOSTS = (".localhost", "127.0.0.1", "[::1]")

_IN_ADDRESSES = re.compile(r"[A-Za-z0-9._-]+")
_COMPUTED = {"allowed_hosts", "encryption_master_key"}


def read_applications(raw: object) -> tuple[Application, ...]:
    """Return the applications of ``APPS``, of which there is at least one."""
    if raw is None:
        raw = [{}]
    if not isinstance(raw, list | tuple) or not raw:
        raise ImproperlyConfigured(
            'BROADCASTING["APPS"] must be a list with at least one application, each with '
            '"ID", "KEY" and "SECRET". Leave these out of a single one to have them derived from '
            "SECRET_KEY."
        )
    credentials = _derived_credentials() if _is_anonymous(raw) else {}
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


def _is_anonymous(raw: Sequence[object]) -> bool:
    """Whether there is one application, without a name or a secret."""
    named = {"ID", "KEY", "SECRET"}
    return len(raw) == 1 and isinstance(raw[0], Mapping) and not named.intersection(raw[0])


def _derived_credentials() -> dict[str, str]:
    def derive(name: str) -> str:
        return salted_hmac(f"broadcasting.{name}", "", algorithm="sha256").hexdigest()

    return {"ID": "1", "KEY": derive("key")[:20], "SECRET": derive("secret")}


def _application(raw: object, where: str, credentials: Mapping[str, str]) -> Application:
    entry = {**credentials, **read_mapping(raw, where)}
    values = read_options(Application, entry, where, _APPLICATION_READERS, _COMPUTED)
    for name in ("id", "key", "secret"):
        if not values.get(name):
            raise ImproperlyConfigured(f'{where} has no "{name.upper()}".')
    if values.get("allowed_origins") is None:
        values |= _site_origins()
    key = values.pop("encryption_master_key_base64", None)
    return Application(**values, encryption_master_key=key)


def _secret(value: object, name: str) -> str:
    return str(value or "")


def _address_part(value: object, name: str) -> str:
    text = str(value or "")
    if text and not _IN_ADDRESSES.fullmatch(text):
        raise ImproperlyConfigured(
            f"{name} is {text!r}; it is part of addresses and may have letters, digits, dots, "
            f"hyphens and underscores."
        )
    return text


def _name_length(value: object, name: str) -> int:
    length: int = read_count(value, name)
    if length > MAX_CHANNEL_LENGTH:
        raise ImproperlyConfigured(
            f"{name} is {length}; the protocol allows {MAX_CHANNEL_LENGTH} characters."
        )
    return length


def _master_key(value: object, name: str) -> bytes:
    key = b""
    if isinstance(value, str):
        with suppress(ValueError):
            key = base64.b64decode(value, validate=True)
    if len(key) != 32:
        raise ImproperlyConfigured(
            f"{name} is not 32 bytes in base64. `openssl rand -base64 32` makes such a key."
        )
    return key


# Origins


def _origins(value: object, name: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(map(_is_origin, value)):
        raise ImproperlyConfigured(
            f"{name} must be a list of origins such as "
            f'"https://example.com", "https://*.example.com" or "*", not {value!r}.'
        )
    return tuple(value)


def _site_origins() -> dict[str, tuple[str, ...]]:
    """Return the origins and hosts of the site's own pages."""
    hosts = tuple(django_settings.ALLOWED_HOSTS)
    if django_settings.DEBUG and not hosts:
        hosts = LOCAL_HOSTS
    # A check of Django reports those that are not origins.
    origins = tuple(filter(_is_origin, django_settings.CSRF_TRUSTED_ORIGINS))
    return {"allowed_hosts": hosts, "allowed_origins": origins}


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


# Webhooks


def _webhooks(value: object, name: str) -> tuple[Webhook, ...]:
    if not isinstance(value, list | tuple):
        raise ImproperlyConfigured(f"{name} must be a list of dictionaries.")
    return tuple(_webhook(entry, f"{name}[{i}]") for i, entry in enumerate(value))


def _webhook(raw: object, where: str) -> Webhook:
    values = read_options(
        Webhook, raw, where, {"EVENTS": _webhook_events, "URL": lambda value, name: value}
    )
    if not _is_webhook_url(values.get("url"), values.get("allow_private", False)):
        raise ImproperlyConfigured(
            f'{where}["URL"] must be an address that begins with https://, in ASCII and without '
            f"spaces or a user name. "
            f'With "ALLOW_PRIVATE": True it may begin with http:// and lead to a private network.'
        )
    return Webhook(**values)


def _webhook_events(value: object, name: str) -> tuple[str, ...]:
    events = read_texts(value, name)
    unknown = [event for event in events if event not in WEBHOOK_EVENTS]
    if unknown:
        raise ImproperlyConfigured(
            f"{name} names {unknown[0]!r}. Known events: {', '.join(WEBHOOK_EVENTS)}."
        )
    return events


def _is_webhook_url(value: object, allow_private: bool) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    return (
        (parts.scheme == "https" or (allow_private and parts.scheme == "http"))
        and bool(parts.hostname)
        and port != 0
        # It is sent as it is written, and stands in logs, where a password must not.
        and parts.username is None
        and VISIBLE.fullmatch(value) is not None
    )


_APPLICATION_READERS: Mapping[str, Reader] = {
    "ID": _address_part,
    "KEY": _address_part,
    "SECRET": _secret,
    "ALLOWED_ORIGINS": _origins,
    "ENCRYPTION_MASTER_KEY_BASE64": _master_key,
    "MAX_CHANNEL_NAME_LENGTH": _name_length,
    "PRESENCE_GRACE": lambda value, name: read_count(value, name, 0),
    "REPLAY_CACHE": read_cache,
    "WEBHOOKS": _webhooks,
}
_WEBHOOK_READERS: Mapping[str, Reader] = {
    "EVENTS": _webhook_events,
    "URL": lambda value, name: value,  # May hold a secret, and is checked with ALLOW_PRIVATE.
}
