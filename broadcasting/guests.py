"""
Guests: visitors who have not logged in, and are told apart all the same.

A guest is a random id in a signed cookie. It proves that the same browser is back, and
nothing about who sits before it.
"""

import re
import secrets
from dataclasses import dataclass

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from .conf import sends_secure_cookies

COOKIE_NAME = "broadcasting_guest"
COOKIE_AGE = 365 * 24 * 60 * 60  # Seconds.

_SALT = "broadcasting.guests"
_ID = re.compile(r"guest-[0-9a-f]{32}")
_GUEST = "_broadcasting_guest"
_IS_NEW = "_broadcasting_guest_is_new"


@dataclass(frozen=True, slots=True)
class Guest:
    """
    A visitor who has not logged in.

    Answers what code asks of ``request.user``, as Django's `AnonymousUser` does, but
    has an `id`. No user of the project has an id of this form: the auth endpoints
    refuse one whose primary key has.
    """

    id: str

    is_authenticated = False
    is_anonymous = True
    is_active = False
    is_staff = False
    is_superuser = False

    @property
    def pk(self) -> str:
        """The `id`. There is no row of this key."""
        return self.id

    def has_perm(self, perm: str, obj: object = None) -> bool:
        """Tell that a guest has no permission."""
        return False

    def __str__(self) -> str:
        return self.id


def get_guest(request: HttpRequest) -> Guest:
    """
    Return the guest whose browser sent `request`, a new one if the cookie names none.

    Call it in the view of a page whose scripts will join a channel as a guest, and let
    `GuestMiddleware` send the cookie: a page that comes without it, and joins two
    channels at once, would be two guests.
    """
    guest: Guest | None = getattr(request, _GUEST, None)
    if guest is None:
        guest = _guest_in_cookie(request)
        setattr(request, _IS_NEW, guest is None)
        guest = guest or Guest(f"guest-{secrets.token_hex(16)}")
        setattr(request, _GUEST, guest)
    return guest


def is_guest_id(value: str) -> bool:
    """Tell whether `value` has the form of a guest's id."""
    return _ID.fullmatch(value) is not None


def remember_guest(request: HttpRequest, response: HttpResponseBase) -> None:
    """Set the cookie on `response` if the guest of `request` is a new one."""
    if not hasattr(request, _GUEST):
        return
    patch_vary_headers(response, ["Cookie"])
    if getattr(request, _IS_NEW):
        response.set_signed_cookie(
            COOKIE_NAME,
            get_guest(request).id,
            salt=_SALT,
            max_age=COOKIE_AGE,
            # Behind a proxy that is not trusted to say so, as the session's cookie.
            secure=request.is_secure() or sends_secure_cookies(),
            httponly=True,
            samesite="Lax",
        )


def forget_guest(request: HttpRequest) -> None:
    """Let no cookie be set for the guest of `request`, whatever middleware there is."""
    if hasattr(request, _GUEST):
        setattr(request, _IS_NEW, False)


def _guest_in_cookie(request: HttpRequest) -> Guest | None:
    if not request.COOKIES.get(COOKIE_NAME, "").isascii():  # Django encodes what it compares.
        return None
    guest_id = request.get_signed_cookie(COOKIE_NAME, None, salt=_SALT, max_age=COOKIE_AGE)
    return Guest(guest_id) if guest_id and is_guest_id(guest_id) else None
