"""Listeners: what the server itself does when something happens."""

import logging

from broadcasting import listen

from .events import NewUserCreated

logger = logging.getLogger(__name__)


@listen(NewUserCreated)
def log_new_user(event: NewUserCreated) -> None:
    """Leave a line in the log; it needs no broadcasting."""
    logger.info("New user %s", event.user.username)
