"""How fast one address may change things."""

from django.core.cache import cache
from django.http import HttpRequest
from django.utils.translation import gettext as _

# More than several people do, less than a script.
CHANGES = 60
SECONDS = 10


def is_too_fast(request: HttpRequest) -> bool:
    """Count a change. Return whether its sender made too many in the last seconds."""
    key = f"whik.changes.{request.META.get('REMOTE_ADDR', '')}"
    cache.add(key, 0, SECONDS)
    try:
        return cache.incr(key) > CHANGES
    except ValueError:  # It expired in between.
        return False


def too_fast_text() -> str:
    """Return the error message for a sender who is too fast."""
    return _("You made too many changes in a short time. Wait ten seconds and try again.")
