"""The request with which a client opens a WebSocket: whose it is, and its answer."""

from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from ...conf import get_settings
from .inbound import websockets_logger

_VERSION = "13"  # Of WebSockets (RFC 6455, section 4.1).


def app_key(path: str) -> str | None:
    """Return the application key that `path` leads to, `None` if it leads elsewhere."""
    prefix = f"/{get_settings().server.path}/app/".replace("//", "/")
    path = unquote(path)
    key = path.removeprefix(prefix)
    return key if key and key != path and "/" not in key else None


def answer(method: str, url: str, headers: Iterable[tuple[bytes, bytes]]) -> Response:
    """Return the answer to a request for a WebSocket: 101, or what is wrong with it."""
    fields = Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
    handshake = ServerProtocol(logger=websockets_logger)
    if fields.get_all("Sec-WebSocket-Version") != [_VERSION]:
        # RFC 6455, section 4.4: the client may come again with another one.
        text = f"This server speaks version {_VERSION} of WebSockets.\n"
        response = handshake.reject(HTTPStatus.UPGRADE_REQUIRED, text)
        response.headers["Upgrade"] = "websocket"
        response.headers["Sec-WebSocket-Version"] = _VERSION
        return response
    if len(fields.get_all("Host")) != 1:  # RFC 9112, section 3.2.
        return handshake.reject(HTTPStatus.BAD_REQUEST, "A request has one Host header.\n")
    if "Content-Length" in fields or "Transfer-Encoding" in fields:
        return handshake.reject(HTTPStatus.BAD_REQUEST, "A handshake has no body.\n")
    return handshake.accept(Request(url, fields, method))


def trust_proxy(scope: dict[str, Any], trusted: list[str] | str) -> None:
    """Put what a proxy at one of the addresses `trusted` says of the client into `scope`."""
    trusted = ",".join(trusted) if isinstance(trusted, list) else trusted
    with suppress(StopIteration):
        # What does so for pages; it awaits nothing but the application behind it.
        _proxy_headers(trusted)(scope, _nothing, _nothing).send(None)  # type: ignore[arg-type]


@lru_cache(maxsize=8)
def _proxy_headers(trusted: str) -> ProxyHeadersMiddleware:
    return ProxyHeadersMiddleware(_nothing, trusted)


async def _nothing(*args: object) -> None:
    pass
