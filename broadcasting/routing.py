"""
WebSocket routes for Channels.

Put them into the project's ``asgi.py``::

    application = ProtocolTypeRouter({
        "http": get_asgi_application(),
        "websocket": URLRouter([*websocket_urlpatterns, websocket_fallback]),
    })

Routes of your own go between the two. The fallback refuses every other address with
4005; without it Channels raises an exception, which pusher-js takes for a reason to
try again for ever.

The process serves sockets from its first socket, or from the first request that Django
answers over ASGI. A process that only imports this module, such as a worker of a task
queue, does not.
"""

import logging

from asgiref.sync import async_to_sync
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.urls import path, re_path

from .adapters.consumer import refuse_path, serve_client
from .conf import get_settings
from .server.hubs import get_hub

logger = logging.getLogger("broadcasting.server")

_prefix = f"{get_settings().server.path}/".lstrip("/")

websocket_urlpatterns = [
    # They are ASGI applications, not views, to Channels' router.
    path(f"{_prefix}app/<str:key>", serve_client),  # type: ignore[arg-type]
]
websocket_fallback = re_path("", refuse_path)  # type: ignore[arg-type]


def serve_from_first_request(sender: type, **kwargs: object) -> None:
    """Start the hub of the loop that serves the request, and do so only once."""
    # Neither WSGI's handler nor that of a test client.
    if not issubclass(sender, ASGIHandler):
        return
    request_started.disconnect(serve_from_first_request)
    try:
        # Django calls receivers in a thread; this runs on the loop that waits for it.
        async_to_sync(_start_hub)()
    except Exception:  # The request needs no hub.
        logger.exception("The hub could not be started")


async def _start_hub() -> None:
    await get_hub().start()


request_started.connect(serve_from_first_request)
