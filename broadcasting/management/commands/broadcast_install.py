"""Put broadcasting into a project that is there."""

import os
import sys
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ..editing.source import NotUnderstood, Source
from ..installing.installation import SETTINGS, Installation
from ..installing.project import SETTINGS_VARIABLE, Project
from ..installing.snippets import CONNECTIONS


class Command(BaseCommand):
    """
    Edit settings, URLs and asgi.py of the project, after a look at the differences.

    What is written in a way that no safe edit is known for is left to the user, with the
    lines to paste; the command then fails, and may be run again.
    """

    help = "Add broadcasting to this project: apps, middleware, settings, URLs, asgi.py."
    # The project may not be in order yet.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the connection, and how to proceed."""
        parser.add_argument(
            "--connection",
            choices=sorted(CONNECTIONS),
            help="Where events go by default. redis and channels read REDIS_URL of the "
            "environment. Default: channels where the project has a channel layer, else memory.",
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
        """Show the differences, ask, write."""
        installation = Installation(_project(), options["connection"])
        if missing := installation.missing_packages():
            raise CommandError(
                f"A package is missing; run `pip install {' '.join(dict.fromkeys(missing))}`, "
                f"then this command again."
            )
        installation.plan()
        project, changed = installation.project, installation.project.changed
        for source in changed:
            self._show(source, project.name_of(source.path))
        if changed and not options["dry_run"]:
            self._write(changed, interactive=options["interactive"])
            self.stdout.write(
                f"Wrote {', '.join(project.name_of(source.path) for source in changed)}."
            )
        self._finish(installation, wrote=bool(changed) and not options["dry_run"])

    def _show(self, source: Source, name: str) -> None:
        styles = {"+": self.style.SUCCESS, "-": self.style.ERROR}
        for line in source.diff(name):
            self.stdout.write(styles.get(line[:1], str)(line))
        self.stdout.write("")

    def _write(self, changed: list[Source], *, interactive: bool) -> None:
        if interactive:
            try:
                answer = input("Write these changes? [y/N] ")
            except EOFError:
                raise CommandError(
                    "Nobody answered, and nothing was written; pass --no-input to write "
                    "without asking."
                ) from None
            if answer.strip().lower() not in {"y", "yes"}:
                raise CommandError("Nothing was written.")
        try:
            for source in changed:
                source.write()
        except (NotUnderstood, OSError) as exc:
            raise CommandError(f"{exc} Run the command again for what is missing.") from exc

    def _finish(self, installation: Installation, *, wrote: bool) -> None:
        for left in installation.left:
            self.stdout.write(self.style.WARNING(f"Left to you, in {left.file}. {left.why}"))
            self.stdout.write("")
            for line in left.lines.splitlines():
                self.stdout.write(f"    {line}".rstrip())
            self.stdout.write("")
        if wrote:
            self._say_what_is_next(installation)
        elif not installation.left and not installation.project.changed:
            self.stdout.write("Nothing to do.")
        if installation.left:
            number = len(installation.left)
            what = "One change is" if number == 1 else f"{number} changes are"
            raise CommandError(
                f"{what} left to you; make {'it' if number == 1 else 'them'} as shown above and "
                f"run the command again."
            )

    def _say_what_is_next(self, installation: Installation) -> None:
        lines = [
            "Next:",
            "  In a template:   {% load broadcasting %}{% broadcasting_scripts %}",
            "  An event class:  python manage.py make_event APP.NAME",
            "  A server:        python manage.py runserver",
        ]
        if installation.has_new_secret:
            lines.append(
                "  In production:   set BROADCAST_SECRET, for example to the output of "
                "`openssl rand -hex 32`"
            )
        self.stdout.write("\n".join(lines))


def _project() -> Project:
    module = os.environ.get(SETTINGS_VARIABLE, "")
    if not module:
        raise CommandError(
            "No manage.py here says which settings are meant. Run the command in the folder of "
            "manage.py, or name them: --settings mysite.settings"
        )
    try:
        values = {name: getattr(settings, name, None) for name in SETTINGS}
        return Project(module, values, [os.getcwd(), *sys.path])
    except (ImportError, ImproperlyConfigured) as exc:
        raise CommandError(
            f"The settings {module!r} cannot be imported ({exc}); run the command in the folder "
            f"of manage.py, or name them with --settings."
        ) from exc
    except NotUnderstood as exc:
        raise CommandError(
            f"{exc} Run the command in the folder of manage.py; where {module} is a folder of "
            f"settings, name one: --settings {module}.dev"
        ) from exc
