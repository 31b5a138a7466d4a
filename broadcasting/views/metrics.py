"""What a process has done, for Prometheus to read."""

import asyncio
import hmac
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv6Address, ip_address

from django.http import HttpRequest, HttpResponse

from ..conf import get_settings
from ..drivers.base import is_serving_here
from ..exceptions import BroadcastError
from ..server.hubs import get_hub
from ..server.metrics.snapshot import take_snapshot
from .health import PATIENCE
from .response import Response, only_safe

# With one of these a proxy speaks for somebody else, who may be anywhere.
_FORWARDING = {"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip"}


async def metrics(request: HttpRequest) -> HttpResponse:
    """Answer ``/metrics``."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    address = request.META.get("REMOTE_ADDR")
    return (await answer_metrics(request.method or "", address, headers)).for_django()


async def answer_metrics(method: str, address: str | None, headers: Mapping[str, str]) -> Response:
    """
    Tell who may know the numbers of all workers of this host.

    Args:
        method: As it came.
        address: The client's, as far as the server knows.
        headers: Those of the request, names in lower case.
    """
    if (refusal := only_safe(method)) is not None:
        return refusal
    if not (_is_local(address, headers) or _has_token(headers)):
        return Response(
            403,
            "Metrics are for callers on this machine, and for those who send "
            '"Authorization: Bearer" with BROADCASTING["SERVER"]["METRICS_TOKEN"]',
        )
    if not is_serving_here():
        return Response(503, "This process serves no sockets, so it has nothing to tell")
    try:
        from ..server.metrics.prometheus import CONTENT_TYPE, render
    except ModuleNotFoundError:
        return Response(
            501, 'Metrics need the package prometheus-client: pip install "whik[metrics]"'
        )
    hub = get_hub()
    # An untried bus is neither up nor away.
    with suppress(BroadcastError, OSError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await hub.start()
    return Response(200, await asyncio.to_thread(render, take_snapshot(hub)), CONTENT_TYPE)


def _is_local(address: str | None, headers: Mapping[str, str]) -> bool:
    """Tell whether the request was made on this machine, and for nobody else."""
    if any(name in _FORWARDING or name.startswith("x-forwarded-") for name in headers):
        return False
    try:
        ip = ip_address(address or "")
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
