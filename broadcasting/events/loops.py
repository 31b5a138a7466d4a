"""Where sync functions must not be called."""

import asyncio

from ..exceptions import BroadcastError


def refuse_in_loop(name: str, instead: str | None = None) -> None:
    """
    Raise `BroadcastError` if an event loop is running, which the function `name` would block.

    `instead` is what to write there, if not ``await`` and the async twin.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise BroadcastError(
        f"{name}() was called in async code, whose event loop it would block. "
        f"Write: {instead or f'await a{name}(...)'}"
    )
