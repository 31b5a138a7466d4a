"""The demo's addresses, and pages and answers for the tests."""

from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template import RequestContext, Template
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from broadcasting import broadcast_html
from broadcasting.middleware import current_socket_id


def page(request: HttpRequest) -> HttpResponse:
    """Answer with a page whose body is the template ``body``, with htmx of version ``htmx``."""
    source = Template("{% load broadcasting %}" + request.GET["body"])
    body = source.render(RequestContext(request))
    return render(request, "swaps.html", {"body": body, "htmx": request.GET.get("htmx")})


@csrf_exempt
def say(request: HttpRequest) -> JsonResponse:
    """Send a row to all but the page that asks for it; tell what is known of that page."""
    row = {"text": request.POST.get("text", "")}
    broadcast_html("swaps", "row.html", row, "#rows", swap="beforeend", to_others=True)
    return JsonResponse(
        {"header": request.headers.get("X-Socket-ID"), "socket_id": current_socket_id()}
    )


urlpatterns = [
    path("page/", page),
    path("say/", say),
    *staticfiles_urlpatterns(),
    path("", include("whik.urls")),
]
