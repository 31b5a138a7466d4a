"""Requests that were made before, for applications with a ``REPLAY_CACHE``."""

import hashlib
import logging

from django.core.cache import caches

from .request import ApiError, SignedRequest
from .signature import TIMESTAMP_WINDOW

# A signature made 600 s ahead of the server's clock counts until 600 s after.
REMEMBERED = 2 * TIMESTAMP_WINDOW

logger = logging.getLogger("broadcasting.server")


async def admit(request: SignedRequest) -> None:
    """
    Raise `ApiError` for a request that was made before.

    Two equal requests of the same second carry one signature; where the application has
    no ``REPLAY_CACHE``, both count.
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


async def forget(request: SignedRequest) -> None:
    """Allow a request that had no effect to be made again."""
    alias = request.app.replay_cache
    if alias is None:
        return
    try:
        await caches[alias].adelete(_key(request))
    except Exception:  # As above. The caller can still sign anew.
        logger.exception("The cache %r, which is a REPLAY_CACHE, failed", alias)


def _key(request: SignedRequest) -> str:
    text = f"{request.app.id}:{request.signature}"
    return f"broadcasting.replay.{hashlib.sha256(text.encode()).hexdigest()}"
