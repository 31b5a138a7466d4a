"""Addresses."""

import pytest
from django.urls import Resolver404, include, path, resolve, reverse

from broadcasting.views.api import api
from broadcasting.views.auth import auth, user_auth

urlpatterns = [
    path("", include("broadcasting.urls")),
    path("mounted/", include("broadcasting.urls", namespace="mounted")),
]

pytestmark = pytest.mark.urls(__name__)


def test_the_api_stands_where_sdks_look_for_it() -> None:
    """At ``/apps/<id>/events``, or below a prefix."""
    assert reverse("broadcasting:api", args=["1/events"]) == "/apps/1/events"
    assert reverse("mounted:api", args=["1/events"]) == "/mounted/apps/1/events"
    assert resolve("/apps/1/events").func is api


def test_the_auth_endpoints_stand_where_echo_looks_for_them() -> None:
    """Or below a prefix."""
    assert reverse("broadcasting:auth") == "/broadcasting/auth"
    assert reverse("broadcasting:user-auth") == "/broadcasting/user-auth"
    assert reverse("mounted:auth") == "/mounted/broadcasting/auth"
    assert resolve("/broadcasting/auth").func is auth
    assert resolve("/broadcasting/user-auth").func is user_auth


def test_they_stand_where_pusher_js_looks_for_them_too() -> None:
    """Which has addresses of its own."""
    assert resolve("/pusher/auth").func is auth
    assert resolve("/pusher/user-auth").func is user_auth


@pytest.mark.parametrize("name", ["live", "ready", "up", "metrics"])
def test_what_machines_look_at_has_addresses_of_its_own(name: str) -> None:
    """Below a prefix, where the root is the project's."""
    assert reverse(f"broadcasting:{name}") == f"/{name}"
    assert reverse(f"mounted:{name}") == f"/mounted/{name}"


@pytest.mark.parametrize("url", ["/apps/", "/apps", "/app/key", "/up/", "/metrics/"])
def test_nothing_else_is_taken(url: str) -> None:
    """The project keeps its addresses."""
    with pytest.raises(Resolver404):
        resolve(url)
