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
from ...drivers.base import PresenceChange
from ...drivers.registry import close_broker, get_broker, server_broadcaster
from ...encryption import unseal
from ...exceptions import BroadcastError
from ...protocol.messages import Message, decode, topic_of
from ...protocol.names import is_client_event, is_encrypted, is_presence, is_user_channel
from ..client import Client, find_applications, find_server_url
from ..terminal import printable


class Command(BaseCommand):
    """
    Print the events of channels until Ctrl+C.

    No rule is asked: whoever runs commands may read every channel. If all server processes
    share a bus, the command listens there, and nobody notices. Otherwise it opens a socket to
    the server. That counts as a subscriber and would be a member of a presence channel, so
    those are refused.
    """

    help = "Print the events of channels as they pass, until Ctrl+C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "channels", nargs="+", metavar="CHANNEL", help="Full names: news, private-room.7."
        )
        parser.add_argument("--event", metavar="NAME", help="Only events of this name.")
        parser.add_argument("--count", type=int, metavar="N", help="End after so many events.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object per line.")
        parser.add_argument("--app", metavar="ID", help="Application. Default: the first.")
        parser.add_argument(
            "--url", help="The address of the server, if its processes share no bus."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["count"] is not None and options["count"] < 1:
            raise CommandError(f"--count is {options['count']}; it must be 1 or more.")
        try:
            names = channel_names(options["channels"])
            app = find_applications(options["app"])[0]
            if server_broadcaster().posts_to is None:  # The bus leads to all processes.
                asyncio.run(self._follow_bus(app, names, options))
            else:
                with Client(app, find_server_url(options["url"])) as server:
                    self._follow_server(server, names, options)
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
            self._print_start(names, "on the bus")
            left = options["count"]
            while left != 0:
                if self._print(app, await arrived.messages.get(), options) and left is not None:
                    left -= 1
        finally:
            await close_broker()

    def _follow_server(
        self, server: Client, names: tuple[str, ...], options: dict[str, Any]
    ) -> None:
        for name in names:
            if is_presence(name) or is_user_channel(name):
                raise CommandError(
                    f"{name} can be followed only if server processes share a bus, such as Redis. "
                    f"Here a socket would have to join it, and its members would see that."
                )
        with server.open_socket() as socket:
            for name in names:
                socket.subscribe(name)
            self._print_start(names, f"at {server.url}")
            messages = _messages(server.app, socket.frames())
            left = options["count"]
            while left != 0:
                if self._print(server.app, next(messages), options) and left is not None:
                    left -= 1

    def _print_start(self, names: tuple[str, ...], where: str) -> None:
        # On stderr: standard output is for events, and may be another program's input.
        self.stderr.write(self.style.NOTICE(f"Following {', '.join(names)} {where}. Ctrl+C ends."))

    def _print(self, app: Application, message: Message, options: dict[str, Any]) -> bool:
        """Print `message` unless ``--event`` names another. Return whether it was printed."""
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
    """Return the data decoded, and decrypted if it is sealed and the key is known."""
    text = message.data
    if is_encrypted(message.channel) and not is_client_event(message.event):
        text = unseal(app, message.channel, text) or text
    try:
        return decode(text)
    except ValueError:
        return text
