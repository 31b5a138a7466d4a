"""Bodies of requests under ASGI, and huge ones that are sent to real servers."""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from broadcasting.api.body import Body
from broadcasting.api.request import Gone
from broadcasting.conf import get_settings
from broadcasting.protocol.signatures import request_text, sign
from tests.conftest import RunningServer, RunServer

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


# Real servers

MB = 2**20
HUGE = [bytes(MB)] * 64
# Django keeps 2.5 MB of a body in memory and the rest in a file, before any view is called.
GROWTH = 16 * MB


def peak(site: RunningServer) -> int:
    """Return the most bytes of memory that the server's process has ever held."""
    status = Path(f"/proc/{site.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def post(
    connection: HTTPConnection, call: str, blocks: Iterable[bytes], *, chunked: bool
) -> tuple[int, str]:
    """Post a signed body, and return the answer."""
    blocks, app = list(blocks), get_settings().apps[0]
    md5 = hashlib.md5(usedforsecurity=False)
    for block in blocks:
        md5.update(block)
    path = f"/apps/1/{call}"
    query = {
        "auth_key": app.key,
        "auth_timestamp": str(int(time.time())),
        "auth_version": "1.0",
        "body_md5": md5.hexdigest(),
    }
    query["auth_signature"] = sign(app.secret, request_text("POST", path, query))
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if not chunked:
        headers["Content-Length"] = str(sum(map(len, blocks)))
    address = f"{path}?{urlencode(query)}"
    connection.request("POST", address, iter(blocks), headers, encode_chunked=chunked)
    with connection.getresponse() as response:
        return response.status, response.read().decode()


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_a_huge_body_is_refused_at_little_cost(runserver: RunServer, server: str) -> None:
    """With its limit, declared or chunked. The connection can be used for the next event."""
    event = json.dumps({"name": "x", "data": "{}", "channel": "a"}).encode()
    site = runserver("memory", server=server)
    with closing(HTTPConnection("127.0.0.1", site.port, timeout=60)) as connection:
        for chunked in (False, True):
            assert post(connection, "events", [event], chunked=chunked) == (200, "{}")
        if server == "daphne":  # It holds a whole body, and then uses the memory again.
            post(connection, "events", HUGE, chunked=False)
        before = peak(site)
        for call, limit in (("events", 101_440), ("batch_events", 654_400)):
            for chunked in (False, True):
                status, reason = post(connection, call, HUGE, chunked=chunked)
                assert (status, f"{limit} bytes" in reason) == (413, True)
                assert post(connection, "events", [event], chunked=chunked) == (200, "{}")
        assert peak(site) < before + GROWTH
