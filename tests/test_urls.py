"""The addresses of the library."""

import pytest
from django.urls import Resolver404, include, path, resolve, reverse

from broadcasting.views.api import api
from broadcasting.views.auth import auth, user_auth

urlpatterns = [
    path("", include("broadcasting.urls")),
    path("mounted/", include("broadcasting.urls", namespace="mounted")),
]

pytestmark = pytest.mark.urls(__name__)


def test_the_api_is_where_sdks_expect_it() -> None:
    """At the root, or below a prefix."""
    assert reverse("broadcasting:api", args=["1/events"]) == "/apps/1/events"
    assert reverse("mounted:api", args=["1/events"]) == "/mounted/apps/1/events"
    assert resolve("/apps/1/events").func is api


def test_the_auth_endpoints_are_where_echo_and_pusher_js_expect_them() -> None:
    """Or below a prefix."""
    assert reverse("broadcasting:auth") == "/broadcasting/auth"
    assert reverse("broadcasting:user-auth") == "/broadcasting/user-auth"
    assert reverse("mounted:auth") == "/mounted/broadcasting/auth"
    assert resolve("/broadcasting/auth").func is auth
    assert resolve("/broadcasting/user-auth").func is user_auth
    assert resolve("/pusher/auth").func is auth
    assert resolve("/pusher/user-auth").func is user_auth


@pytest.mark.parametrize("name", ["live", "ready", "up", "metrics"])
def test_health_and_metrics_have_addresses(name: str) -> None:
    """At the root, or below a prefix."""
    assert reverse(f"broadcasting:{name}") == f"/{name}"
    assert reverse(f"mounted:{name}") == f"/mounted/{name}"


@pytest.mark.parametrize("url", ["/apps/", "/apps", "/app/key", "/up/", "/metrics/"])
def test_other_addresses_are_the_projects(url: str) -> None:
    """Nothing else matches."""
    with pytest.raises(Resolver404):
        resolve(url)
