"""What is answered when a request goes wrong before a view sees it."""

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.csrf import csrf_failure as csrf_page

from .answers import json_answer


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Refuse a request that another site may have sent: the API in JSON, pages with a page."""
    if not request.path.startswith("/api/"):
        return csrf_page(request, reason)
    error = _(
        "The request came without the token that shows it is from this site. Send the cookie "
        "csrftoken back, and its value as the header X-CSRFToken too."
    )
    return json_answer({"error": error}, status=403)
