"""Add broadcasting to a project that is there."""

import os
from importlib.util import find_spec
from typing import Any

import django
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ..install import CONNECTIONS, SETTINGS_VARIABLE, Installation

# What the project could not start without.
PACKAGES = {"daphne": "daphne", "redis": '"whik[redis]"'}


class Command(BaseCommand):
    """
    Append a block to the settings, the root URLconf and asgi.py, after showing the differences.

    Where a file needs more than that, the command prints the lines for the user to add, and
    fails.
    """

    help = "Add broadcasting to this project: apps, middleware, settings, URLs, asgi.py."
    # The project may not be in order yet.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--connection",
            choices=sorted(filter(None, CONNECTIONS)),
            help="The default connection to write. redis reads REDIS_URL of the environment. "
            "Default: channels if the project has a channel layer, else memory.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Show what would be written.")
        parser.add_argument(
            "--no-input",
            "--noinput",
            action="store_false",
            dest="interactive",
            help="Write without asking.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        missing = [
            package
            for module, package in PACKAGES.items()
            if module in ("daphne", options["connection"]) and find_spec(module) is None
        ]
        if missing:
            raise CommandError(f"Run `pip install {' '.join(missing)}`, then this command again.")
        installation = _plan(options["connection"])
        for edit in installation.edits:
            for line in edit.diff():
                self.stdout.write(self.style.SUCCESS(line) if line[:1] == "+" else line)
            self.stdout.write("")
        if installation.edits and not options["dry_run"]:
            self._write(installation, interactive=options["interactive"])
        self._print_what_is_left(installation)

    def _write(self, installation: Installation, *, interactive: bool) -> None:
        if interactive:
            try:
                answer = input("Write these changes? [y/N] ")
            except EOFError:
                raise CommandError(
                    "Nothing was written, since nobody answered. --no-input writes without asking."
                ) from None
            if answer.strip().lower() not in {"y", "yes"}:
                raise CommandError("Nothing was written.")
        try:
            for edit in installation.edits:
                edit.write()
        except OSError as exc:
            raise CommandError(f"{exc}. Run the command again for what is missing.") from exc
        self.stdout.write(
            f"Wrote {', '.join(edit.name for edit in installation.edits)}.\n"
            "Next: {% load broadcasting %}{% broadcasting_scripts %} in a template, an event by "
            "`python manage.py make_event APP.NAME`, and `python manage.py runserver`."
        )

    def _print_what_is_left(self, installation: Installation) -> None:
        for path, why, lines in installation.left:
            self.stdout.write(self.style.WARNING(f"Left to you: {path}. {why}"))
            self.stdout.write("".join(f"    {line}" for line in lines.splitlines(keepends=True)))
        if installation.left:
            raise CommandError("Add the lines above by hand, then run the command again.")
        if not installation.edits:
            self.stdout.write("Nothing to do.")


def _plan(connection: str | None) -> Installation:
    if not os.environ.get(SETTINGS_VARIABLE):
        raise CommandError(
            "No manage.py here names the settings. Run the command in the folder of manage.py, "
            "or name them: --settings mysite.settings"
        )
    try:
        django.setup()
        return Installation(connection)
    except CommandError:
        raise
    except Exception as exc:
        if not settings.configured:  # Django asks for databases at the end of each command.
            settings.configure()
        raise CommandError(
            f"Nothing was written: the project cannot be imported with the settings "
            f"{os.environ[SETTINGS_VARIABLE]!r} ({type(exc).__name__}: {exc}). Correct that, or "
            f"run the command in the folder of manage.py, or name the settings with --settings."
        ) from exc
