"""
HTML that the server renders once and every page that listens puts in its place.

There is no request when it is rendered, so the template has neither a user nor a CSRF
token. Pages receive it with ``{% broadcast_listen %}``.
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
    Render a template now and send the HTML to pages, which put it into `target`.

    It is sent when the transaction commits. Every page gets the same HTML, in the current
    language, so it must not hold what only one user may see. Pages receive it with
    ``{% broadcast_listen %}``.

    Args:
        channels: As of `broadcast_to`.
        template: The template's name, or several names of which the first that exists is
            used. From Django 6 on it may be a partial: ``"things.html#row"``. `None` if
            `swap` needs no template.
        context: The template's variables. Context processors are not run.
        target: A CSS selector of one element, or ``#`` and any id. `None` means the target
            that the page names.
        swap: How to change the target, as in ``hx-swap`` of htmx. ``delete`` removes it.
        event: The event's name, for pages that listen for another one.
        to_others: As of `broadcast`.
        via: As of `broadcast`.
        using: As of `broadcast`.

    Raises:
        PayloadError: The HTML is larger than ``MAX_EVENT_SIZE`` allows.
        BroadcastError: As of `broadcast_to`; `swap` is unknown or needs a template; or
            `event` or `target` is not valid.
        TemplateDoesNotExist: There is no such template. Rendering may raise anything else.
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
    """Return `event`. Raise `BroadcastError` if clients may send events of this name."""
    if not is_event_name(event):
        raise BroadcastError(f"{event!r} cannot name an event.")
    if is_client_event(event):
        raise BroadcastError(
            f"{event!r} cannot carry HTML: any client on the channel may send events whose "
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
            f"broadcast_html() does not know swap={swap!r}. Known: {', '.join(get_args(Swap))}."
        )
    if template is None and swap not in _WITHOUT_HTML:
        raise BroadcastError(
            f'broadcast_html() needs a template for swap="{swap}". Only "delete" and "none" '
            f"need none."
        )
    if target is not None and not (isinstance(target, str) and target.strip()):
        raise BroadcastError(
            f"{target!r} is not a target. Give a CSS selector such as "
            f'"#rows", or None for the one that the page names.'
        )
