"""
Whether a process lives, and whether it should be sent clients.

Whoever asks is a machine: no session, no template, no database, and nothing that only
the server's own machine should know.
"""

import asyncio

from django.http import HttpRequest, HttpResponse

from ..drivers.base import is_serving_here
from ..exceptions import BroadcastError
from ..protocol.messages import encode
from ..server.hubs import get_hub
from .response import JSON, Response, only_safe

# Seconds in which a hub that was just made reaches its bus, within the second that
# orchestrators wait for an answer unless told otherwise.
PATIENCE = 0.8
LOOK_EVERY = 0.02


async def live(request: HttpRequest) -> HttpResponse:
    """Answer ``/live``."""
    return (await answer_live(request.method or "")).for_django()


async def ready(request: HttpRequest) -> HttpResponse:
    """Answer ``/ready``."""
    return (await answer_ready(request.method or "")).for_django()


async def up(request: HttpRequest) -> HttpResponse:
    """Answer ``/up``."""
    return (await answer_up(request.method or "")).for_django()


async def answer_live(method: str) -> Response:
    """Say that the process answers. It asks nothing and nobody: a failure means, restart it."""
    return only_safe(method) or Response(200, encode({"status": "live"}), JSON)


async def answer_ready(method: str) -> Response:
    """Say whether the process can serve clients: a failure means, send them elsewhere."""
    if (refusal := only_safe(method)) is not None:
        return refusal
    reason = await _why_not()
    if reason is None:
        return Response(200, encode({"status": "ready"}), JSON)
    return Response(503, encode({"status": "unavailable", "reason": reason}), JSON)


async def answer_up(method: str) -> Response:
    """Say the same as `answer_ready` in the words of Reverb, whose monitors look here."""
    if (refusal := only_safe(method)) is not None:
        return refusal
    reason = await _why_not()
    if reason is None:
        return Response(200, encode({"health": "OK"}), JSON)
    return Response(503, encode({"health": reason}), JSON)


async def _why_not() -> str | None:
    """Return why no clients should be sent here, `None` if they should."""
    if not is_serving_here():
        return "This process serves no sockets"
    hub = get_hub()
    if hub.is_draining:
        return "Draining"
    try:
        async with asyncio.timeout(PATIENCE):
            # Nobody may have connected yet, and an untried bus is neither up nor away.
            await hub.start()
            while not hub.has_bus:  # noqa: ASYNC110 (it tells nobody)
                await asyncio.sleep(LOOK_EVERY)
    except (BroadcastError, OSError, TimeoutError):
        return "The bus is away"
    return None
