"""What a process has done, for Prometheus to read."""

import asyncio
import hmac
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv6Address, ip_address

from ..api.request import Request
from ..api.response import Response
from ..conf import get_settings
from ..exceptions import BroadcastError
from ..server.hubs import find_hub
from ..server.metrics.snapshot import take_snapshot
from .endpoint import Endpoint, only_safe
from .health import BUS_TIMEOUT

# A request with one of these headers comes through a proxy, from a client anywhere.
_FORWARDING = {"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip"}


@Endpoint
@only_safe
async def metrics(request: Request) -> Response:
    """Answer ``/metrics``: the numbers of all workers of this host, to whom may know them."""
    if not (_is_local(request) or _has_token(request.headers)):
        return Response(
            403,
            "Metrics are for callers on this machine, and for those who send "
            '"Authorization: Bearer" with BROADCASTING["SERVER"]["METRICS_TOKEN"]',
        )
    hub = find_hub()
    if hub is None:
        return Response(503, "This process serves no sockets, so it has no metrics")
    try:
        from ..server.metrics.prometheus import CONTENT_TYPE, render
    except ModuleNotFoundError:
        return Response(
            501, 'Metrics need the package prometheus-client: pip install "whik[metrics]"'
        )
    # Nobody may have connected yet, and then the state of the bus is unknown.
    with suppress(BroadcastError, OSError, TimeoutError):
        async with asyncio.timeout(BUS_TIMEOUT):
            await hub.start()
    return Response(200, await asyncio.to_thread(render, take_snapshot(hub)), CONTENT_TYPE)


def _is_local(request: Request) -> bool:
    """Whether the request was made on this machine, and not for another one."""
    if any(name in _FORWARDING or name.startswith("x-forwarded-") for name in request.headers):
        return False
    try:
        ip = ip_address(request.address or "")
    except ValueError:  # Unknown: a Unix socket, behind which there is a proxy.
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_loopback


def _has_token(headers: Mapping[str, str]) -> bool:
    token = get_settings().server.metrics_token
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return (
        token is not None
        and scheme.lower() == "bearer"
        and hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())
    )
