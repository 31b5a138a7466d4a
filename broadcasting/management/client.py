"""A running server, as commands reach it: its address, signed requests, a socket."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import urlsplit

from django.core.management.base import CommandError

from ..applications import Application
from ..conf import get_settings
from ..drivers.pusher import PusherBroadcaster, checked_url
from ..drivers.registry import broadcasters
from ..exceptions import BroadcastError
from ..protocol.messages import decode, encode
from ..protocol.names import is_guarded, is_socket_id
from ..protocol.signatures import sign_channel

TIMEOUT = 5.0  # Seconds for a connection and for an answer of a socket.

_ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (compared)


class Client(PusherBroadcaster):
    """
    A server by its address: signed requests to it, and sockets.

    Args:
        app: The application, whose key is asked for and whose secret signs.
        url: ``http(s)://host[:port]``, as `find_server_url` returns it.
    """

    def __init__(self, app: Application, url: str) -> None:
        super().__init__(app=app, first_app_id=app.id, url=url, timeout=2.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def post(self, path: str) -> int:
        """Return the status of the answer to an empty request. Raise `BroadcastError` for none."""
        return self._ask("POST", path, b"").status

    @contextmanager
    def open_socket(self, origin: str | None = None) -> Iterator["ServerSocket"]:
        """
        Open a socket as a page of the site would, and close it at the end of the block.

        Args:
            origin: The origin of that page; `None` for a client that is no browser.

        Raises:
            CommandError: The package websockets is missing.
            BroadcastError: The server is not there or refuses; the text says which.
        """
        try:
            from websockets.exceptions import InvalidHandshake
            from websockets.sync.client import connect
            from websockets.typing import Origin
        except ImportError as exc:
            raise CommandError(
                'This needs the package websockets: pip install "whik[serve]"'
            ) from exc
        parts, path = urlsplit(self.url), get_settings().server.path
        scheme = "wss" if parts.scheme == "https" else "ws"
        prefix = f"/{path}" if path else ""
        query = "protocol=7&client=broadcasting"
        try:
            connection = connect(
                f"{scheme}://{parts.netloc}{prefix}/app/{self.app.key}?{query}",
                origin=None if origin is None else Origin(origin),
                compression=None,
                open_timeout=TIMEOUT,
                proxy=None,
            )
        except TimeoutError as exc:
            raise BroadcastError(f"no answer within {TIMEOUT:g} s") from exc
        except (InvalidHandshake, OSError, ValueError) as exc:
            raise BroadcastError(str(exc)) from exc
        with connection:
            yield ServerSocket(connection, self.app)


class ServerSocket:
    """
    A socket that speaks the Pusher protocol. Made by `Client.open_socket`.

    Attributes:
        socket_id: The server's name for this socket.
    """

    def __init__(self, connection: Any, app: Application) -> None:
        self._connection = connection
        self._app = app
        greeting = _data_of(self._expect("pusher:connection_established"))
        if not isinstance(greeting, Mapping) or not is_socket_id(greeting.get("socket_id")):
            raise BroadcastError("the server greeted without a socket id")
        self.socket_id = greeting["socket_id"]

    def subscribe(self, channel: str) -> None:
        """Subscribe, signed if the channel is guarded. Raise `BroadcastError` if refused."""
        data = {"channel": channel}
        if is_guarded(channel):
            data["auth"] = sign_channel(self._app, self.socket_id, channel)
        self._connection.send(encode({"event": "pusher:subscribe", "data": data}))
        self._expect("pusher_internal:subscription_succeeded")

    def frames(self) -> Iterator[Mapping[str, Any]]:
        """Yield what arrives. Raise `BroadcastError` when the server has gone."""
        while True:
            frame = self._receive(None)
            if frame.get("event") == "pusher:ping":
                self._connection.send(encode({"event": "pusher:pong", "data": {}}))
            else:
                yield frame

    def _expect(self, event: str) -> Mapping[str, Any]:
        frame = self._receive(TIMEOUT)
        if frame.get("event") == event:
            return frame
        error = _data_of(frame)
        if isinstance(error, Mapping):
            error = " ".join(str(error[key]) for key in ("code", "message") if key in error)
        raise BroadcastError(f"the server answered {frame.get('event')}: {error}")

    def _receive(self, timeout: float | None) -> Mapping[str, Any]:
        from websockets.exceptions import ConnectionClosed

        try:
            frame = decode(self._connection.recv(timeout))
        except TimeoutError:
            raise BroadcastError(f"the server said nothing for {TIMEOUT:g} s") from None
        except ConnectionClosed as exc:
            raise BroadcastError(f"the server closed the socket: {exc}") from exc
        except ValueError:
            frame = None
        if not isinstance(frame, Mapping):
            raise BroadcastError("the server sent what is not a frame of the Pusher protocol")
        return frame


def find_server_url(given: str | None = None) -> str:
    """
    Return ``http(s)://host[:port]`` of the server: what was `given`, else where it should be.

    That is where a connection posts to; over a bus it is ``SERVER["HOST"]`` and
    ``SERVER["PORT"]``.

    Raises:
        CommandError: What was given cannot be an address.
        ImproperlyConfigured: The settings make no sense.
    """
    if given is not None:
        try:
            return checked_url(given)
        except ValueError as exc:
            raise CommandError(f"--url: {exc}.") from exc
    settings = get_settings()
    alias = settings.server.connection or settings.default
    broadcaster = broadcasters[alias]
    if isinstance(broadcaster, PusherBroadcaster):
        return broadcaster.url
    if broadcaster.posts_to is not None:
        return broadcaster.posts_to
    url = str(settings.connection(alias).options.get("url", ""))
    if url.startswith(("http://", "https://")):  # Of a layer that might stay in its process.
        return url.rstrip("/")
    host = settings.server.host
    host = _ANY_ADDRESS.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{settings.server.port}"


def find_applications(app_id: str | None) -> list[Application]:
    """Return the application with this id, or all for `None`. Raise `CommandError` for another."""
    apps = get_settings().apps
    chosen = [app for app in apps if app_id in (None, app.id)]
    if not chosen:
        known = ", ".join(app.id for app in apps)
        raise CommandError(f"There is no application {app_id!r}. Known applications: {known}.")
    return chosen


def _data_of(frame: Mapping[str, Any]) -> Any:
    data = frame.get("data")
    try:
        return decode(data) if isinstance(data, str) else data
    except ValueError:
        return data
