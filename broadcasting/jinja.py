"""
The template tags as functions of Jinja2.

Name the extension in ``TEMPLATES``, ``"OPTIONS": {"extensions":
["broadcasting.jinja.BroadcastingExtension"]}``, or add the functions to
``environment.globals`` yourself.
"""

from django.utils.safestring import SafeString
from jinja2 import Environment, pass_context
from jinja2.ext import Extension
from jinja2.runtime import Context

from .templatetags.broadcasting import broadcast_listen, scripts

__all__ = ["BroadcastingExtension", "broadcast_listen", "broadcasting_scripts"]


@pass_context
def broadcasting_scripts(
    context: Context, nonce: str = "", csrf: bool = True, encrypted: bool = False
) -> SafeString:
    """Return the HTML of ``{% broadcasting_scripts %}``."""
    return scripts(context.get("csrf_token") if csrf else None, nonce, encrypted)


class BroadcastingExtension(Extension):
    """Adds ``broadcasting_scripts()`` and ``broadcast_listen()`` to every template."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.globals.update(
            broadcasting_scripts=broadcasting_scripts, broadcast_listen=broadcast_listen
        )
