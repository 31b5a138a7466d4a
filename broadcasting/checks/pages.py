"""What pages find at the site: its URLs, and the middleware that knows their sockets."""

from collections.abc import Iterator, Sequence

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Info, Warning
from django.urls import URLPattern, URLResolver, get_resolver

from ..authorization.rules import rules
from ..middleware import SocketIdMiddleware
from ..views import auth
from .connections import serves_sockets

MIDDLEWARE = f"{SocketIdMiddleware.__module__}.{SocketIdMiddleware.__qualname__}"


def check_urls(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """
    Report a site without our addresses.

    One without any is left alone, and so is one that neither serves sockets nor has rules:
    it writes to a log, say, or to public channels of a service.
    """
    urlconf = _urlconf()
    if urlconf is None or not (serves_sockets() or rules()) or includes_broadcasting():
        return []
    return [
        Warning(
            f"{urlconf} (ROOT_URLCONF) does not include broadcasting.urls: Echo finds nobody to "
            f"ask for a private channel, and other processes cannot send what they broadcast.",
            hint='Add path("", include("broadcasting.urls")) to its urlpatterns. '
            "See docs/checks.md#broadcastingw011",
            id="broadcasting.W011",
        )
    ]


def check_middleware(
    app_configs: Sequence[AppConfig] | None, **kwargs: object
) -> list[CheckMessage]:
    """Report a site on which `to_others` leaves nobody out."""
    if MIDDLEWARE in settings.MIDDLEWARE or _urlconf() is None or not includes_broadcasting():
        return []
    return [
        Info(
            f"MIDDLEWARE lacks {MIDDLEWARE!r}: with to_others=True the page that caused an event "
            f"hears it, too.",
            hint="Add it. See docs/checks.md#broadcastingi003",
            id="broadcasting.I003",
        )
    ]


def _urlconf() -> str | None:
    return getattr(settings, "ROOT_URLCONF", None)


def includes_broadcasting() -> bool:
    """Whether the site's URLs include broadcasting.urls, decorated by the project or not."""
    modules = {getattr(view, "__module__", None) for view in _views(get_resolver().url_patterns)}
    return auth.__name__ in modules


def _views(patterns: Sequence[URLPattern | URLResolver]) -> Iterator[object]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _views(pattern.url_patterns)
        else:
            yield pattern.callback
