"""
``{% broadcasting_scripts %}`` gives a page ``window.Echo``.

``{% broadcast_listen %}`` puts HTML that the server renders into the page.
"""

from django import template
from django.db.models import Model
from django.forms.utils import flatatt
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString

from ..channel import Channel, PrivateChannel, channel_names
from ..conf import get_settings
from ..events.html import HTML_EVENT, check_html_event
from ..exceptions import InvalidChannel
from ..protocol.names import is_user_channel

register = template.Library()

_PUSHER = "broadcasting/vendor/pusher.min.js"
_PUSHER_WITH_ENCRYPTION = "broadcasting/vendor/pusher-with-encryption.min.js"
_ECHO = "broadcasting/vendor/echo.iife.js"
_LISTEN = "broadcasting/listen.js"

# The addresses of the auth endpoints if the project does not include our URLs.
_ENDPOINTS = {"auth": "/broadcasting/auth", "user-auth": "/broadcasting/user-auth"}


@register.simple_tag(takes_context=True)
def broadcasting_scripts(
    context: template.Context, nonce: str = "", csrf: bool = True, encrypted: bool = False
) -> SafeString:
    """
    Load pusher-js and Laravel Echo from this site, and make ``window.Echo`` an instance.

    Put it before the scripts that use ``Echo``. The settings are attributes of the last
    script, so a strict Content Security Policy needs no exception. If the policy has a nonce,
    pass it: ``{% broadcasting_scripts nonce=request.csp_nonce %}``.

    One of the settings is the visitor's CSRF token, which the auth endpoints check. A page
    that a cache keeps for all visitors must leave it out:
    ``{% broadcasting_scripts csrf=False %}``. A page that listens to encrypted channels needs
    a build of pusher-js that is larger by a third: ``{% broadcasting_scripts encrypted=True %}``.
    """
    return scripts(context.get("csrf_token") if csrf else None, nonce, encrypted)


@register.simple_tag
def broadcast_listen(
    channel: Channel | Model | str,
    event: str = HTML_EVENT,
    target: str = "",
    *,
    refresh: str = "",
    nonce: str = "",
) -> SafeString:
    """
    Put the HTML that `broadcast_html` sends on a channel into the page.

    The page also needs ``{% broadcasting_scripts %}``, and no script of its own. Put this tag
    anywhere in the body, but neither into a table nor into `target`.

    Args:
        channel: A channel, its full name, or a saved model for its private channel.
        event: The event name, if `broadcast_html` was called with one.
        target: A CSS selector. Nothing outside of that element is changed, and messages
            without a target of their own go into it.
        refresh: An address of this site that returns the HTML inside `target`. It is fetched
            after each subscription, so also after a reconnect.
        nonce: As for ``{% broadcasting_scripts %}``.

    Raises:
        BroadcastError: `channel` or `event` cannot be one.
        ValueError: `refresh` is given without `target`.
    """
    if refresh and not target:
        raise ValueError("broadcast_listen: refresh= needs target=, where its HTML goes.")
    attributes = {"channel": _channel(channel), "event": check_html_event(event)}
    if target:
        attributes["target"] = target
    if refresh:
        attributes["refresh"] = refresh
    # A browser runs a module once, however often a page names it. Leaving it out after the
    # first tag would also leave it out of cached fragments.
    script = {"type": "module", "src": static(_LISTEN), **_nonce(nonce)}
    return format_html(
        "<broadcast-listen{}></broadcast-listen><script{}></script>",
        # Escaped here, since a literal in a template counts as HTML and a selector has quotes.
        flatatt({name: escape(value) for name, value in attributes.items()}),
        flatatt(script),
    )


def scripts(csrf_token: object, nonce: object, encrypted: bool) -> SafeString:
    """Return the HTML of ``{% broadcasting_scripts %}``, for any template language."""
    settings = get_settings()
    configured = {
        "src": static("broadcasting/echo.js"),
        "data-key": settings.apps[0].key,
        "data-path": f"/{settings.server.path}" if settings.server.path else "",
        "data-auth-endpoint": _endpoint("auth"),
        "data-user-auth-endpoint": _endpoint("user-auth"),
    }
    if csrf_token:
        configured["data-csrf-token"] = str(csrf_token)
    pusher = _PUSHER_WITH_ENCRYPTION if encrypted else _PUSHER
    loaded = [{"src": static(pusher)}, {"src": static(_ECHO)}, configured]
    return format_html_join(
        "\n",
        "<script{}></script>",
        ((flatatt({**attributes, **_nonce(nonce)}),) for attributes in loaded),
    )


def _nonce(nonce: object) -> dict[str, str]:
    # A lazy nonce is made when it is read.
    return {"nonce": str(nonce)} if nonce else {}


def _channel(channel: Channel | Model | str) -> str:
    if isinstance(channel, Model):
        channel = PrivateChannel(channel)
    if not isinstance(channel, Channel | str):
        raise InvalidChannel(
            f"broadcast_listen: {channel!r} is not a channel. Give a Channel, its full name or "
            f"a saved model."
        )
    (name,) = channel_names(channel)
    if is_user_channel(name):
        raise InvalidChannel(
            f"broadcast_listen: nobody can subscribe to {name!r}; it reaches those who have "
            f"signed in. Give the user, for their private channel."
        )
    return name


def _endpoint(name: str) -> str:
    """Return the address of an auth endpoint, with the prefix that the site may have."""
    try:
        return reverse(f"broadcasting:{name}")
    except NoReverseMatch:  # The project does not include our URLs, but may serve others.
        return _ENDPOINTS[name]
