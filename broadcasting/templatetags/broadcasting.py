"""``{% broadcasting_scripts %}``: everything a page needs to have ``window.Echo``."""

from django import template
from django.forms.utils import flatatt
from django.templatetags.static import static
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from ..conf import get_settings

register = template.Library()

_VENDORED = ("broadcasting/vendor/pusher.min.js", "broadcasting/vendor/echo.iife.js")


@register.simple_tag
def broadcasting_scripts(nonce: str = "") -> SafeString:
    """
    Load pusher-js and Laravel Echo from this site, and make ``window.Echo`` an instance.

    Put it before the scripts that use ``Echo``. The settings travel in attributes of
    the last script, so that a strict Content Security Policy needs no exception; where
    the policy names a nonce, pass it: ``{% broadcasting_scripts nonce=request.csp_nonce %}``.
    """
    settings = get_settings()
    configured = {
        "src": static("broadcasting/echo.js"),
        "data-key": settings.apps[0].key,
        "data-path": f"/{settings.server_path}" if settings.server_path else "",
    }
    scripts = [*({"src": static(path)} for path in _VENDORED), configured]
    if nonce:
        # str: a lazy nonce is made by being read.
        scripts = [{**attributes, "nonce": str(nonce)} for attributes in scripts]
    return format_html_join(
        "\n", "<script{}></script>", ((flatatt(attributes),) for attributes in scripts)
    )
