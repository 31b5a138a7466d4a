"""Follow channels in the terminal."""

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...applications import Application
from ...channel import channel_names
from ...conf import get_settings
from ...drivers.base import PresenceChange
from ...drivers.registry import close_broker, get_broker
from ...encryption import unseal
from ...exceptions import BroadcastError
from ...protocol.messages import Message, decode, topic_of
from ...protocol.names import is_client_event, is_encrypted, is_presence, is_user_channel
from ..applications import find_applications
from ..client import open_socket
from ..server_address import find_server_url
from ..terminal import printable
from ._server_connection import find_server_connection


class Command(BaseCommand):
    """
    Print the events of channels as they pass, until Ctrl+C.

    Nobody is asked whether the caller may: who runs commands may read every channel. On
    a bus that all processes share it listens there, unnoticed. Else it opens a socket to
    the server, which counts as a subscriber, and does not join presence channels, whose
    members would see it.
    """

    help = "Print the events of channels as they pass, until Ctrl+C."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take channels, and how much of them to print."""
        parser.add_argument(
            "channels", nargs="+", metavar="CHANNEL", help="Full names: news, private-room.7."
        )
        parser.add_argument("--event", metavar="NAME", help="Only events of this name.")
        parser.add_argument("--count", type=int, metavar="N", help="End after so many events.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object per line.")
        parser.add_argument("--app", metavar="ID", help="Application. Default: the first.")
        parser.add_argument("--url", help="The server, where it has to be asked.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print until nothing more is wanted or the bus is lost for good."""
        if options["count"] is not None and options["count"] < 1:
            raise CommandError(f"--count is {options['count']}; it must be 1 or more.")
        try:
            names = channel_names(options["channels"])
            app = find_applications(options["app"])[0]
            shared = find_server_connection().is_shared
            if shared:
                asyncio.run(self._follow_bus(app, names, options))
            else:
                url = find_server_url(options["url"])
                self._follow_server(app, names, url, options)
        except (BroadcastError, ImproperlyConfigured) as exc:
            raise CommandError(printable(exc)) from exc
        except KeyboardInterrupt:
            self.stderr.write("")  # After the ^C that terminals print.

    async def _follow_bus(
        self, app: Application, names: tuple[str, ...], options: dict[str, Any]
    ) -> None:
        arrived = _Arrived()
        broker = get_broker()
        try:
            await broker.connect(arrived)
            for name in names:
                await broker.subscribe(topic_of(app.id, name))
            self._say_what_is_followed(names, "on the bus")
            left = options["count"]
            while left is None or left > 0:
                message = await arrived.messages.get()
                if self._print(app, message, options) and left is not None:
                    left -= 1
        finally:
            await close_broker()

    def _follow_server(
        self, app: Application, names: tuple[str, ...], url: str, options: dict[str, Any]
    ) -> None:
        for name in names:
            if is_presence(name) or is_user_channel(name):
                raise CommandError(
                    f"{name} can be followed where server processes share a bus, such as Redis. "
                    f"Here only a socket could join it, and its members would see that."
                )
        with open_socket(url, get_settings().server.path, app) as socket:
            for name in names:
                socket.subscribe(name)
            self._say_what_is_followed(names, f"at {url}")
            left = options["count"]
            for message in _messages(app, socket.frames()):
                if self._print(app, message, options) and left is not None:
                    left -= 1
                    if left == 0:
                        break

    def _say_what_is_followed(self, names: tuple[str, ...], where: str) -> None:
        # On stderr: standard output is for events, and may be another program's input.
        self.stderr.write(self.style.NOTICE(f"Following {', '.join(names)} {where}. Ctrl+C ends."))

    def _print(self, app: Application, message: Message, options: dict[str, Any]) -> bool:
        """Print `message` if it is wanted; tell whether it was."""
        if options["event"] not in (None, message.event):
            return False
        data = _readable(app, message)
        if options["json"]:
            line = {
                "at": datetime.now().astimezone().isoformat(timespec="milliseconds"),
                "channel": message.channel,
                "event": message.event,
                "data": data,
            } | ({} if message.user_id is None else {"user_id": message.user_id})
            self.stdout.write(printable(json.dumps(line, ensure_ascii=False)))
        else:
            sender = "" if message.user_id is None else f" (user {printable(message.user_id)})"
            text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
            channel = self.style.MIGRATE_HEADING(printable(message.channel))
            event = self.style.SUCCESS(printable(message.event))
            self.stdout.write(
                f"{datetime.now():%H:%M:%S} {channel} {event}{sender} {printable(text)}"
            )
        self.stdout.flush()
        return True


class _Arrived:
    """A listener that keeps messages until they are printed."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()

    def deliver(self, message: Message) -> None:
        self.messages.put_nowait(message)

    def changed(self, change: PresenceChange) -> None:
        pass

    def recount(self, topic: str) -> None:
        pass


def _messages(app: Application, frames: Iterator[Any]) -> Iterator[Message]:
    for frame in frames:
        if "channel" in frame and "event" in frame:
            data = frame.get("data")
            text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
            topic = topic_of(app.id, frame["channel"])
            yield Message(topic, frame["event"], text, user_id=frame.get("user_id"))


def _readable(app: Application, message: Message) -> object:
    """Return the data as JSON has it, opened if it is sealed and the key is known."""
    text = message.data
    if is_encrypted(message.channel) and not is_client_event(message.event):
        text = unseal(app, message.channel, text) or text
    try:
        return decode(text)
    except ValueError:
        return text
