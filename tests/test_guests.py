"""Guests: who they are, and what proves it."""

import time
from collections.abc import Callable
from http.cookies import Morsel
from typing import TypeAlias

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

Tamper: TypeAlias = Callable[[Guest, str], str]


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


def signed(text: str, salt: str) -> str:
    """Return a cookie's value as Django signs it."""
    response = HttpResponse()
    response.set_signed_cookie(COOKIE_NAME, text, salt=salt)
    return response.cookies[COOKIE_NAME].value


def signed_cookie() -> tuple[Guest, str]:
    """Return a guest and the value of their cookie."""
    request = request_with()
    guest = get_guest(request)
    morsel = cookie_for(request)
    assert morsel is not None
    return guest, morsel.value


def test_a_guest_is_asked_like_an_anonymous_user() -> None:
    """Code that is written for `request.user` works, and grants nothing."""
    guest, nobody = get_guest(request_with()), AnonymousUser()
    for name in ("is_authenticated", "is_anonymous", "is_active", "is_staff", "is_superuser"):
        assert getattr(guest, name) is getattr(nobody, name)
    assert guest.has_perm("whik.add_room") is nobody.has_perm("whik.add_room") is False
    assert str(guest) == guest.pk == guest.id


def test_an_id_is_long_random_and_fit_for_the_protocol() -> None:
    """Nobody guesses another's, and it may name a user, a member and a channel."""
    ids = {get_guest(request_with()).id for _ in range(50)}
    assert len(ids) == 50
    for guest_id in ids:
        assert is_guest_id(guest_id)
        assert is_user_id(guest_id)
        assert len(guest_id) <= MAX_MEMBER_ID_LENGTH
        assert len(guest_id.removeprefix("guest-")) == 32


@pytest.mark.parametrize(
    "value", ["", "7", "guest", "guest-", "guest-1", f"guest-{'g' * 32}", f"xguest-{'0' * 32}"]
)
def test_other_ids_are_no_guests(value: str) -> None:
    """A user may be called so."""
    assert not is_guest_id(value)
    assert not is_guest_id(f"guest-{'0' * 32}\n")


def test_a_request_has_one_guest() -> None:
    """However often it is asked, before the cookie is there."""
    request = request_with()
    assert get_guest(request) is get_guest(request)


def test_the_cookie_brings_the_same_guest_back() -> None:
    """And is not sent again."""
    guest, value = signed_cookie()
    request = request_with(value)
    assert get_guest(request) == guest
    assert cookie_for(request) is None


def test_the_cookie_is_kept_from_scripts_and_from_other_sites() -> None:
    """For a year, and from plain connections where the request was encrypted."""
    for secure in (False, True):
        request = request_with(secure=secure)
        get_guest(request)
        morsel = cookie_for(request)
        assert morsel is not None
        assert morsel["httponly"] is True
        assert morsel["samesite"] == "Lax"
        assert morsel["path"] == "/"
        assert morsel["max-age"] == COOKIE_AGE == 365 * 86_400
        assert bool(morsel["secure"]) is secure


def test_the_cookie_is_as_secure_as_that_of_the_session(settings: Settings) -> None:
    """A proxy may have taken the encryption off, and Django not know."""
    settings.SESSION_COOKIE_SECURE = True
    request = request_with(secure=False)
    get_guest(request)
    morsel = cookie_for(request)
    assert morsel is not None
    assert morsel["secure"] is True


def test_a_request_that_asks_for_no_guest_gets_no_cookie() -> None:
    """A page that has nothing to do with guests can be cached."""
    response = HttpResponse()
    remember_guest(request_with(), response)
    assert not response.cookies
    assert not response.has_header("Vary")


def test_a_page_that_knows_its_guest_is_kept_for_no_other() -> None:
    """A cache between must not give one guest's page, or cookie, to the next."""
    request = request_with(signed_cookie()[1])
    get_guest(request)
    response = HttpResponse()
    remember_guest(request, response)
    assert response["Vary"] == "Cookie"


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
    """Nobody becomes another, and nobody is shut out."""
    guest, value = signed_cookie()
    request = request_with(tampered(guest, value))
    other = get_guest(request)
    assert other != guest
    assert is_guest_id(other.id)
    morsel = cookie_for(request)
    assert morsel is not None
    assert other.id in morsel.value


def test_a_cookie_of_another_secret_is_a_new_guest(settings: Settings) -> None:
    """Until the former secret is named a fallback."""
    guest, value = signed_cookie()
    former, settings.SECRET_KEY = settings.SECRET_KEY, "another"
    assert get_guest(request_with(value)) != guest
    settings.SECRET_KEY_FALLBACKS = [former]
    assert get_guest(request_with(value)) == guest


def test_what_the_tampering_above_starts_from_is_the_real_thing() -> None:
    """With the salt of the library, a guest's id is believed."""
    guest = Guest(f"guest-{'0' * 32}")
    assert get_guest(request_with(signed(guest.id, salt="broadcasting.guests"))) == guest


def test_an_old_cookie_is_a_new_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a browser keeps it longer than it was told."""
    guest, value = signed_cookie()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + COOKIE_AGE - 10)
    assert get_guest(request_with(value)) == guest
    monkeypatch.setattr(time, "time", lambda: now + COOKIE_AGE + 10)
    assert get_guest(request_with(value)) != guest
