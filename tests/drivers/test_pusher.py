"""The driver that posts to the signed HTTP API, ours being the one that answers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from broadcasting.credentials import Application
from broadcasting.drivers.base import Broadcaster
from broadcasting.drivers.pusher import PusherBroadcaster
from broadcasting.exceptions import BroadcastError
from broadcasting.protocol.signatures import body_md5, request_text, verify
from tests.drivers.contract import FIRST, BroadcasterContract
from tests.utils import free_port


class Recorder(ThreadingHTTPServer):
    """A server that notes each request and answers as it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RecorderHandler)
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.connections: set[Any] = set()
        self.answer = (200, b"{}")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class RecorderHandler(BaseHTTPRequestHandler):
    """Notes a request."""

    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_POST(self) -> None:
        """Check the signature as any Pusher server would, note the body and answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        assert query["body_md5"] == body_md5(body)
        signed = request_text("POST", parts.path, query)
        assert verify(FIRST.secrets, signed, query["auth_signature"])
        self.server.requests.append((parts.path, json.loads(body)))
        self.server.connections.add(self.client_address)
        status, answer = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class TestPusher(BroadcasterContract):
    """The contract, and what goes over the wire."""

    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        self.server = Recorder()
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        thread.start()
        yield
        self.server.shutdown()
        thread.join()
        self.server.server_close()

    def make(self, app: Application = FIRST, **options: Any) -> Broadcaster:
        """Return a write end towards the recorder."""
        options = {"url": self.server.url, **options}
        return PusherBroadcaster(app=app, first_app_id="1", **options)

    async def test_posts_one_signed_event(self, broadcaster: Broadcaster) -> None:
        """Name, channels, data as text and the excluded socket make the body."""
        await broadcaster.abroadcast(["a", "b"], "Né", '{"user":"휙"}', socket_id="5.7")
        assert self.server.requests == [
            (
                "/apps/1/events",
                {
                    "name": "Né",
                    "channels": ["a", "b"],
                    "data": '{"user":"휙"}',
                    "socket_id": "5.7",
                },
            )
        ]

    async def test_splits_many_channels(self, broadcaster: Broadcaster) -> None:
        """A request names at most a hundred channels."""
        names = [f"c{n}" for n in range(250)]
        await broadcaster.abroadcast(names, "Hello", "{}")
        sent = [body["channels"] for _, body in self.server.requests]
        assert [len(channels) for channels in sent] == [100, 100, 50]
        assert [name for channels in sent for name in channels] == names

    async def test_keeps_its_connection(self, broadcaster: Broadcaster) -> None:
        """One connection serves one thread's messages."""
        for _ in range(5):
            broadcaster.broadcast(["a"], "Hello", "{}")
        assert len(self.server.connections) == 1

    async def test_refusal_is_an_error_with_its_reason(self, broadcaster: Broadcaster) -> None:
        """The server's words reach the log, the secret does not."""
        self.server.answer = (413, b"too large")
        with pytest.raises(BroadcastError, match="answered 413: too large") as caught:
            broadcaster.broadcast(["a"], "Hello", "{}")
        assert FIRST.secret not in str(caught.value)
        assert "auth_signature" not in str(caught.value)

    async def test_absent_server_is_an_error_that_says_what_to_do(self) -> None:
        """Nothing listens: the address, and the command to start what should."""
        url = f"http://127.0.0.1:{free_port()}"
        broadcaster = self.make(url=url)
        with pytest.raises(BroadcastError, match=r"manage\.py runserver") as caught:
            broadcaster.broadcast(["a"], "Hello", "{}")
        assert url in str(caught.value)
        broadcaster.close()

    async def test_has_no_read_end(self, broadcaster: Broadcaster) -> None:
        """The HTTP API cannot be listened to."""
        assert not broadcaster.can_be_read
