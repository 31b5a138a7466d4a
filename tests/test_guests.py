"""Guests and their cookie."""

import time
from collections.abc import Callable
from http.cookies import Morsel

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest_django import Settings

from broadcasting.guests import (
    COOKIE_AGE,
    COOKIE_NAME,
    Guest,
    get_guest,
    is_guest_id,
    remember_guest,
)
from broadcasting.protocol.members import MAX_MEMBER_ID_LENGTH
from broadcasting.protocol.names import is_user_id

Tamper = Callable[[Guest, str], str]


def request_with(cookie: str | None = None, *, secure: bool = False) -> HttpRequest:
    """Return a request, from a browser that holds this cookie."""
    request = RequestFactory().get("/", secure=secure)
    if cookie is not None:
        request.COOKIES[COOKIE_NAME] = cookie
    return request


def cookie_for(request: HttpRequest) -> "Morsel[str] | None":
    """Return the cookie that is set for the request's guest."""
    response = HttpResponse()
    remember_guest(request, response)
    return response.cookies.get(COOKIE_NAME)


def new_guest(*, secure: bool = False) -> "tuple[Guest, Morsel[str]]":
    """Return a new guest and the cookie that is set for it."""
    request = request_with(secure=secure)
    guest = get_guest(request)
    assert get_guest(request) is guest
    morsel = cookie_for(request)
    assert morsel is not None
    return guest, morsel


def signed(text: str, salt: str) -> str:
    """Return a cookie's value as Django signs it."""
    response = HttpResponse()
    response.set_signed_cookie(COOKIE_NAME, text, salt=salt)
    return response.cookies[COOKIE_NAME].value


def test_a_guest_is_like_an_anonymous_user() -> None:
    """Code for `request.user` works with it, and it has no permissions."""
    guest, nobody = get_guest(request_with()), AnonymousUser()
    for name in ("is_authenticated", "is_anonymous", "is_active", "is_staff", "is_superuser"):
        assert getattr(guest, name) is getattr(nobody, name)
    assert guest.has_perm("whik.add_room") is nobody.has_perm("whik.add_room") is False
    assert str(guest) == guest.pk == guest.id


def test_an_id_is_random_and_valid_in_the_protocol() -> None:
    """It may identify a user, a member and a channel."""
    ids = {get_guest(request_with()).id for _ in range(50)}
    assert len(ids) == 50
    for guest_id in ids:
        assert is_guest_id(guest_id)
        assert is_user_id(guest_id)
        assert len("guest-") + 32 == len(guest_id) <= MAX_MEMBER_ID_LENGTH


def test_other_ids_are_not_those_of_guests() -> None:
    """A user may have one."""
    zeros = "0" * 32
    for value in (
        "",
        "7",
        "guest",
        "guest-1",
        "guest-" + "g" * 32,
        f"xguest-{zeros}",
        f"guest-{zeros}\n",
    ):
        assert not is_guest_id(value)


def test_the_cookie_identifies_the_guest() -> None:
    """It is not sent again. Caches may not share the page."""
    guest, morsel = new_guest()
    request, response = request_with(morsel.value), HttpResponse()
    assert get_guest(request) == guest
    remember_guest(request, response)
    assert not response.cookies
    assert response["Vary"] == "Cookie"


@pytest.mark.parametrize(
    ("request_is_secure", "setting", "expected"),
    [(False, False, False), (True, False, True), (False, True, True)],
)
def test_scripts_and_other_sites_cannot_use_the_cookie(
    request_is_secure: bool, setting: bool, expected: bool, settings: Settings
) -> None:
    """It is kept for a year. It is secure if the request is, or the session's cookie."""
    settings.SESSION_COOKIE_SECURE = setting
    _, morsel = new_guest(secure=request_is_secure)
    assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "Lax", "/")
    assert morsel["max-age"] == COOKIE_AGE == 365 * 86_400
    assert bool(morsel["secure"]) is expected


def test_a_request_without_a_guest_gets_no_cookie() -> None:
    """The page can be cached."""
    response = HttpResponse()
    remember_guest(request_with(), response)
    assert not response.cookies
    assert not response.has_header("Vary")


@pytest.mark.parametrize(
    "tampered",
    [
        lambda guest, value: "",
        lambda guest, value: guest.id,
        lambda guest, value: value[:-1] + ("A" if value[-1] != "A" else "B"),
        lambda guest, value: value.replace(guest.id, f"guest-{'0' * 32}"),
        lambda guest, value: value.swapcase(),
        lambda guest, value: signed(guest.id, salt="another"),
        lambda guest, value: signed("7", salt="broadcasting.guests"),
        lambda guest, value: "\ud800:\x00:ж",
    ],
    ids=["empty", "bare", "signature", "id", "case", "salt", "no guest", "garbage"],
)
def test_a_tampered_cookie_is_a_new_guest(tampered: Tamper) -> None:
    """Nobody becomes another guest, and nobody is refused."""
    guest, morsel = new_guest()
    request = request_with(tampered(guest, morsel.value))
    other = get_guest(request)
    assert other != guest
    assert is_guest_id(other.id)
    assert cookie_for(request) is not None


def test_a_cookie_of_another_secret_is_a_new_guest(settings: Settings) -> None:
    """Unless the former secret is a fallback."""
    guest, morsel = new_guest()
    assert get_guest(request_with(signed(guest.id, salt="broadcasting.guests"))) == guest
    former, settings.SECRET_KEY = settings.SECRET_KEY, "another"
    assert get_guest(request_with(morsel.value)) != guest
    settings.SECRET_KEY_FALLBACKS = [former]
    assert get_guest(request_with(morsel.value)) == guest


def test_an_old_cookie_is_a_new_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if a browser keeps it longer."""
    guest, morsel = new_guest()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + COOKIE_AGE - 10)
    assert get_guest(request_with(morsel.value)) == guest
    monkeypatch.setattr(time, "time", lambda: now + COOKIE_AGE + 10)
    assert get_guest(request_with(morsel.value)) != guest
