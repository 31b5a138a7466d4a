"""Pages for errors."""

import re

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
    return _raise(RuntimeError("secret detail"))


def forbidden(request: HttpRequest) -> HttpResponse:
    return _raise(PermissionDenied())


def senseless(request: HttpRequest) -> HttpResponse:
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
        ("/nowhere", 404, "Page not found"),
        ("/forbidden", 403, "may not open this page"),
        ("/senseless", 400, "did not understand"),
        ("/broken", 500, "went wrong"),
    ],
)
@override_settings(ROOT_URLCONF=__name__)
def test_error_is_explained(client: Client, address: str, status: int, heading: str) -> None:
    client.raise_request_exception = False
    response = client.get(address)
    html = response.content.decode()
    assert response.status_code == status
    assert re.search(f"<h1>.*{heading}.*</h1>", html)
    assert "secret detail" not in html
    assert 'href="/"' in html


def test_expired_form_is_explained() -> None:
    response = Client(enforce_csrf_checks=True).post("/pub")
    assert "expired</h1>" in response.content.decode()


def test_address_is_shown_as_text(client: Client) -> None:
    html = client.get("/<script>alert(1)</script>").content.decode()
    assert "<script>alert" not in html


@pytest.mark.parametrize("template", ["400", "403", "403_csrf", "404", "500"])
def test_error_page_needs_neither_request_nor_settings(template: str) -> None:
    with override_settings(BROADCASTING="nonsense"), translation.override("ko"):
        html = render_to_string(f"{template}.html")
    assert '<html lang="ko">' in html
    assert "첫 페이지" in html
    assert "broadcasting" not in html
