"""
``{% broadcasting_scripts %}``: everything a page needs to have ``window.Echo``.

``{% broadcast_listen %}``: HTML that the server renders, put in its place by itself.
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
    Put what `broadcast_html` sends on a channel into the page, without a script of its own.

    The page needs ``{% broadcasting_scripts %}``, too. Put this anywhere in its body, but
    not into a table, and not into `target`.

    Args:
        channel: A channel, its full name, or a saved model: then its private channel.
        event: The name that `broadcast_html` was given, if it was given one.
        target: A CSS selector. Where given, nothing outside of that element is changed, and
            messages that name no target go into it.
        refresh: An address of this site that answers with the HTML inside `target`. It is
            fetched whenever the channel is joined, hence also after a reconnect.
        nonce: As of ``{% broadcasting_scripts %}``.

    Raises:
        BroadcastError: `channel` or `event` cannot be one.
        ValueError: `refresh` is given without `target`.
    """
    if refresh and not target:
        raise ValueError("broadcast_listen: say with target= where the HTML of refresh= goes.")
    attributes = {"channel": _channel(channel), "event": check_html_event(event)}
    if target:
        attributes["target"] = target
    if refresh:
        attributes["refresh"] = refresh
    # The browser runs a module once, however often a page names it. To leave it out here
    # after the first time would leave it out of a fragment that a cache keeps, too.
    script = {"type": "module", "src": static(_LISTEN), **_nonce(nonce)}
    return format_html(
        "<broadcast-listen{}></broadcast-listen><script{}></script>",
        # Escaped here since a literal in a template counts as HTML: a selector has quotes.
        flatatt({name: escape(value) for name, value in attributes.items()}),
        flatatt(script),
    )


def scripts(csrf_token: object, nonce: object, encrypted: bool) -> SafeString:
    """Return what ``{% broadcasting_scripts %}`` writes, for whatever template language."""
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
    # str: a lazy nonce is made by being read.
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
            f"broadcast_listen: {name!r} is heard by who has signed in, not by who joins it. "
            f"Give the user: then it is their private channel."
        )
    return name


def _endpoint(name: str) -> str:
    """Return the address of a route of ours, also where the site stands below a prefix."""
    try:
        return reverse(f"broadcasting:{name}")
    except NoReverseMatch:  # The project has not included them; it may still serve them.
        return _ENDPOINTS[name]
