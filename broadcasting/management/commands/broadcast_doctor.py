"""Look at a running installation, and say what to mend."""

import json
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...conf import get_settings
from ...diagnostics import server as examination
from ...drivers.diagnosis import Finding
from ..server_address import find_server_url
from ..terminal import printable


class Command(BaseCommand):
    """
    Look at settings, bus, server, socket, authorization and limits, each for itself.

    It sends one message on a channel of its own, stores nothing and changes nothing.
    """

    help = "Look at a running installation: settings, Redis, server, sockets. Say what to mend."
    requires_system_checks = []  # They are what it prints first.

    def add_arguments(self, parser: CommandParser) -> None:
        """Take where the server is and whom it should admit."""
        parser.add_argument(
            "--url",
            help="Where browsers reach the server: https://www.example.com looks through the "
            "proxy. Default: where this process would reach it.",
        )
        parser.add_argument(
            "--origin", help="Of the pages that open sockets. Default: as the settings have it."
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON array.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line for each thing that was looked at. Fail if one is wrong."""
        found = self._examine(options["url"], options["origin"])
        if options["json"]:
            self.stdout.write(json.dumps([asdict(finding) for finding in found], indent=2))
        else:
            for finding in found:
                self._print(finding)
        errors = sum(finding.level == "error" for finding in found)
        if errors:
            raise CommandError(f"{errors} of {len(found)} things are wrong.")

    def _examine(self, url: str | None, origin: str | None) -> list[Finding]:
        try:
            settings = get_settings()
            reached = find_server_url(url)
        except ImproperlyConfigured as exc:
            return [Finding("error", "Settings", str(exc), "See docs/settings.md.")]
        app = settings.apps[0]
        if origin is None:
            likely = examination.likely_origin(app, reached)
            origin = examination.origin_of(reached) if url else likely
        found = examination.examine_settings(settings, not django_settings.DEBUG)
        with suppress(ImproperlyConfigured):  # The checks have said what cannot be made.
            found += examination.examine_connections(settings)
        server = [f for each in settings.apps for f in examination.examine_server(each, reached)]
        found += [finding for finding in server if finding not in found]
        found += examination.examine_socket(settings, app, reached, origin)
        found += examination.examine_auth_endpoint(reached)
        found += examination.examine_proxy(settings, reached)
        return found + examination.examine_files(settings)

    def _print(self, finding: Finding) -> None:
        style = {"ok": self.style.SUCCESS, "warning": self.style.WARNING}.get(
            finding.level, self.style.ERROR
        )
        # Some of it is what a server has said, which may be anybody's.
        text = printable(f"{finding.subject}: {finding.text}")
        self.stdout.write(f"{style(finding.level.ljust(7))}  {text}")
        if finding.fix and finding.level != "ok":
            self.stdout.write(f"         {printable(finding.fix)}")
