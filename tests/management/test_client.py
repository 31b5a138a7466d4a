"""A socket to a server that may be anybody's."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
from websockets.sync.server import ServerConnection, serve

from broadcasting.conf import get_settings
from broadcasting.exceptions import BroadcastError
from broadcasting.management.client import Client


@contextmanager
def server_that_says(*frames: str) -> Iterator[str]:
    """Yield the address of a server that greets every client with these frames."""

    def greet(connection: ServerConnection) -> None:
        for frame in frames:
            connection.send(frame)
        for _ in connection:
            pass

    with serve(greet, "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
    thread.join(60)


@pytest.mark.parametrize(
    "frame",
    [
        "hello",
        "[]",
        "{}",
        json.dumps({"event": "pusher:connection_established"}),
        json.dumps({"event": "pusher:connection_established", "data": "hello"}),
        json.dumps({"event": "pusher:connection_established", "data": "[1]"}),
        json.dumps({"event": "pusher:connection_established", "data": {"socket_id": "\x1b[2J"}}),
        json.dumps({"event": "pusher:error", "data": "not JSON"}),
        json.dumps({"event": ["a"], "data": {"code": {}, "message": 7}}),
    ],
)
def test_greeting_of_another_protocol_is_an_error(frame: str) -> None:
    """Whatever it is, the text of the error is one line."""
    app = get_settings().apps[0]
    with (
        server_that_says(frame) as url,
        Client(app, url) as client,
        pytest.raises(BroadcastError, match="the server"),
        client.open_socket(),
    ):
        pass
