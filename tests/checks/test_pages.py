"""What is reported of the site's URLs and middleware."""

from functools import wraps
from types import ModuleType
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import CheckMessage
from django.test import override_settings
from django.urls import include, path

from broadcasting.checks import pages
from broadcasting.checks.pages import check_middleware, check_urls
from broadcasting.views.auth import auth


@wraps(auth)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    """Be what a decorator of the project makes of our view."""


def check(*patterns: Any) -> list[CheckMessage]:
    """Return what is said of a site with these URLs, and without any middleware."""
    urlconf: Any = ModuleType("urls")
    urlconf.urlpatterns = list(patterns)
    with override_settings(ROOT_URLCONF=urlconf, MIDDLEWARE=[]):
        return check_urls(None) + check_middleware(None)


@pytest.mark.parametrize(
    "patterns",
    [
        [path("", include("broadcasting.urls"))],
        [path("sockets/", include("broadcasting.urls"))],
        [path("api/", include(([path("v1/", include("broadcasting.urls"))], "api")))],
        [path("who", auth)],
        [path("who", wrapped)],
    ],
    ids=["root", "prefix", "nested", "alone", "wrapped"],
)
def test_i003_a_site_with_our_urls_and_no_middleware(patterns: list[Any]) -> None:
    """Wherever they are; the URLs themselves are right."""
    (info,) = check(*patterns)
    assert info.id == "broadcasting.I003"
    assert "broadcasting.middleware.SocketIdMiddleware" in info.msg


def test_w011_a_site_without_our_urls() -> None:
    """Of the middleware nothing is said: no page has a socket."""
    (warning,) = check(path("admin/", include([path("", lambda request: None)])))  # type: ignore[arg-type, return-value]
    assert warning.id == "broadcasting.W011"


@pytest.mark.parametrize("default", ["log", "null", "hosted"])
def test_a_site_without_sockets_and_rules_needs_no_urls(
    default: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asks it for a channel, and nobody posts to it; with rules somebody will ask."""
    pusher = {"DRIVER": "broadcasting.drivers.pusher.PusherBroadcaster", "URL": "https://a.test"}
    with override_settings(BROADCASTING={"DEFAULT": default, "CONNECTIONS": {"hosted": pusher}}):
        (warning,) = check()
        assert warning.id == "broadcasting.W011"
        monkeypatch.setattr(pages, "rules", list)
        assert check() == []


def test_a_process_without_urls_passes() -> None:
    """It serves no pages."""
    with override_settings():
        del settings.ROOT_URLCONF
        assert check_urls(None) == check_middleware(None) == []


def test_the_middleware_may_stand_anywhere() -> None:
    """The demo has it among the last."""
    assert settings.MIDDLEWARE.index("broadcasting.middleware.SocketIdMiddleware") > 0
    assert check_middleware(None) == []
