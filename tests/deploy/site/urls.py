"""The demo's addresses, and one at which an event is fired."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from broadcasting import broadcast_to


@csrf_exempt
def fire(request: HttpRequest, channel: str) -> HttpResponse:
    """Fire an event, to others than the socket that asks, and tell which server runs this."""
    server = str(request.META.get("SERVER_SOFTWARE", "ASGI"))
    broadcast_to(channel, "Fired", {"server": server, "scheme": request.scheme}, to_others=True)
    return HttpResponse(server)


urlpatterns = [
    path("fire/<str:channel>", fire),
    path("", include("whik.urls")),
]
