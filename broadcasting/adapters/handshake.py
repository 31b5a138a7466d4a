"""From the request with which a client opens a socket to its session, under any server."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from ..conf import get_settings
from ..protocol.errors import OverCapacity
from ..server.admission import get_admission
from ..server.hubs import get_hub, open_session
from ..server.session import Session
from ..server.topics import Socket

_REFUSALS = {
    "address": "Too many connections from one address",
    "process": "Too many connections",
}


def begin_session(
    scope: Mapping[str, Any], key: str, socket: Socket, address: str | None
) -> Session | None:
    """
    Return the session of a client, or close its socket with 4100 where all places are taken.

    Whoever gets a session releases `address` from the `Admission` when the client has gone.

    Args:
        scope: The request, as ASGI describes it.
        key: The application key in the path.
        socket: What the session speaks through.
        address: The client's, `None` if it is not known.
    """
    reason = get_admission().admit(address)
    if reason is not None:
        get_hub().stats.refused[reason] += 1
        socket.close(OverCapacity.code, _REFUSALS[reason])
        return None
    # ASGI lets a server leave it out.
    query = (scope.get("query_string") or b"").decode("latin-1")
    return open_session(
        key=key,
        version=parse_qs(query, keep_blank_values=True).get("protocol", [None])[0],
        origin=_header(scope, "origin"),
        socket=socket,
        is_secure=_is_secure(scope),
    )


def _is_secure(scope: Mapping[str, Any]) -> bool:
    """Whether the client's connection is encrypted, at the latest up to a trusted proxy."""
    proxy_header = get_settings().proxy_header
    if proxy_header is None:
        return bool(scope.get("scheme") == "wss")
    name, expected = proxy_header
    # Of a list that several proxies wrote, the first is the client's, as in Django.
    value, *_ = (_header(scope, name) or "").split(",")
    return value.strip() == expected


def _header(scope: Mapping[str, Any], name: str) -> str | None:
    """Return a header; if it comes more than once, joined by commas as in Django."""
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == name.encode()]
    return ",".join(values) if values else None
