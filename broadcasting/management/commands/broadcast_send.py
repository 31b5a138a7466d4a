"""Send one event from the shell."""

import json
import sys
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...conf import get_settings
from ...events.dispatch import send_now
from ...exceptions import BroadcastError


class Command(BaseCommand):
    """Send one event at once. No rule is asked: whoever runs commands may send to any channel."""

    help = "Send one event to one channel, as broadcast_to() does."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "channel", help="Full name, prefix included: news, private-room.7, private-encrypted-x."
        )
        parser.add_argument("event", help="Name that clients listen for.")
        parser.add_argument(
            "data",
            nargs="?",
            default="{}",
            help="JSON object, or - to read one from standard input. Default: {}.",
        )
        parser.add_argument(
            "--via",
            metavar="ALIAS",
            help='Connection in BROADCASTING["CONNECTIONS"]. Default: the default one.',
        )

    def handle(self, *args: Any, **options: Any) -> None:
        channel, event, via = options["channel"], options["event"], options["via"]
        data = _decode(sys.stdin.read() if options["data"] == "-" else options["data"])
        try:
            send_now(channel, event, data, via=via)
            alias = via or get_settings().default
        except (BroadcastError, ImproperlyConfigured) as exc:
            raise CommandError(str(exc)) from exc
        if options["verbosity"] > 0:
            self.stdout.write(f"Sent {event} on {channel} through connection {alias!r}.")


def _decode(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise CommandError(
            f"The data is not JSON: {exc}. Quote it for the shell: '{{\"id\": 7}}'."
        ) from exc
    if not isinstance(value, dict):
        raise CommandError(
            f"The data is JSON but not an object: {text[:100].strip()}. Write '{{\"value\": …}}'."
        )
    return value
