"""The body of an HTTP request under ASGI: it comes in pieces, and may have no end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from .request import Gone

# Bytes of an unwanted body that are read and thrown away. A client that is still sending
# when the connection closes sees it broken, and not the answer.
LINGER_BYTES = 4 * 1024 * 1024
LINGER_SECONDS = 2.0
# The server itself reads a body of this size to its end, to keep the connection.
SMALL = 1024 * 1024


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
        self._is_chunked = self._awaits_continue = self._ended = False
        for name, value in headers:
            if name == b"content-length":
                self._declared = declared_length(value.decode("latin-1"))
            elif name == b"transfer-encoding":
                self._is_chunked = True
            elif name == b"expect":
                self._awaits_continue = True

    async def read(self, limit: int) -> bytes | None:
        """
        Return the whole body, `None` if it has more than `limit` bytes.

        Little more than these is ever held. Raise `Gone` if the caller has left.
        """
        if self._declared is not None and self._declared > limit:
            return None
        self._awaits_continue = False  # Receiving the first piece answers 100 Continue.
        pieces, size = [], 0
        while not self._ended:
            pieces.append(await self._receive_piece())
            size += len(pieces[-1])
            if size > limit:
                return None
        return b"".join(pieces)

    @property
    def holds_connection(self) -> bool:
        """Whether so much of it may be unread that the connection cannot be used again."""
        if self._ended:
            return False
        return self._is_chunked or self._awaits_continue or (self._declared or 0) > SMALL

    async def linger(self) -> None:
        """Throw away what is still coming, up to a limit, so that the answer gets through."""
        if self._awaits_continue:
            return  # The caller sends nothing before it is asked to.
        size = 0
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while not self._ended and size <= LINGER_BYTES:
                    size += len(await self._receive_piece())
        except (Gone, TimeoutError):
            pass

    async def _receive_piece(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            raise Gone
        self._ended = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body


def declared_length(value: str) -> int | None:
    """Return the number in a ``Content-Length``, `None` if it is not one."""
    if not (value.isascii() and value.isdigit()):
        return None
    return int(value[:18])  # More digits would be slow to read, and are too many bytes anyway.
