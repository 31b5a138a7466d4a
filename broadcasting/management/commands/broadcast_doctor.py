"""Look at a running installation, and print what is wrong and how to correct it."""

import json
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...conf import get_settings
from ...diagnostics.files import diagnose_files
from ...diagnostics.settings import diagnose_connections, diagnose_settings
from ...diagnostics.site import (
    diagnose_authorization,
    diagnose_proxy,
    diagnose_server,
    diagnose_socket,
    likely_origin,
    origin_of,
)
from ...drivers.diagnosis import Diagnosis
from ..client import find_server_url
from ..terminal import printable


class Command(BaseCommand):
    """
    Look at settings, bus, server, socket, authorization and limits, each on its own.

    One message is sent on a channel of its own. Nothing is stored or changed.
    """

    help = "Look at a running installation: settings, Redis, server, sockets. Print what to fix."
    requires_system_checks = []  # They are what it prints first.

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--url",
            help="Where browsers reach the server: https://www.example.com looks through the "
            "proxy. Default: where this process would reach it.",
        )
        parser.add_argument(
            "--origin",
            help="The origin of the pages that open sockets. Default: that of --url, else by the "
            "settings.",
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON array.")

    def handle(self, *args: Any, **options: Any) -> None:
        found = self._diagnose(options["url"], options["origin"])
        if options["json"]:
            self.stdout.write(json.dumps([asdict(diagnosis) for diagnosis in found], indent=2))
        else:
            for diagnosis in found:
                self._print(diagnosis)
        errors = sum(diagnosis.level == "error" for diagnosis in found)
        if errors:
            raise CommandError(f"{errors} of {len(found)} things are wrong.")

    def _diagnose(self, url: str | None, origin: str | None) -> list[Diagnosis]:
        try:
            settings = get_settings()
            reached = find_server_url(url)
        except ImproperlyConfigured as exc:
            return [Diagnosis("error", "Settings", str(exc), "See docs/settings.md.")]
        app = settings.apps[0]
        origin = origin or (origin_of(reached) if url else likely_origin(app, reached))
        found = diagnose_settings(settings, not django_settings.DEBUG)
        with suppress(ImproperlyConfigured):  # The checks have reported what cannot be made.
            found += diagnose_connections(settings)
        for each in settings.apps:
            found += [one for one in diagnose_server(each, reached) if one not in found]
        found += diagnose_socket(settings, app, reached, origin)
        found += diagnose_authorization(app, reached)
        found += diagnose_proxy(settings, reached)
        return found + diagnose_files(settings.server.max_connections)

    def _print(self, diagnosis: Diagnosis) -> None:
        styles = {"ok": self.style.SUCCESS, "warning": self.style.WARNING}
        style = styles.get(diagnosis.level, self.style.ERROR)
        # Some of it comes from a server, which may be anybody's.
        text = printable(f"{diagnosis.subject}: {diagnosis.text}")
        self.stdout.write(f"{style(diagnosis.level.ljust(7))}  {text}")
        if diagnosis.fix and diagnosis.level != "ok":
            self.stdout.write(f"         {printable(diagnosis.fix)}")
