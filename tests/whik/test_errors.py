"""Errors are told in words, in the clothes of the other pages."""

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.test import Client, override_settings
from django.urls import path
from django.utils import translation

from whik.urls import urlpatterns as demo_urlpatterns


def _raise(error: Exception) -> HttpResponse:
    raise error


def broken(request: HttpRequest) -> HttpResponse:
    """Fail as a programming error does."""
    return _raise(RuntimeError("secret detail"))


def forbidden(request: HttpRequest) -> HttpResponse:
    """Refuse."""
    return _raise(PermissionDenied())


def senseless(request: HttpRequest) -> HttpResponse:
    """Answer what makes no sense."""
    return _raise(SuspiciousOperation())


urlpatterns = [
    *demo_urlpatterns,
    path("broken", broken),
    path("forbidden", forbidden),
    path("senseless", senseless),
]


@pytest.mark.parametrize(
    ("address", "status", "heading"),
    [
        ("/nowhere", 404, "There is nothing here"),
        ("/forbidden", 403, "You may not see this"),
        ("/senseless", 400, "That request made no sense"),
        ("/broken", 500, "Something broke on our side"),
    ],
)
@override_settings(ROOT_URLCONF=__name__)
def test_error_is_explained(client: Client, address: str, status: int, heading: str) -> None:
    """Each page says what happened, keeps the details to itself and offers a way on."""
    client.raise_request_exception = False
    response = client.get(address)
    html = response.content.decode()
    assert response.status_code == status
    assert f"<h1>{heading}</h1>" in html
    assert "secret detail" not in html
    assert 'href="/"' in html


def test_expired_form_is_explained() -> None:
    """Django's refusal of a form without its token looks like the other errors."""
    response = Client(enforce_csrf_checks=True).post("/pub")
    assert "<h1>That form had expired</h1>" in response.content.decode()


def test_address_is_shown_as_text(client: Client) -> None:
    """What somebody typed into the address is not HTML of ours."""
    html = client.get("/<script>alert(1)</script>").content.decode()
    assert "<script>alert" not in html


@pytest.mark.parametrize("template", ["400.html", "403.html", "403_csrf.html", "500.html"])
def test_error_needs_nothing_that_may_be_broken(template: str) -> None:
    """Without request, context processors, database or settings of broadcasting."""
    with override_settings(BROADCASTING="nonsense"):
        html = render_to_string(template)
    assert "<h1>" in html
    assert "broadcasting" not in html


@pytest.mark.parametrize(
    "template", ["400.html", "403.html", "403_csrf.html", "404.html", "500.html"]
)
def test_error_speaks_korean(template: str) -> None:
    """The language is the one of the page that failed."""
    with translation.override("ko"):
        html = render_to_string(template)
    assert '<html lang="ko">' in html
    assert "첫 페이지" in html
