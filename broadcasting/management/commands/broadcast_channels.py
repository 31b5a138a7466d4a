"""Who may join which channels, and which of them have sockets at this moment."""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...api.channels import ATTRIBUTES, Info, infos
from ...applications import Application
from ...authorization.rules import rules
from ...drivers.registry import close_broker, get_broker
from ...exceptions import BroadcastError
from ...protocol.names import is_channel_name, is_presence
from ..client import Client, find_applications, find_server_url

_PRESENCE = "presence-"


class Command(BaseCommand):
    """
    List the rules, then the occupied channels of each application.

    The channels are read from the bus, or asked of the server if it keeps them in its process.
    """

    help = "List the rules of authorization, and the channels that have sockets now."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--app", metavar="ID", help="Only this application's channels.")
        parser.add_argument(
            "--prefix", default="", help="Only channels whose full name begins so: presence-"
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        known = [
            {
                "pattern": rule.pattern.text,
                "handler": rule.handler.name,
                "guests": rule.handler.guests,
            }
            for rule in rules()
        ]
        try:
            found = _occupied(find_applications(options["app"]), options["prefix"])
        except ImproperlyConfigured as exc:
            raise CommandError(str(exc)) from exc
        if options["json"]:
            applications = [
                {"id": app_id, "error": value, "channels": {}}
                if isinstance(value, str)
                else {"id": app_id, "error": None, "channels": value}
                for app_id, value in found.items()
            ]
            self.stdout.write(json.dumps({"rules": known, "applications": applications}, indent=2))
            return
        self._print_rules(known)
        for app_id, value in found.items():
            self._print_channels(app_id, value)

    def _print_rules(self, known: Sequence[Mapping[str, Any]]) -> None:
        self.stdout.write(self.style.MIGRATE_HEADING("Rules"))
        if not known:
            self.stdout.write("  None. Write them into channel_auth.py of an app.")
        self._print_columns(
            (rule["pattern"], rule["handler"], "guests, too" if rule["guests"] else "")
            for rule in known
        )

    def _print_channels(self, app_id: str, channels: Mapping[str, Info] | str) -> None:
        self.stdout.write(self.style.MIGRATE_HEADING(f"Channels of application {app_id}"))
        if isinstance(channels, str):
            self.stdout.write(self.style.WARNING(f"  Unknown. {channels}"))
        elif not channels:
            self.stdout.write("  None has a socket.")
        else:
            self._print_columns(
                (
                    name,
                    _number(counts["subscription_count"], "socket"),
                    _number(counts["user_count"], "user") if "user_count" in counts else "",
                )
                for name, counts in channels.items()
            )

    def _print_columns(self, rows: Iterable[tuple[str, ...]]) -> None:
        rows = list(rows)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.stdout.write(f"  {'  '.join(cells)}".rstrip())


def _occupied(apps: Sequence[Application], prefix: str) -> dict[str, dict[str, Info] | str]:
    """Return the channels of each application, or why they are unknown."""
    try:
        shared = asyncio.run(_read_bus(apps, prefix))
    except BroadcastError as exc:
        return dict.fromkeys((app.id for app in apps), str(exc))
    if shared is not None:
        return dict(shared)
    url = find_server_url()
    found: dict[str, dict[str, Info] | str] = {}
    for app in apps:
        try:
            with Client(app, url) as server:
                found[app.id] = _ask_server(server, prefix)
        except BroadcastError as exc:
            found[app.id] = str(exc)
    return found


async def _read_bus(
    apps: Sequence[Application], prefix: str
) -> Mapping[str, dict[str, Info]] | None:
    """Return the channels on a bus that all servers share, `None` if there is none."""
    found: dict[str, dict[str, Info]] = {}
    try:
        broker = get_broker()
        if not broker.presence.is_shared:
            return None
        for app in apps:
            occupied = await broker.presence.occupied(app.id, prefix)
            # Names that begin with # are those of servers and users.
            names = sorted(filter(is_channel_name, occupied))
            counts = await infos(broker, app, [(name, ATTRIBUTES) for name in names])
            found[app.id] = dict(zip(names, counts, strict=True))
        return found
    finally:
        await close_broker()


def _ask_server(server: Client, prefix: str) -> dict[str, Info]:
    channels = _ask_channels(server, prefix, "subscription_count")
    # Presence channels alone have a number of users, and the API wants to hear their prefix.
    if _PRESENCE.startswith(prefix) or is_presence(prefix):
        users = _ask_channels(server, max(prefix, _PRESENCE, key=len), "user_count")
        for name in channels.keys() & users.keys():
            channels[name] |= users[name]
    return channels


def _ask_channels(server: Client, prefix: str, info: str) -> dict[str, Info]:
    query = {"info": info} | ({"filter_by_prefix": prefix} if prefix else {})
    answer = server.get("/channels", query)
    try:
        return {
            name: {info: int(counts[info])}
            for name, counts in sorted(answer["channels"].items())
            if is_channel_name(name)
        }
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise BroadcastError(f"{server.url} does not answer as a Pusher server does.") from exc


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
