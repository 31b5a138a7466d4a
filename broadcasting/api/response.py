"""What the library's own endpoints answer, whichever server sends it."""

from dataclasses import dataclass

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Response:
    """
    An answer.

    Attributes:
        allow: The methods that are allowed, where the one that was used is not.
    """

    status: int
    body: str
    content_type: str = TEXT
    allow: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers, without those that only the server knows."""
        headers = {"Content-Type": self.content_type, "Cache-Control": "no-store"}
        return headers if self.allow is None else headers | {"Allow": self.allow}
