"""The site's URLs and middleware."""

from functools import wraps
from types import ModuleType
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings
from django.urls import include, path

from broadcasting.checks import pages, run
from broadcasting.checks.pages import check_middleware, check_urls
from broadcasting.views.auth import auth
from tests.checks.reported import reported


@wraps(auth)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    """Be what a decorator of the project makes of our view."""


def check(*patterns: Any) -> list[str]:
    """Return what is reported of a site with these URLs, and without any middleware."""
    urlconf: Any = ModuleType("urls")
    urlconf.urlpatterns = list(patterns)
    settings = {"ROOT_URLCONF": urlconf, "MIDDLEWARE": []}
    return [*reported(check_urls, **settings), *reported(check_middleware, **settings)]


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
    assert info.startswith("I003 ")
    assert "broadcasting.middleware.SocketIdMiddleware" in info


def test_w011_a_site_without_our_urls() -> None:
    """The middleware is not reported: no page has a socket."""
    (warning,) = check(path("admin/", include([path("", lambda request: None)])))  # type: ignore[arg-type, return-value]
    assert warning.startswith("W011 ")


@pytest.mark.parametrize("default", ["log", "null", "hosted"])
def test_a_site_without_sockets_and_rules_needs_no_urls(
    default: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asks it for a channel, and nobody posts to it; with rules somebody will ask."""
    pusher = {"DRIVER": "broadcasting.drivers.pusher.PusherBroadcaster", "URL": "https://a.test"}
    with override_settings(BROADCASTING={"DEFAULT": default, "CONNECTIONS": {"hosted": pusher}}):
        (warning,) = check()
        assert warning.startswith("W011 ")
        monkeypatch.setattr(pages, "rules", list)
        assert check() == []


def test_a_process_without_urls_passes() -> None:
    """It serves no pages."""
    with override_settings():
        del settings.ROOT_URLCONF
        assert run(check_urls) == run(check_middleware) == []


def test_the_middleware_may_stand_anywhere() -> None:
    """The demo has it among the last."""
    assert settings.MIDDLEWARE.index("broadcasting.middleware.SocketIdMiddleware") > 0
    assert run(check_middleware) == []
