"""
``settings.BROADCASTING``, read once and checked.

Everything has a default, so a project need not write the setting at all. Events go through
the channel layer if the project has one, and stay in the process if it has none. A single
application without a key and a secret gets both derived from ``SECRET_KEY``.
"""

from collections.abc import Callable
from functools import cache

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils.module_loading import import_string

from .reading import read_settings
from .schema import CircuitBreaker, Connection, Queue, Server, Settings

__all__ = [
    "QUEUEING",
    "CircuitBreaker",
    "Connection",
    "Queue",
    "Server",
    "Settings",
    "get_authenticators",
    "get_settings",
    "sends_secure_cookies",
]

# The module that keeps events that wait; `broadcasting.events` knows it by this name alone.
QUEUEING = "broadcasting.queueing.enqueue"


@cache
def get_settings() -> Settings:
    """Return the project's settings. Raise `ImproperlyConfigured` if they are mistaken."""
    return read_settings()


@cache
def get_authenticators() -> tuple[Callable[[HttpRequest], object], ...]:
    """
    Return the functions that find the user of a request.

    They are imported on first use, since they may import the whole project. Raise
    `ImproperlyConfigured` if one cannot be imported.
    """
    return tuple(map(_authenticator, get_settings().authenticators))


def sends_secure_cookies() -> bool:
    """Whether browsers send the project's session cookie over encrypted connections only."""
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
        raise ImproperlyConfigured(f"{where} names {path!r}, which is not a function.")
    return found
