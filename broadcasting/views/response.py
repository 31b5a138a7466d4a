"""What a view of ours answers, before it is put into the words of Django or of ASGI."""

from dataclasses import dataclass
from typing import Literal

from django.http import HttpResponse

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Response:
    """
    An answer.

    Attributes:
        allow: The methods that are taken, where the one that was used is not.
    """

    status: int
    body: str
    content_type: str = TEXT
    allow: str | None = None

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers, without what only the server knows."""
        headers = [("Content-Type", self.content_type), ("Cache-Control", "no-store")]
        if self.allow is not None:
            headers.append(("Allow", self.allow))
        return headers

    def for_django(self) -> HttpResponse:
        """Return what a Django view returns."""
        return HttpResponse(self.body, status=self.status, headers=dict(self.headers))


SAFE: tuple[Literal["GET"], Literal["HEAD"]] = ("GET", "HEAD")


def only_safe(method: str) -> Response | None:
    """Return the refusal of a `method` that is not GET or HEAD, `None` for those."""
    if method in SAFE:
        return None
    return Response(405, "Method not allowed", allow=", ".join(SAFE))
