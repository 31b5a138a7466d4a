"""The body of a request as ASGI hands it over: in pieces, and perhaps without an end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

# What is read, and thrown away, of a body that nobody wants. Who is still sending when the
# connection closes sees it broken, not the answer that says why.
LINGER_BYTES = 4 * 1024 * 1024
LINGER_SECONDS = 2.0
# The server reads so much to its end by itself, to keep the connection.
SMALL = 1024 * 1024


class Gone(Exception):
    """The caller has left before the end of the request."""


class Body:
    """
    The body of one request.

    Args:
        headers: Those of the request; names are in lower case.
        receive: As in ASGI.
    """

    def __init__(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
    ) -> None:
        self._receive = receive
        self._declared: int | None = None  # Bytes, as far as the caller says so.
        self._is_chunked = self._awaits_go = self._ended = False
        for name, value in headers:
            if name == b"content-length":
                self._declared = declared_length(value.decode("latin-1"))
            elif name == b"transfer-encoding":
                self._is_chunked = True
            elif name == b"expect":
                self._awaits_go = True

    async def read(self, limit: int) -> bytes | None:
        """
        Return the whole body, `None` if it has more than `limit` bytes.

        Little more than these is ever held. Raise `Gone` if the caller is.
        """
        if self._declared is not None and self._declared > limit:
            return None
        self._awaits_go = False  # Asking for the first piece tells the caller to go on.
        pieces, size = [], 0
        while True:
            piece = await self._piece()
            size += len(piece)
            if size > limit:
                return None
            pieces.append(piece)
            if self._ended:
                return b"".join(pieces)

    @property
    def holds_connection(self) -> bool:
        """Whether so much of it may be unread that the connection cannot be used again."""
        if self._ended:
            return False
        return self._is_chunked or self._awaits_go or (self._declared or 0) > SMALL

    async def linger(self) -> None:
        """Throw away what is still coming, up to a limit, so that the answer gets through."""
        if self._awaits_go:
            return  # It is not coming: the caller waits to be asked for it.
        size = 0
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while not self._ended and size <= LINGER_BYTES:
                    size += len(await self._piece())
        except (Gone, TimeoutError):
            pass

    async def _piece(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            raise Gone
        self._ended = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body


def declared_length(value: str) -> int | None:
    """Return the number in a ``Content-Length``, `None` if it is none."""
    if not (value.isascii() and value.isdigit()):
        return None
    return int(value[:18])  # More digits would be slow to read, and are too many bytes anyway.
