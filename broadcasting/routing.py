"""
WebSocket routes for Channels, and what makes a process one that serves.

Put them into the project's ``asgi.py``::

    application = ProtocolTypeRouter({
        "http": get_asgi_application(),
        "websocket": URLRouter([*websocket_urlpatterns, websocket_fallback]),
    })

Routes of your own go between the two. The fallback refuses every other address with
4005; without it Channels raises an exception, which pusher-js takes for a reason to
try again for ever.

Import this module only there: a process that does serves sockets itself, and events
that are fired in it are no longer sent to another process.
"""

from django.urls import path, re_path

from .adapters.consumer import PusherConsumer, UnknownPathConsumer
from .conf import get_settings
from .drivers.base import serve_here

_prefix = f"{get_settings().server.path}/".lstrip("/")

websocket_urlpatterns = [
    path(f"{_prefix}app/<str:key>", PusherConsumer.as_asgi()),
]
websocket_fallback = re_path("", UnknownPathConsumer.as_asgi())

serve_here()
