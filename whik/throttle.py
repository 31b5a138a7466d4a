"""How fast one address may change what all see."""

from django.core.cache import cache
from django.http import HttpRequest
from django.utils.translation import gettext as _

# More than people do together; less than a script would.
CHANGES = 60
SECONDS = 10


def is_too_fast(request: HttpRequest) -> bool:
    """Count a change, and tell whether its sender has made too many in the last seconds."""
    key = f"whik.changes.{request.META.get('REMOTE_ADDR', '')}"
    cache.add(key, 0, SECONDS)
    try:
        return cache.incr(key) > CHANGES
    except ValueError:  # It expired in between.
        return False


def haste() -> str:
    """Return what whoever was too fast is told."""
    return _("That was a lot in a short time. Wait ten seconds and try again.")
