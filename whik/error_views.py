"""Responses to requests that are refused before they reach a view."""

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.csrf import csrf_failure as csrf_page

from .answers import json_answer


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Refuse a request without a valid CSRF token: the API with JSON, pages with a page."""
    if not request.path.startswith("/api/"):
        return csrf_page(request, reason)
    error = _(
        "The request has no valid CSRF token. Send the cookie csrftoken, and its value in the "
        "header X-CSRFToken."
    )
    return json_answer({"error": error}, status=403)
