"""Write a listener."""

from contextlib import suppress
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string

from ..app_module import AppModule, split_name, write

CODE = '''\
@listen({event})
{keyword} {name}(event: {event}) -> None:
    """Do something on the server. An exception keeps the event from browsers."""
'''


class Command(BaseCommand):
    help = "Write a listener into listeners.py of an app."
    # It is run while the project is being written.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="App and function: shop.send_receipt.")
        parser.add_argument(
            "--event",
            required=True,
            metavar="CLASS",
            help="The event: shop.OrderShipped, or its whole path, shop.events.OrderShipped.",
        )
        parser.add_argument(
            "--app",
            metavar="LABEL",
            help="The app, if NAME has none. Default: the app of the event.",
        )
        parser.add_argument(
            "--async", action="store_true", dest="is_async", help="Write an async function."
        )
        parser.add_argument("--dry-run", action="store_true", help="Show what would be written.")

    def handle(self, *args: Any, **options: Any) -> None:
        event_module, event = _find_event(options["event"])
        app, name = split_name(options["name"], options["app"])
        app = app or apps.get_containing_app_config(f"{event_module}.{event}")
        if app is None:
            raise CommandError(f"Name an app, as in shop.{name}.")
        keyword = "async def" if options["is_async"] else "def"
        edit = AppModule(app, "listeners", f"What happens after the events of {app.label}.").add(
            name,
            CODE.format(event=event, name=name, keyword=keyword),
            {"broadcasting": ["listen"], event_module: [event]},
        )
        if write(self, edit, name, dry_run=options["dry_run"]) and options["verbosity"] > 0:
            self.stdout.write(
                f"It is called with each {event} that is fired, before the event is sent."
            )


def _find_event(text: str) -> tuple[str, str]:
    """Return module and name of an event's class, which is imported to be sure of it."""
    module, _, name = text.rpartition(".")
    with suppress(LookupError):
        module = f"{apps.get_app_config(module).name}.events"
    try:
        event = import_string(f"{module}.{name}")
    except Exception as exc:
        raise CommandError(
            f"--event {text} cannot be imported: {exc}. Name it as in shop.OrderShipped; "
            f"`python manage.py make_event` makes one."
        ) from exc
    return module, event.__name__
