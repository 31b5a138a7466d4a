"""An ASGI application whose lifespan fails once it has begun."""

from typing import Any


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Raise in the middle of the start."""
    await receive()
    raise ConnectionError("the database is away")
