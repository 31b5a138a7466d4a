"""A socket to a running server, as a page of the site would open it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import CommandError

from ..applications import Application
from ..exceptions import BroadcastError
from ..protocol.messages import decode, encode
from ..protocol.names import is_guarded, is_socket_id
from ..protocol.signatures import sign_channel

TIMEOUT = 5.0  # Seconds for a connection and for an answer.


class ServerSocket:
    """
    Speak the Pusher protocol with a server. Made by `open_socket`.

    Attributes:
        socket_id: What the server calls this socket.
    """

    def __init__(self, connection: Any, app: Application) -> None:
        self._connection = connection
        self._app = app
        greeting = _data_of(self._expect("pusher:connection_established"))
        if not isinstance(greeting, Mapping) or not is_socket_id(greeting.get("socket_id")):
            raise BroadcastError("the server greeted without a socket id")
        self.socket_id = greeting["socket_id"]

    def subscribe(self, channel: str) -> None:
        """Join a channel, signed where it is guarded. Raise `BroadcastError` if it is refused."""
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
            raise BroadcastError("the server sent what is no frame of the Pusher protocol")
        return frame


def _data_of(frame: Mapping[str, Any]) -> Any:
    data = frame.get("data")
    try:
        return decode(data) if isinstance(data, str) else data
    except ValueError:
        return data


@contextmanager
def open_socket(
    url: str, path: str, app: Application, origin: str | None = None
) -> Iterator[ServerSocket]:
    """
    Open a socket to the server at `url`, and close it at the end of the block.

    Args:
        url: ``http(s)://host[:port]``.
        path: What ``SERVER["PATH"]`` says.
        app: The application, whose key is asked for and whose secret signs.
        origin: Of the page that this pretends to be; `None` for no browser.

    Raises:
        CommandError: The package that does it is missing.
        BroadcastError: The server is not there or refuses; the text says which.
    """
    try:
        from websockets.exceptions import InvalidHandshake
        from websockets.sync.client import connect
        from websockets.typing import Origin
    except ImportError as exc:
        raise CommandError('This needs the package websockets: pip install "whik[serve]"') from exc
    parts = urlsplit(url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    prefix = f"/{path}" if path else ""
    address = f"{scheme}://{parts.netloc}{prefix}/app/{app.key}?protocol=7&client=broadcasting"
    try:
        connection = connect(
            address,
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
        yield ServerSocket(connection, app)
