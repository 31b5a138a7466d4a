"""
HTML that the server renders and pages put in their place.

A message is rendered once, for everybody who hears it: there is no request, so neither a
user nor a CSRF token. `{% broadcast_listen %}` is the other end.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from asgiref.sync import sync_to_async
from django.template.loader import render_to_string

from ..channel import Channels, channel_names
from ..exceptions import BroadcastError, PayloadError
from ..protocol.names import is_client_event, is_event_name
from .base import AnonymousEvent
from .dispatch import refuse_in_loop, send

HTML_EVENT = "broadcast:html"

# As in htmx's hx-swap.
Swap = Literal[
    "innerHTML",
    "outerHTML",
    "beforebegin",
    "afterbegin",
    "beforeend",
    "afterend",
    "delete",
    "none",
]
_WITHOUT_HTML = ("delete", "none")


def broadcast_html(
    channels: Channels,
    template: str | Sequence[str] | None = None,
    context: Mapping[str, object] | None = None,
    target: str | None = None,
    *,
    swap: Swap = "innerHTML",
    event: str = HTML_EVENT,
    to_others: bool = False,
    via: str | None = None,
    using: str | None = None,
) -> None:
    """
    Render a template now, once, and have pages put it into `target` after the commit.

    All who hear it get the same HTML, in the language of the moment: leave out what only
    one of them may see. Pages hear it by ``{% broadcast_listen %}``.

    Args:
        channels: As of `broadcast_to`.
        template: Its name, or several of which the first that exists is taken; in
            Django 6 a partial, too: ``"things.html#row"``. `None` where `swap` needs none.
        context: Its variables. There are no context processors.
        target: A CSS selector, or ``#`` and any id, of one element; `None` for the target
            that the page names.
        swap: What becomes of the target, in the words of htmx; ``delete`` removes it.
        event: Another name, for pages that listen to that.
        to_others: As of `broadcast`.
        via: As of `broadcast`.
        using: As of `broadcast`.

    Raises:
        BroadcastError: As of `broadcast_to`; or `swap` is unknown or needs a template, or
            `event` or `target` cannot be one.
        TemplateDoesNotExist: Or whatever else the template raises.
    """
    refuse_in_loop("broadcast_html")
    _broadcast_html(channels, template, context, target, swap, event, to_others, via, using)


async def abroadcast_html(
    channels: Channels,
    template: str | Sequence[str] | None = None,
    context: Mapping[str, object] | None = None,
    target: str | None = None,
    *,
    swap: Swap = "innerHTML",
    event: str = HTML_EVENT,
    to_others: bool = False,
    via: str | None = None,
    using: str | None = None,
) -> None:
    """Do what `broadcast_html` does, in async code."""
    await sync_to_async(_broadcast_html)(
        channels, template, context, target, swap, event, to_others, via, using
    )


def check_html_event(event: str) -> str:
    """Return `event`. Raise `BroadcastError` unless servers, and only they, use such names."""
    if not is_event_name(event):
        raise BroadcastError(f"{event!r} cannot name an event.")
    if is_client_event(event):
        raise BroadcastError(
            f"{event!r} cannot carry HTML: whoever is on the channel may send events whose "
            f'names begin with "client-", and pages would trust them. Give it another name.'
        )
    return event


def _broadcast_html(
    channels: Channels,
    template: str | Sequence[str] | None,
    context: Mapping[str, object] | None,
    target: str | None,
    swap: str,
    event: str,
    to_others: bool,
    via: str | None,
    using: str | None,
) -> None:
    names = channel_names(channels)
    _check(template, target, swap)
    check_html_event(event)
    if not names:
        return
    html = "" if template is None else render_to_string(template, dict(context or {}))
    data = {"target": target, "html": html, "swap": swap}
    try:
        send(AnonymousEvent(names, event, data), to_others, via, using)
    except PayloadError as exc:
        raise PayloadError(
            f"{exc} The template is {template!r}. Render less, such as one row instead of the "
            f"list, or let pages fetch it with the refresh of {{% broadcast_listen %}}."
        ) from exc


def _check(template: object, target: object, swap: object) -> None:
    if swap not in get_args(Swap):
        raise BroadcastError(
            f"broadcast_html() knows no swap {swap!r}. Known: {', '.join(get_args(Swap))}."
        )
    if template is None and swap not in _WITHOUT_HTML:
        raise BroadcastError(
            f'broadcast_html() needs a template for swap="{swap}". Only "delete" and "none" '
            f"go without."
        )
    if target is not None and not (isinstance(target, str) and target.strip()):
        raise BroadcastError(
            f"{target!r} is no target. Give a CSS selector such as "
            f'"#rows", or None for the one that the page names.'
        )
