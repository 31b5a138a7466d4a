"""
Guests: visitors who have not logged in, each with an id.

A guest is a random id in a signed cookie. It proves that a request comes from the same
browser as an earlier one, and nothing about the person.
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

    It has the attributes that code reads of ``request.user``, like Django's
    `AnonymousUser`, and an `id`. The auth endpoints refuse a user whose primary key has
    the form of such an id.
    """

    id: str

    is_authenticated = False
    is_anonymous = True
    is_active = False
    is_staff = False
    is_superuser = False

    @property
    def pk(self) -> str:
        """The `id`. There is no row with this key."""
        return self.id

    def has_perm(self, perm: str, obj: object = None) -> bool:
        """Return `False`: a guest has no permissions."""
        return False

    def __str__(self) -> str:
        return self.id


def get_guest(request: HttpRequest) -> Guest:
    """
    Return the guest of `request`, a new one if it has no valid cookie.

    Call it in the view of a page that joins channels as a guest, and install
    `GuestMiddleware`, which sends the cookie. A page without the cookie that joins two
    channels at once would be two guests.
    """
    guest: Guest | None = getattr(request, _GUEST, None)
    if guest is None:
        guest = _guest_in_cookie(request)
        setattr(request, _IS_NEW, guest is None)
        guest = guest or Guest(f"guest-{secrets.token_hex(16)}")
        setattr(request, _GUEST, guest)
    return guest


def is_guest_id(value: str) -> bool:
    """Whether `value` has the form of a guest's id."""
    return _ID.fullmatch(value) is not None


def remember_guest(request: HttpRequest, response: HttpResponseBase) -> None:
    """Set the cookie on `response` if the guest of `request` is new."""
    if not hasattr(request, _GUEST):
        return
    patch_vary_headers(response, ["Cookie"])
    if getattr(request, _IS_NEW):
        response.set_signed_cookie(
            COOKIE_NAME,
            get_guest(request).id,
            salt=_SALT,
            max_age=COOKIE_AGE,
            # A proxy may have terminated TLS without Django knowing.
            secure=request.is_secure() or sends_secure_cookies(),
            httponly=True,
            samesite="Lax",
        )


def forget_guest(request: HttpRequest) -> None:
    """Prevent that a cookie is set for the guest of `request`."""
    if hasattr(request, _GUEST):
        setattr(request, _IS_NEW, False)


def _guest_in_cookie(request: HttpRequest) -> Guest | None:
    if not request.COOKIES.get(COOKIE_NAME, "").isascii():  # Django cannot check others.
        return None
    guest_id = request.get_signed_cookie(COOKIE_NAME, None, salt=_SALT, max_age=COOKIE_AGE)
    return Guest(guest_id) if guest_id and is_guest_id(guest_id) else None
