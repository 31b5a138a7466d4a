"""
WebSocket routes for Channels, and what makes a process one that serves.

Put them into the project's ``asgi.py``::

    application = ProtocolTypeRouter({
        "http": get_asgi_application(),
        "websocket": URLRouter(broadcasting.routing.websocket_urlpatterns),
    })

Import this module only there: a process that does serves sockets itself, and events
that are fired in it are no longer sent to another process.
"""

from django.urls import path

from .adapters.consumer import PusherConsumer
from .conf import get_settings
from .drivers.base import serve_here

_prefix = get_settings().server_path

websocket_urlpatterns = [
    path(f"{_prefix}/app/<str:key>" if _prefix else "app/<str:key>", PusherConsumer.as_asgi()),
]

serve_here()
