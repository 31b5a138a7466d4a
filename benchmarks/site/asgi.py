"""The site behind any ASGI server: ours at its usual address, the stock consumer at /stock/."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.site.settings")
# First: it sets Django up, which importing the routes takes for granted.
django_application = get_asgi_application()

from broadcasting.routing import websocket_fallback, websocket_urlpatterns  # noqa: E402

from .consumers import StockConsumer  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": URLRouter(
            [*websocket_urlpatterns, path("stock/", StockConsumer.as_asgi()), websocket_fallback]
        ),
    }
)
