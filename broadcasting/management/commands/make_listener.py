"""Write a listener."""

from contextlib import suppress
from importlib import import_module
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ..app_module import AppModule, known_apps, split_name

CODE = '''\
@listen({event})
{keyword} {name}(event: {event}) -> None:
    """Do on the server what follows. An exception keeps the event from pages."""
'''


class Command(BaseCommand):
    """Add a function with ``@listen`` to ``listeners.py`` of an app, which is made if need be."""

    help = "Write a listener into listeners.py of an app."
    # It is run while the project is being written.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the name, the app and the event."""
        parser.add_argument("name", help="App and function: shop.send_receipt.")
        parser.add_argument(
            "--event",
            required=True,
            metavar="CLASS",
            help="The event: shop.OrderShipped, or its whole path, shop.events.OrderShipped.",
        )
        parser.add_argument(
            "--app", metavar="LABEL", help="The app, if NAME does not say it. Default: the event's."
        )
        parser.add_argument(
            "--async", action="store_true", dest="is_async", help="Write an async function."
        )
        parser.add_argument("--dry-run", action="store_true", help="Show what would be written.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write it, and say when it is called."""
        event_module, event = _find_event(options["event"])
        app, name = split_name(options["name"], options["app"])
        if app is None:
            app = apps.get_containing_app_config(f"{event_module}.{event}")
        if app is None:
            raise CommandError(f"Say which app, as in shop.{name}; {known_apps()}")
        module = AppModule(app, "listeners", "What follows on the server when something happens.")
        module.refuse_known(name)
        if name in {event, "listen"}:
            raise CommandError(f"{name} is taken within listeners.py; choose another name.")
        keyword = "async def" if options["is_async"] else "def"
        module.add(
            CODE.format(event=event, name=name, keyword=keyword),
            [("broadcasting", "listen"), (event_module, event)],
        )
        if options["dry_run"]:
            self.stdout.write("\n".join(module.source.diff(module.path)))
            return
        module.write()
        self.stdout.write(f"Wrote {name} into {module.path}.")
        if options["verbosity"] > 0:
            self.stdout.write(
                f"It is called with each {event} that is fired, before pages hear of it."
            )


def _find_event(text: str) -> tuple[str, str]:
    """Return module and name of an event's class, which is imported to be sure of it."""
    module, _, name = text.rpartition(".")
    if not module:
        raise CommandError(f"Say of which app {text!r} is: --event shop.{text}; {known_apps()}")
    with suppress(LookupError):
        module = f"{apps.get_app_config(module).name}.events"
    try:
        if isinstance(getattr(import_module(module), name, None), type):
            return module, name
    except ModuleNotFoundError as exc:
        if not f"{module}.".startswith(f"{exc.name}."):
            raise CommandError(f"{module} cannot be imported: {exc}. Correct it first.") from exc
    except (ImportError, ValueError) as exc:
        raise CommandError(f"{module!r} cannot be imported: {exc}. Correct it first.") from exc
    raise CommandError(
        f"There is no event class {text!r}; make it with `python manage.py make_event {text}`."
    )
