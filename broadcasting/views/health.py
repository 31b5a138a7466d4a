"""
Whether a process runs, and whether it should be sent clients.

The caller is a machine. The answers need no session, template or database, and tell
nothing that only the server's own machine should know.
"""

import asyncio

from ..api.request import Request
from ..api.response import JSON, Response
from ..exceptions import BroadcastError
from ..protocol.messages import encode
from ..server.hubs import find_hub
from .endpoint import Endpoint, only_safe

# Seconds in which a new hub reaches its bus, within the second that orchestrators wait
# for an answer by default.
BUS_TIMEOUT = 0.8
LOOK_EVERY = 0.02


@Endpoint
@only_safe
async def live(request: Request) -> Response:
    """Answer ``/live``: the process runs. It depends on nothing else; restart one that fails."""
    return Response(200, encode({"status": "live"}), JSON)


@Endpoint
@only_safe
async def ready(request: Request) -> Response:
    """Answer ``/ready``: whether the process can serve clients, or they should go elsewhere."""
    reason = await _why_not_ready()
    if reason is None:
        return Response(200, encode({"status": "ready"}), JSON)
    return Response(503, encode({"status": "unavailable", "reason": reason}), JSON)


@Endpoint
@only_safe
async def up(request: Request) -> Response:
    """Answer ``/up``: the same as ``/ready``, in the form that monitors of Reverb expect."""
    reason = await _why_not_ready()
    return Response(200 if reason is None else 503, encode({"health": reason or "OK"}), JSON)


async def _why_not_ready() -> str | None:
    """Return why no clients should be sent here, `None` if they should."""
    hub = find_hub()
    if hub is None:
        return "This process serves no sockets"
    if hub.is_draining:
        return "Draining"
    try:
        async with asyncio.timeout(BUS_TIMEOUT):
            # Nobody may have connected yet, and then the state of the bus is unknown.
            await hub.start()
            while not hub.has_bus:  # noqa: ASYNC110 (it tells nobody)
                await asyncio.sleep(LOOK_EVERY)
    except (BroadcastError, OSError, TimeoutError):
        return "The bus is away"
    return None
