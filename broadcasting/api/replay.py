"""The requests of the HTTP API that were made before, for applications that mind."""

import hashlib
import logging

from django.core.cache import caches

from .request import TIMESTAMP_WINDOW, ApiError, Request

# A signature made 600 s ahead of the server's clock counts until 600 s after.
REMEMBERED = 2 * TIMESTAMP_WINDOW

logger = logging.getLogger("broadcasting.server")


async def admit(request: Request) -> None:
    """
    Raise `ApiError` for a request that was made before.

    Only where the application has a ``REPLAY_CACHE``: two equal requests of the same
    second carry one signature, and without it both count.
    """
    alias = request.app.replay_cache
    if alias is None:
        return
    try:
        is_new = await caches[alias].aadd(_key(request), 1, REMEMBERED)
    except Exception as exc:  # Each cache has exceptions of its own.
        logger.exception("The cache %r, which is a REPLAY_CACHE, failed", alias)
        raise ApiError(503, "The cache of former requests does not answer") from exc
    if not is_new:
        raise ApiError(401, "This request was made before")


async def forget(request: Request) -> None:
    """Let the request be made again, since it was not served."""
    alias = request.app.replay_cache
    if alias is None:
        return
    try:
        await caches[alias].adelete(_key(request))
    except Exception:  # As above; the caller can still sign anew.
        logger.exception("The cache %r, which is a REPLAY_CACHE, failed", alias)


def _key(request: Request) -> str:
    text = f"{request.app.id}:{request.signature}"
    return f"broadcasting.replay.{hashlib.sha256(text.encode()).hexdigest()}"
