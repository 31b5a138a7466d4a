"""Listeners, which run on the server when an event is fired."""

import logging
from functools import partial

from broadcasting import ModelEvent, broadcast_html, listen

from .events import NewUserCreated
from .models import Thing

logger = logging.getLogger(__name__)


@listen(NewUserCreated)
def log_new_user(event: NewUserCreated) -> None:
    """Log the new user."""
    logger.info("New user %s", event.user.username)


# shown
@listen(ModelEvent)
def send_row(change: ModelEvent) -> None:
    """Render the row of a thing once, for all pages that show the list with htmx."""
    if not isinstance(change.instance, Thing):
        return
    context, row = {"thing": change.instance}, f"#row-{change.instance.pk}"
    send = partial(broadcast_html, "things.rows", to_others=True)
    match change.event:
        case "created":
            send("whik/thing_row.html", context, "#rows", swap="afterbegin")
        case "updated":
            send("whik/thing_row.html", context, row, swap="outerHTML")
        case "deleted":
            send(target=row, swap="delete")


# end
