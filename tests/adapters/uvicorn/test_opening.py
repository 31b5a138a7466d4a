"""Requests for a WebSocket, byte for byte: whom they are for, and their answers."""

import re
from typing import Any

import pytest
from django.test import override_settings
from websockets.frames import Close

from broadcasting.adapters.uvicorn.opening import trust_proxy
from broadcasting.server.admission import get_admission
from broadcasting.server.hubs import get_hub
from tests.adapters.uvicorn.conftest import BROADCASTING
from tests.adapters.uvicorn.visitor import Knock, Visitor
from tests.adapters.wire import KEY
from tests.server.fakes import settle

pytestmark = pytest.mark.usefixtures("served")

HEAD = {
    "Host": "testserver",
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "WebSocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


async def answer(
    line: str = "GET /app/x HTTP/1.1", without: str = "", *more: str
) -> tuple[int, str]:
    """Return status and text of the answer to a request, after which nothing is kept of it."""
    client = Knock()
    fields = [f"{name}: {value}" for name, value in HEAD.items() if name != without]
    client.send("\r\n".join([line, *fields, *more, "", ""]).encode())
    await settle()
    text = b"".join(client.transport.writes).decode("latin-1")
    client.leave()
    assert not client.state.connections
    assert not client.state.awaiting_head
    assert not client.state.awaiting_peer
    if not text.startswith("HTTP/1.1 101 "):
        assert client.transport.end == "closed"
        length = re.search(r"content-length: (\d+)", text, re.I)
        assert length is not None
        assert len(text.partition("\r\n\r\n")[2]) == int(length[1])
    return int(text.split()[1]), text.partition("\r\n\r\n")[0]


async def test_it_is_answered_in_full() -> None:
    """No extension and no subprotocol is agreed on, whatever is offered."""
    more = ("Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: pusher, json")
    status, head = await answer("GET /app/x HTTP/1.1", "", *more)
    fields = {line.lower() for line in head.splitlines()}
    assert status == 101
    assert fields >= {"upgrade: websocket", "connection: upgrade"}
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    assert "extensions" not in head.lower()
    assert "sec-websocket-protocol" not in head.lower()


@pytest.mark.parametrize(
    ("without", "more", "status"),
    [
        ("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8", 426),
        ("Sec-WebSocket-Version", "X: x", 426),
        ("", "Sec-WebSocket-Version: 13", 426),
        ("Sec-WebSocket-Key", "X: x", 400),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: c2hvcnQ=", 400),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: not base64 at all!!!!", 400),
        ("", f"Sec-WebSocket-Key: {KEY}", 400),
        ("Host", "X: x", 400),
        ("", "Host: evil.example", 400),
        ("", "Origin: http://a.example\r\nOrigin: http://b.example", 400),
        ("", "Content-Length: 4", 400),
        ("", "Transfer-Encoding: chunked", 400),
        ("", "X-Folded: a\r\n b", 400),
        ("", "X-Space : a", 400),
        ("", "X-Nul: a\0b", 400),
        ("", "X-Long: " + "x" * 9_000, 101),  # A cookie may be so long.
    ],
)
async def test_a_broken_one_is_answered_by_status(without: str, more: str, status: int) -> None:
    """And the connection ends."""
    got, head = await answer("GET /app/x HTTP/1.1", without, more)
    assert got == status
    assert (status == 426) == ("Sec-WebSocket-Version: 13" in head)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        *((f"{method} /app/x HTTP/1.1", 405) for method in ("POST", "OPTIONS", "HEAD")),
        *((f"GET /app/x{version}", 505) for version in (" HTTP/1.0", " HTTP/2.0", "")),
        *((line, 400) for line in ("get /app/x HTTP/1.1", "GET  HTTP/1.1", "\x16\x03\x01")),
    ],
)
async def test_only_get_of_http_11_opens_a_websocket(line: str, status: int) -> None:
    """RFC 6455, section 4.1; TLS where none is spoken is no request either."""
    got, head = await answer(line)
    assert got == status
    assert (status == 405) == ("Allow: GET" in head)


async def test_no_request_is_smuggled_behind_one() -> None:
    """What follows a handshake are frames, or nothing."""
    visitor = Visitor()
    visitor.send(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
    await settle()
    assert b"HTTP/1.1 2" not in b"".join(visitor.transport.writes)
    visitor.leave()


async def test_other_paths_go_to_uvicorns_own_class() -> None:
    """The project's own consumers are served by that."""
    for path in ("/ws/own", "/app/", "/app/x/y", "/app/%2F"):
        visitor = Visitor(path)
        assert visitor.transport.protocol in visitor.state.connections
        await settle()
        assert b" 101 " in visitor.transport.writes[0]
        visitor.leave()
        await settle()
        assert not visitor.state.connections


async def test_a_page_elsewhere_is_refused_by_code() -> None:
    """Origins are the session's business; the handshake is accepted first."""
    with override_settings(BROADCASTING={"DEFAULT": "memory"}):
        visitor = Visitor(None, ("Origin", "https://evil.example"))
        assert [close.code for close in await visitor.hear()] == [4009]
        visitor.leave()


@pytest.mark.parametrize(
    ("limit", "reason", "words"),
    [
        ("MAX_CONNECTIONS_PER_ADDRESS", "address", "Too many connections from one address"),
        ("MAX_CONNECTIONS", "process", "Too many connections"),
    ],
)
async def test_too_many_are_refused(limit: str, reason: str, words: str) -> None:
    """With 4100, and counted; who leaves makes room."""
    with override_settings(BROADCASTING=BROADCASTING | {"SERVER": {limit: 1}}):
        first, second = Visitor(), Visitor()
        assert await first.hear() == ["pusher:connection_established"]
        assert await second.hear() == [Close(4100, words)]
        assert get_hub().stats.refused[reason] == 1
        second.leave()
        first.leave()
        third = Visitor()
        assert await third.hear() == ["pusher:connection_established"]
        third.leave()
        assert get_admission().count == 0


@pytest.mark.parametrize(
    ("peer", "told", "address", "scheme"),
    [
        ("127.0.0.1", "198.51.100.7", "198.51.100.7", "wss"),
        ("127.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7", "wss"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1", "ws"),
    ],
)
def test_a_trusted_proxy_says_who_the_client_is(
    peer: str, told: str, address: str, scheme: str
) -> None:
    """And whether it came by TLS; nobody else may: it would be anybody's choice."""
    headers = [(b"x-forwarded-for", told.encode()), (b"x-forwarded-proto", b"https")]
    scope = {"type": "websocket", "scheme": "ws", "client": (peer, 1), "headers": headers}
    trust_proxy(scope, ["127.0.0.1", "::1"])
    client: Any = scope["client"]
    assert (client[0], scope["scheme"]) == (address, scheme)


@pytest.mark.parametrize(
    ("peer", "code"), [("127.0.0.1", None), ("192.0.2.1", 4000)], ids=["trusted", "unknown"]
)
async def test_force_tls_believes_a_trusted_proxy(peer: str, code: int | None) -> None:
    """One at an address that uvicorn trusts."""
    with override_settings(BROADCASTING={"DEFAULT": "memory", "APPS": [{"FORCE_TLS": True}]}):
        visitor = Visitor(None, ("X-Forwarded-Proto", "https"), peername=(peer, 1))
        (heard,) = await visitor.hear()
        assert (heard.code if code else None) == code
        visitor.leave()
