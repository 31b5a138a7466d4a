"""Listeners: what the server itself does when something happens."""

import logging
from functools import partial

from broadcasting import ModelEvent, broadcast_html, listen

from .events import NewUserCreated
from .models import Thing

logger = logging.getLogger(__name__)


@listen(NewUserCreated)
def log_new_user(event: NewUserCreated) -> None:
    """Leave a line in the log; it needs no broadcasting."""
    logger.info("New user %s", event.user.username)


# shown
@listen(ModelEvent)
def send_row(told: ModelEvent) -> None:
    """Render the row of a thing once, for all pages that show the list through htmx."""
    if not isinstance(told.instance, Thing):
        return
    context, row = {"thing": told.instance}, f"#row-{told.instance.pk}"
    send = partial(broadcast_html, "things.rows", to_others=True)
    match told.event:
        case "created":
            send("whik/thing_row.html", context, "#rows", swap="afterbegin")
        case "updated":
            send("whik/thing_row.html", context, row, swap="outerHTML")
        case "deleted":
            send(target=row, swap="delete")


# end
