"""``{% broadcasting_scripts %}``: everything a page needs to have ``window.Echo``."""

from django import template
from django.forms.utils import flatatt
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from ..conf import get_settings

register = template.Library()

_PUSHER = "broadcasting/vendor/pusher.min.js"
_PUSHER_WITH_ENCRYPTION = "broadcasting/vendor/pusher-with-encryption.min.js"
_ECHO = "broadcasting/vendor/echo.iife.js"

# Where Echo looks for them, and where they are unless the project says otherwise.
_ENDPOINTS = {"auth": "/broadcasting/auth", "user-auth": "/broadcasting/user-auth"}


@register.simple_tag(takes_context=True)
def broadcasting_scripts(
    context: template.Context, nonce: str = "", csrf: bool = True, encrypted: bool = False
) -> SafeString:
    """
    Load pusher-js and Laravel Echo from this site, and make ``window.Echo`` an instance.

    Put it before the scripts that use ``Echo``. The settings travel in attributes of
    the last script, so that a strict Content Security Policy needs no exception; where
    the policy names a nonce, pass it: ``{% broadcasting_scripts nonce=request.csp_nonce %}``.

    The visitor's CSRF token is among them: the auth endpoints ask for it. A page that a
    cache keeps for everybody must leave it out: ``{% broadcasting_scripts csrf=False %}``.
    A page that listens to encrypted channels needs the build of pusher-js that can open
    them, which is larger by a third: ``{% broadcasting_scripts encrypted=True %}``.
    """
    settings = get_settings()
    configured = {
        "src": static("broadcasting/echo.js"),
        "data-key": settings.apps[0].key,
        "data-path": f"/{settings.server.path}" if settings.server.path else "",
        "data-auth-endpoint": _endpoint("auth"),
        "data-user-auth-endpoint": _endpoint("user-auth"),
    }
    if csrf and (token := context.get("csrf_token")):
        configured["data-csrf-token"] = str(token)
    pusher = _PUSHER_WITH_ENCRYPTION if encrypted else _PUSHER
    scripts = [{"src": static(pusher)}, {"src": static(_ECHO)}, configured]
    if nonce:
        # str: a lazy nonce is made by being read.
        scripts = [{**attributes, "nonce": str(nonce)} for attributes in scripts]
    return format_html_join(
        "\n", "<script{}></script>", ((flatatt(attributes),) for attributes in scripts)
    )


def _endpoint(name: str) -> str:
    """Return the address of a route of ours, also where the site stands below a prefix."""
    try:
        return reverse(f"broadcasting:{name}")
    except NoReverseMatch:  # The project has not included them; it may still serve them.
        return _ENDPOINTS[name]
