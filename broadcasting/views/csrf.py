"""
Whether another site has forged a request.

The auth endpoints check this by Django's own rules, also in a project without Django's
middleware, and answer in JSON. Two methods of `CsrfViewMiddleware` are private:
`_reject`, which receives the reason, and `_origin_verified`.
"""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

# Sent by Django's clients and by Echo. CSRF_HEADER_NAME goes before both.
_HEADERS = ("HTTP_X_CSRFTOKEN", "HTTP_X_CSRF_TOKEN")
# Browsers send these by themselves once they know a password.
_AUTOMATIC = {"", "basic", "digest", "negotiate", "ntlm"}
_ADVICE = (
    "A page sends its token as X-CSRFToken or X-CSRF-TOKEN, and the cookie that "
    "CsrfViewMiddleware set; add pages of other origins to CSRF_TRUSTED_ORIGINS."
)


class ForgeryCheck(CsrfViewMiddleware):
    """
    Django's check of one request.

    Make one for each request, call `refuses`, and `process_response` with the answer.

    Attributes:
        explanation: Why the request was refused, and what a developer may do.
    """

    def __init__(self) -> None:
        super().__init__(_unused)
        self.explanation = ""

    def refuses(self, request: HttpRequest) -> bool:
        """Whether another site may have sent `request`."""
        if not _can_be_forged(request):
            return False
        for header in _HEADERS:
            if header in request.META:
                request.META.setdefault(settings.CSRF_HEADER_NAME, request.META[header])
        self.process_request(request)
        self.process_view(request, _unused, (), {})
        return bool(self.explanation)

    def is_foreign(self, request: HttpRequest) -> bool:
        """Whether the browser says that a page of another origin sent `request`."""
        if "HTTP_ORIGIN" not in request.META:
            return False
        is_ours: bool = self._origin_verified(request)  # type: ignore[attr-defined]  # Not in stubs.
        return not is_ours

    def _reject(self, request: HttpRequest, reason: str) -> HttpResponse:
        self.explanation = f"CSRF: {reason.removesuffix('.')}. {_ADVICE}"
        return HttpResponse(status=403)  # Never sent.


def _unused(request: HttpRequest) -> HttpResponse:
    return HttpResponse()  # The view that Django's class expects.


def _can_be_forged(request: HttpRequest) -> bool:
    """
    Whether a page of another site can make a browser send such a request.

    It can make a browser send cookies, and passwords that the browser knows. For any
    other header the browser asks this site first.
    """
    authorization = request.headers.get("Authorization")
    if authorization is not None:
        return authorization.partition(" ")[0].lower() in _AUTOMATIC
    return bool(request.headers.get("Cookie"))
