"""Requests that another site may have forged, at the auth endpoints."""

import json
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.test import AsyncClient, Client, RequestFactory
from django.urls import include, path
from django.views.decorators.csrf import ensure_csrf_cookie
from pytest_django import Settings

from broadcasting import channel_authorizer, user_authenticator
from broadcasting.authorization import rules as authorization
from broadcasting.guests import COOKIE_NAME
from broadcasting.views.auth import auth

AUTH = "/broadcasting/auth"
USER_AUTH = "/broadcasting/user-auth"
BODY = {"socket_id": "1.2", "channel_name": "private-x"}
TOKEN = "a" * 32
OTHER = "b" * 32


@ensure_csrf_cookie
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(get_token(request))


urlpatterns = [
    path("page", page),
    path("", include("broadcasting.urls")),
]

pytestmark = pytest.mark.urls(__name__)


@pytest.fixture(autouse=True)
def _everybody_may_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorization, "_rules", [])
    monkeypatch.setattr(authorization, "_sign_in_handlers", [])
    channel_authorizer("x", lambda user: True, guests=True)
    user_authenticator(lambda user: {"id": user.pk}, guests=True)


@pytest.fixture(params=[True, False], ids=["with Django's middleware", "without it"], autouse=True)
def _middleware(request: pytest.FixtureRequest, settings: Settings) -> None:
    """Run each test with and without Django's middleware; the answers are the same."""
    if not request.param:
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "Csrf" not in name]


@pytest.fixture
def browser() -> Client:
    """Return a browser that has been on a page of the site."""
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = TOKEN
    client.cookies["sessionid"] = "s"
    return client


@pytest.fixture
def stranger() -> Client:
    """Return a browser without cookies."""
    return Client(enforce_csrf_checks=True)


def status(client: Client, body: Any = BODY, url: str = AUTH, **headers: str) -> int:
    """Return the status that a form is answered with."""
    return client.post(url, body, headers=headers).status_code


@pytest.mark.parametrize("url", [AUTH, USER_AUTH])
@pytest.mark.parametrize("header", ["X-CSRFToken", "X-CSRF-TOKEN"])
def test_a_token_is_accepted_in_either_header(browser: Client, header: str, url: str) -> None:
    """Of Django's clients and of Echo. A cookie alone is not enough."""
    assert status(browser, url=url, **{header: TOKEN}) == 200
    assert status(browser, url=url) == 403
    for token in (OTHER, "no token", ""):
        assert status(browser, url=url, **{header: token}) == 403


def test_a_token_is_accepted_in_a_form(browser: Client) -> None:
    """Of either kind. JSON needs a header, as in Django."""
    body = {**BODY, "csrfmiddlewaretoken": TOKEN}
    assert status(browser, body) == 200
    assert status(browser, {**BODY, "csrfmiddlewaretoken": OTHER}) == 403
    encoded = f"socket_id=1.2&channel_name=private-x&csrfmiddlewaretoken={TOKEN}"
    kind = "application/x-www-form-urlencoded"
    assert browser.post(AUTH, encoded, content_type=kind).status_code == 200
    kind, headers = "application/json", {"X-CSRFToken": TOKEN}
    assert browser.post(AUTH, body, content_type=kind).status_code == 403
    assert browser.post(AUTH, BODY, content_type=kind, headers=headers).status_code == 200


def test_any_cookie_requires_a_token(stranger: Client) -> None:
    """It may identify the visitor. No rule is called."""

    def chat(user: object) -> bool:
        raise AssertionError

    channel_authorizer("y", chat, guests=True)
    stranger.cookies["sessionid"] = "s"
    assert status(stranger, {**BODY, "channel_name": "private-y"}) == 403
    assert status(stranger, **{"X-CSRFToken": TOKEN}) == 403


def test_without_cookies_there_is_nothing_to_forge(stranger: Client) -> None:
    """As with a visitor's first request, and with other programs."""
    assert status(stranger, Origin="https://evil.example") == 200


@pytest.mark.parametrize("url", [AUTH, USER_AUTH])
@pytest.mark.parametrize(
    ("origin", "is_remembered"),
    [
        ("", True),
        ("http://testserver", True),
        ("https://trusted.example", True),
        ("https://evil.example", False),
        ("http://testserver:81", False),
        ("null", False),
    ],
)
def test_another_site_cannot_replace_the_guest(
    origin: str, is_remembered: bool, url: str, stranger: Client, settings: Settings
) -> None:
    """Its form comes without the cookie, which is SameSite=Lax, and gets no new one."""
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example"]
    headers = {"Origin": origin} if origin else {}
    assert status(stranger, url=url, **headers) == 200
    assert (COOKIE_NAME in stranger.cookies) is is_remembered


@pytest.mark.parametrize(
    ("schemes", "expected"),
    [("Bearer Token JWT", 200), ("Basic basic Digest Negotiate NTLM", 403)],
)
def test_a_token_of_the_clients_own_is_enough(
    schemes: str, expected: int, browser: Client, stranger: Client
) -> None:
    """But not what a browser sends by itself, such as a password, unless with a CSRF token."""
    for scheme in schemes.split():
        for client in (browser, stranger):
            assert status(client, Authorization=f"{scheme} x") == expected
        assert status(browser, Authorization=f"{scheme} x", **{"X-CSRFToken": TOKEN}) == 200
    assert status(stranger, Authorization=" ") == status(browser, Authorization="") == 403


@pytest.mark.parametrize(
    ("origins", "expected"),
    [
        ("http://testserver https://trusted.example https://a.wild.example", 200),
        ("https://testserver http://testserver:81 http://trusted.example null", 403),
        ("https://trusted.example.evil https://evil.example", 403),
    ],
)
def test_origins(origins: str, expected: int, browser: Client, settings: Settings) -> None:
    """The site's own and those of CSRF_TRUSTED_ORIGINS, with the token."""
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example", "https://*.wild.example"]
    for origin in origins.split():
        assert status(browser, Origin=origin, **{"X-CSRF-TOKEN": TOKEN}) == expected
        assert status(browser, Origin=origin) == 403


def test_https_without_an_origin_needs_a_referer(browser: Client) -> None:
    """As in Django."""
    for referer, expected in (
        ("https://testserver/page", 200),
        ("https://evil.example/", 403),
        ("http://testserver/", 403),
        ("", 403),
    ):
        headers = {"X-CSRFToken": TOKEN} | ({"Referer": referer} if referer else {})
        response = browser.post(AUTH, BODY, headers=headers, secure=True)
        assert response.status_code == expected


@pytest.mark.django_db
def test_the_settings_of_django_apply(browser: Client, settings: Settings) -> None:
    """The header's name, which goes before the other two; the cookie's; tokens in the session."""
    settings.CSRF_HEADER_NAME = "HTTP_X_XSRF_TOKEN"
    for header in ("X-XSRF-TOKEN", "X-CSRFToken", "X-CSRF-TOKEN"):
        assert status(browser, **{header: TOKEN}) == 200
    assert status(browser, **{"X-XSRF-TOKEN": OTHER, "X-CSRFToken": TOKEN}) == 403
    settings.CSRF_COOKIE_NAME = "xsrf"
    assert status(browser, **{"X-CSRFToken": TOKEN}) == 403
    browser.cookies["xsrf"] = TOKEN
    assert status(browser, **{"X-CSRFToken": TOKEN}) == 200


@pytest.mark.django_db
@pytest.mark.parametrize("in_session", [True, False])
def test_a_masked_token_of_a_page_is_accepted(
    in_session: bool, stranger: Client, settings: Settings
) -> None:
    """With the cookie that came with the page, or in the session."""
    settings.CSRF_USE_SESSIONS = in_session
    token = stranger.get("/page").content.decode()
    assert len(token) == 64
    assert ("csrftoken" in stranger.cookies) is not in_session
    assert status(stranger, **{"X-CSRF-TOKEN": token}) == 200
    assert status(stranger, **{"X-CSRF-TOKEN": token.swapcase()}) == 403


@pytest.mark.parametrize(
    ("cookies", "headers", "reason"),
    [
        ({"sessionid": "s"}, {}, "CSRF cookie not set"),
        ({"csrftoken": TOKEN}, {}, "CSRF token missing"),
        ({"csrftoken": TOKEN}, {"Origin": "https://evil.example"}, "https://evil.example"),
    ],
)
def test_the_reason_goes_to_the_log_and_to_developers(
    cookies: dict[str, str],
    headers: dict[str, str],
    reason: str,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The response is JSON. Django's private `_reject` is called with the reason."""
    request = RequestFactory().post(AUTH, BODY, headers=headers)
    request.META["HTTP_COOKIE"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    response = auth(request)
    assert (response["Content-Type"], response["Cache-Control"]) == ("application/json", "no-store")
    assert json.loads(response.content) == {"error": "Forbidden"}
    (text,) = [r.getMessage() for r in caplog.records if r.name == "broadcasting.auth"]
    assert text.startswith(f"Refused POST {AUTH}: CSRF: ")
    assert reason in text
    settings.DEBUG = True
    told = json.loads(auth(request).content)["reason"]
    assert reason in told
    assert "A page sends its token as" in told


async def test_an_async_server_checks_the_same() -> None:
    """Clients of a project's tests need no token, unless they ask to be checked."""
    client = AsyncClient(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = TOKEN
    assert (await client.post(AUTH, BODY)).status_code == 403
    assert (await client.post(AUTH, BODY, headers={"X-CSRF-TOKEN": TOKEN})).status_code == 200
    client = AsyncClient()
    client.cookies["sessionid"] = "s"
    assert (await client.post(AUTH, BODY)).status_code == 200
