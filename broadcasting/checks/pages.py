"""What pages need of the site: its URLs, and the middleware that knows their sockets."""

from collections.abc import Iterator, Sequence

from django.conf import settings
from django.core.checks import CheckMessage
from django.urls import URLPattern, URLResolver, get_resolver

from ..authorization.rules import rules
from ..middleware import SocketIdMiddleware
from ..views import auth
from .connections import serves_sockets
from .problem import problem

MIDDLEWARE = f"{SocketIdMiddleware.__module__}.{SocketIdMiddleware.__qualname__}"


def check_urls() -> Iterator[CheckMessage]:
    """
    Report a site that does not include broadcasting.urls.

    Nothing is reported for a site without URLs, nor for one that neither serves sockets nor
    has rules: it writes to a log, for example, or to public channels of a service.
    """
    urlconf = _urlconf()
    if urlconf is not None and (serves_sockets() or rules()) and not includes_broadcasting():
        yield problem(
            "broadcasting.W011",
            f"{urlconf} (ROOT_URLCONF) does not include broadcasting.urls: nobody can join a "
            f"private channel, and other processes cannot send what they broadcast.",
            'Add path("", include("broadcasting.urls")) to its urlpatterns.',
        )


def check_middleware() -> Iterator[CheckMessage]:
    """Report a site on which `to_others` leaves nobody out."""
    if MIDDLEWARE not in settings.MIDDLEWARE and _urlconf() and includes_broadcasting():
        yield problem(
            "broadcasting.I003",
            f"MIDDLEWARE lacks {MIDDLEWARE!r}: with to_others=True the page that caused an event "
            f"receives it, too.",
            "Add it.",
        )


def includes_broadcasting() -> bool:
    """Whether the site's URLs include broadcasting.urls, decorated by the project or not."""
    modules = {getattr(view, "__module__", None) for view in _views(get_resolver().url_patterns)}
    return auth.__name__ in modules


def _urlconf() -> str | None:
    return getattr(settings, "ROOT_URLCONF", None)


def _views(patterns: Sequence[URLPattern | URLResolver]) -> Iterator[object]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _views(pattern.url_patterns)
        else:
            yield pattern.callback
