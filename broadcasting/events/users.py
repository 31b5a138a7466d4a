"""Closes the connections of a user."""

import logging
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Model

from ..conf import get_settings
from ..drivers.registry import broadcasters
from ..exceptions import BroadcastError, InvalidUserId
from ..protocol.names import MAX_CHANNEL_LENGTH, is_user_id
from .dispatch import refuse_in_loop

logger = logging.getLogger("broadcasting.events")


def terminate_user_connections(
    user: Model | str | int | UUID, *, via: str | None = None, using: str | None = None
) -> None:
    """
    Close every socket that is signed in as `user`, in all server processes.

    A client that is closed this way does not reconnect by itself. First revoke the user's
    access. Inside an atomic block the call takes effect on commit, as a broadcast does, and
    a failure is logged.

    Args:
        user: A saved user, or the id that the user signs in with.
        via: The connection whose servers are meant, instead of the default one.
        using: The database whose commit is waited for.

    Raises:
        InvalidUserId: No user can sign in with this id.
        BroadcastError: The message did not reach the servers, or the caller is async and
            must await `aterminate_user_connections`.
    """
    refuse_in_loop("terminate_user_connections")
    _terminate(user, via, using)


async def aterminate_user_connections(
    user: Model | str | int | UUID, *, via: str | None = None, using: str | None = None
) -> None:
    """Do what `terminate_user_connections` does, in async code."""
    await sync_to_async(_terminate)(user, via, using)


def _terminate(user: Model | str | int | UUID, via: str | None, using: str | None) -> None:
    user_id = _user_id(user)
    alias = get_settings().default if via is None else via
    broadcaster = broadcasters[alias]

    def terminate_or_log() -> None:
        try:
            broadcaster.terminate_user_connections(user_id)
        except Exception as exc:  # Whatever a driver raises: the commit has happened.
            logger.error(
                "The sockets of user %s were not closed through connection %r: %s",
                user_id,
                alias,
                exc,
                exc_info=None if isinstance(exc, BroadcastError) else exc,
            )

    connection = connections[using or DEFAULT_DB_ALIAS]
    if connection.in_atomic_block:
        connection.on_commit(terminate_or_log)
    else:
        broadcaster.terminate_user_connections(user_id)


def _user_id(user: Model | str | int | UUID) -> str:
    value = user.pk if isinstance(user, Model) else user
    # The text of other objects, such as a guest, may look like an id.
    is_plain = isinstance(value, str | int | UUID) and not isinstance(value, bool)
    is_known = is_plain or (isinstance(user, Model) and value is not None)
    user_id = "" + value if isinstance(value, str) else str(value)
    if not (is_known and is_user_id(user_id)):
        raise InvalidUserId(
            f"{user!r} is not a user that can sign in. Give a saved user or its id: 1 to "
            f"{MAX_CHANNEL_LENGTH} characters, letters and digits of ASCII and _ - = @ , . ;"
        )
    return user_id
