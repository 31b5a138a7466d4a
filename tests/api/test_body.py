"""The body of a request under ASGI."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from broadcasting.api.body import Body
from broadcasting.api.request import Gone

Headers = list[tuple[bytes, bytes]]

CHUNKED: Headers = [(b"transfer-encoding", b"chunked")]


class Client:
    """What a server receives of one body: its pieces, then nothing, or the end of the client."""

    def __init__(self, *pieces: bytes | None, ends: bool = True) -> None:
        self.received = 0
        self._messages = [
            {"type": "http.disconnect"}
            if piece is None
            else {"type": "http.request", "body": piece, "more_body": True}
            for piece in pieces
        ]
        if ends:
            self._messages.append({"type": "http.request"})

    async def receive(self) -> Mapping[str, Any]:
        """Return the next message."""
        if not self._messages:
            await asyncio.Event().wait()
        self.received += 1
        return self._messages.pop(0)


def length(value: str) -> Headers:
    """Return the header that declares a length."""
    return [(b"content-length", value.encode("latin-1"))]


async def test_the_pieces_are_joined() -> None:
    """Up to the limit, and read no further."""
    assert await Body([], Client(b"he", b"", b"llo").receive).read(5) == b"hello"
    client = Client(b"he", b"llo", b"!", b"?")
    assert await Body(CHUNKED, client.receive).read(5) is None
    assert client.received == 3


@pytest.mark.parametrize("value", ["6", "9" * 5_000])
async def test_a_declared_length_is_enough_to_refuse(value: str) -> None:
    """To receive would ask the client to send the body."""
    client = Client()
    body = Body([*length(value), (b"expect", b"100-continue")], client.receive)
    assert await body.read(5) is None
    await body.linger()
    assert client.received == 0
    assert body.holds_connection


@pytest.mark.parametrize("value", ["x", "-1", "", "²", "+5"])
async def test_an_invalid_length_is_ignored(value: str) -> None:
    """Servers refuse it."""
    assert await Body(length(value), Client(b"hello").receive).read(5) == b"hello"


async def test_a_client_that_leaves_raises() -> None:
    """Although what came so far may be valid."""
    with pytest.raises(Gone):
        await Body([], Client(b"{}", None).receive).read(5)


@pytest.mark.parametrize(
    ("headers", "holds"),
    [
        ([], False),
        (length("1048576"), False),
        (length("1048577"), True),
        (CHUNKED, True),
        ([(b"expect", b"100-continue")], True),
    ],
)
async def test_a_long_body_that_is_not_read_holds_its_connection(
    headers: Headers, holds: bool
) -> None:
    """Servers read a short one to its end."""
    body = Body(headers, Client(ends=True).receive)
    assert body.holds_connection is holds
    await body.read(2**30)
    assert not body.holds_connection


async def test_lingering_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of bytes, of time, and the end of the client."""
    endless = Client(*[bytes(2**20)] * 10)
    await Body(CHUNKED, endless.receive).linger()
    assert endless.received == 5
    monkeypatch.setattr("broadcasting.api.body.LINGER_SECONDS", 0.01)
    for client in (Client(b"x", ends=False), Client(b"x", None)):
        await Body(CHUNKED, client.receive).linger()
