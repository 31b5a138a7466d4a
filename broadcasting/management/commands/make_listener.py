"""Write a listener."""

from contextlib import suppress
from importlib import import_module
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ..app_module import AppModule, known_apps, split_name, write

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
            raise CommandError(f"Name an app, as in shop.{name}; {known_apps()}")
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
    if not module:
        raise CommandError(f"Name the app of {text!r}: --event shop.{text}; {known_apps()}")
    with suppress(LookupError):
        module = f"{apps.get_app_config(module).name}.events"
    try:
        if isinstance(getattr(import_module(module), name, None), type):
            return module, name
    except ModuleNotFoundError as exc:
        if not f"{module}.".startswith(f"{exc.name}."):
            raise CommandError(f"{module} cannot be imported: {exc}. Correct it first.") from exc
    except Exception as exc:
        raise CommandError(f"{module!r} cannot be imported: {exc}. Correct it first.") from exc
    raise CommandError(
        f"There is no event class {text!r}; make it with `python manage.py make_event {text}`."
    )
