"""The site as one ASGI application: pages to Django, WebSockets to broadcasting."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whik.settings")
# First: it sets up Django, which the imports below need.
django_application = get_asgi_application()

from broadcasting.routing import websocket_fallback, websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": URLRouter([*websocket_urlpatterns, websocket_fallback]),
    }
)
