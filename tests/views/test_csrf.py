"""Requests that another site may have forged: what the auth endpoints answer them."""

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
    monkeypatch.setattr(authorization, "_sign_in_rules", [])
    channel_authorizer("x", lambda user: True, guests=True)
    user_authenticator(lambda user: {"id": user.pk}, guests=True)


@pytest.fixture(
    params=[True, False], ids=["with the project's middleware", "without the project's middleware"]
)
def middleware(request: pytest.FixtureRequest, settings: Settings) -> bool:
    """Run the test with and without Django's middleware; the answers are the same."""
    if not request.param:
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "Csrf" not in name]
    return bool(request.param)


@pytest.fixture
def browser(middleware: bool) -> Client:
    """Return a browser that has been on a page of the site."""
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = "a" * 32
    client.cookies["sessionid"] = "s"
    return client


def status(client: Client, body: Any = BODY, url: str = AUTH, **headers: str) -> int:
    """Return the status that is answered to a form."""
    return client.post(url, body, headers=headers).status_code


TOKEN = "a" * 32


@pytest.mark.parametrize("url", [AUTH, USER_AUTH])
@pytest.mark.parametrize("header", ["X-CSRFToken", "X-CSRF-TOKEN"])
def test_either_header_will_do(browser: Client, header: str, url: str) -> None:
    """What Django's clients send, and what Echo sends."""
    assert status(browser, url=url, **{header: TOKEN}) == 200
    assert status(browser, url=url, **{header: "b" * 32}) == 403
    assert status(browser, url=url, **{header: "no token"}) == 403
    assert status(browser, url=url, **{header: ""}) == 403


def test_a_masked_token_will_do(settings: Settings) -> None:
    """As pages hold it, with the cookie that came with the page."""
    client = Client(enforce_csrf_checks=True)
    token = client.get("/page").content.decode()
    assert len(token) == 64
    assert status(client, **{"X-CSRF-TOKEN": token}) == 200
    assert status(client, **{"X-CSRF-TOKEN": token.swapcase()}) == 403


def test_a_field_of_a_form_will_do(browser: Client) -> None:
    """As in any form of Django, of either kind."""
    assert status(browser, {**BODY, "csrfmiddlewaretoken": TOKEN}) == 200
    assert status(browser, {**BODY, "csrfmiddlewaretoken": "b" * 32}) == 403
    encoded = f"socket_id=1.2&channel_name=private-x&csrfmiddlewaretoken={TOKEN}"
    kind = "application/x-www-form-urlencoded"
    assert browser.post(AUTH, encoded, content_type=kind).status_code == 200


def test_json_takes_a_header(browser: Client) -> None:
    """A field of it is not looked at, as in Django."""
    kind, body = "application/json", {**BODY, "csrfmiddlewaretoken": TOKEN}
    assert browser.post(AUTH, body, content_type=kind).status_code == 403
    headers = {"X-CSRFToken": TOKEN}
    assert browser.post(AUTH, BODY, content_type=kind, headers=headers).status_code == 200


@pytest.mark.parametrize("url", [AUTH, USER_AUTH])
def test_a_cookie_alone_is_not_enough(browser: Client, url: str) -> None:
    """It comes along whoever wrote the page."""
    assert status(browser, url=url) == 403


def test_any_cookie_asks_for_a_token(middleware: bool) -> None:
    """It may be the one that tells who asks."""
    client = Client(enforce_csrf_checks=True)
    client.cookies["sessionid"] = "s"
    assert status(client) == 403
    assert status(client, **{"X-CSRFToken": TOKEN}) == 403


def test_without_cookies_there_is_nothing_to_forge(middleware: bool) -> None:
    """A visitor's first request, and other programs."""
    assert status(Client(enforce_csrf_checks=True)) == 200
    assert status(Client(enforce_csrf_checks=True), Origin="https://evil.example") == 200


@pytest.mark.parametrize("url", [AUTH, USER_AUTH])
@pytest.mark.parametrize(
    ("origin", "is_remembered"),
    [
        (None, True),
        ("http://testserver", True),
        ("https://trusted.example", True),
        ("https://evil.example", False),
        ("http://testserver:81", False),
        ("null", False),
    ],
)
def test_a_page_of_another_site_cannot_make_somebody_another_guest(
    origin: str | None, is_remembered: bool, url: str, middleware: bool, settings: Settings
) -> None:
    """Its form comes without the cookie, which is SameSite=Lax, and must not bring a new one."""
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example"]
    client = Client(enforce_csrf_checks=True)
    headers = {} if origin is None else {"Origin": origin}
    assert client.post(url, BODY, headers=headers).status_code == 200
    assert (COOKIE_NAME in client.cookies) is is_remembered


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("Bearer t", 200),
        ("Token t", 200),
        ("JWT t", 200),
        ("Basic dTpw", 403),
        ("basic dTpw", 403),
        ("Digest username=u", 403),
        ("Negotiate t", 403),
        ("NTLM t", 403),
        ("", 403),
        (" ", 403),
    ],
)
@pytest.mark.parametrize("has_cookie", [True, False])
def test_a_token_of_the_clients_own_is_enough(
    authorization: str, expected: int, has_cookie: bool, browser: Client
) -> None:
    """What a browser sends by itself, such as a password that it knows, is not."""
    client = browser if has_cookie else Client(enforce_csrf_checks=True)
    assert status(client, Authorization=authorization) == expected


def test_a_password_and_a_token_will_do(browser: Client) -> None:
    """As for every other view."""
    assert status(browser, Authorization="Basic dTpw", **{"X-CSRFToken": TOKEN}) == 200


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://testserver", 200),
        ("https://trusted.example", 200),
        ("https://a.wild.example", 200),
        ("https://testserver", 403),
        ("http://testserver:81", 403),
        ("http://trusted.example", 403),
        ("https://trusted.example.evil", 403),
        ("https://evil.example", 403),
        ("null", 403),
    ],
)
def test_origins(origin: str, expected: int, browser: Client, settings: Settings) -> None:
    """The site's own and those of CSRF_TRUSTED_ORIGINS, with the token."""
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example", "https://*.wild.example"]
    assert status(browser, Origin=origin, **{"X-CSRF-TOKEN": TOKEN}) == expected
    assert status(browser, Origin=origin) == 403


@pytest.mark.parametrize(
    ("referer", "expected"),
    [
        ("https://testserver/page", 200),
        ("https://evil.example/", 403),
        ("http://testserver/", 403),
        (None, 403),
    ],
)
def test_an_encrypted_request_without_an_origin_says_its_page(
    referer: str | None, expected: int, browser: Client
) -> None:
    """As Django asks of all its forms."""
    headers = {"X-CSRFToken": TOKEN} | ({} if referer is None else {"Referer": referer})
    response = browser.post(AUTH, BODY, headers=headers, secure=True)
    assert response.status_code == expected


def test_the_header_of_the_settings_goes_first(browser: Client, settings: Settings) -> None:
    """The other two still do."""
    settings.CSRF_HEADER_NAME = "HTTP_X_XSRF_TOKEN"
    assert status(browser, **{"X-XSRF-TOKEN": TOKEN}) == 200
    assert status(browser, **{"X-CSRFToken": TOKEN}) == 200
    assert status(browser, **{"X-CSRF-TOKEN": TOKEN}) == 200
    assert status(browser, **{"X-XSRF-TOKEN": "b" * 32, "X-CSRFToken": TOKEN}) == 403


def test_the_cookie_of_the_settings_is_read(browser: Client, settings: Settings) -> None:
    """By its name."""
    settings.CSRF_COOKIE_NAME = "xsrf"
    assert status(browser, **{"X-CSRFToken": TOKEN}) == 403
    browser.cookies["xsrf"] = TOKEN
    assert status(browser, **{"X-CSRFToken": TOKEN}) == 200


@pytest.mark.django_db
def test_a_token_in_the_session_will_do(settings: Settings) -> None:
    """Where the project keeps it there."""
    settings.CSRF_USE_SESSIONS = True
    client = Client(enforce_csrf_checks=True)
    token = client.get("/page").content.decode()
    assert "csrftoken" not in client.cookies
    assert status(client, **{"X-CSRF-TOKEN": token}) == 200
    assert status(client) == 403


def test_a_forged_request_is_answered_in_json(
    browser: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Not with the page that Django shows to people, and with nothing that helps."""
    response = browser.post(AUTH, BODY, headers={"Origin": "https://evil.example"})
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    assert response.json() == {"error": "Forbidden"}
    (text,) = [r.getMessage() for r in caplog.records if r.name == "broadcasting.auth"]
    assert text.startswith(
        "Refused POST /broadcasting/auth: CSRF: Origin checking failed - https://evil.example does "
        "not match any trusted origins. "
    )


@pytest.mark.parametrize(
    ("cookies", "reason"),
    [({"sessionid": "s"}, "CSRF cookie not set."), ({"csrftoken": TOKEN}, "CSRF token missing.")],
)
def test_a_developer_is_told_what_is_missing(
    cookies: dict[str, str], reason: str, settings: Settings
) -> None:
    """And what to do about it."""
    settings.DEBUG = True
    request = RequestFactory().post(AUTH, BODY)
    request.META["HTTP_COOKIE"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    answer = json.loads(auth(request).content)
    assert answer["error"] == "Forbidden"
    assert answer["reason"].startswith(f"CSRF: {reason} A page sends its token as X-CSRFToken or ")


def test_a_forged_request_asks_no_rule() -> None:
    """Rules may do things."""

    def chat(user: object) -> bool:
        raise AssertionError

    channel_authorizer("y", chat, guests=True)
    client = Client(enforce_csrf_checks=True)
    client.cookies["sessionid"] = "s"
    assert status(client, {**BODY, "channel_name": "private-y"}) == 403


def test_the_clients_of_a_projects_tests_need_no_token() -> None:
    """Unless they ask to be checked, as everywhere in Django."""
    client = Client()
    client.cookies["sessionid"] = "s"
    assert status(client) == 200


async def test_it_is_looked_at_below_an_async_server() -> None:
    """With the same answers."""
    client = AsyncClient(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = TOKEN
    refused = await client.post(AUTH, BODY)
    assert (refused.status_code, refused.json()) == (403, {"error": "Forbidden"})
    admitted = await client.post(AUTH, BODY, headers={"X-CSRF-TOKEN": TOKEN})
    assert admitted.status_code == 200
