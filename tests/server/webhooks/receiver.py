"""HTTP servers that webhooks are posted to, well-behaved and other."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

from urllib3.connection import HTTPConnection

# A key and a self-signed certificate for hooks.test, for no other use.
PEM = Path(__file__).parent / "hooks.test.pem"


class Receiver(ThreadingHTTPServer):
    """
    Notes each request, and answers as it is told.

    Attributes:
        posts: The path and body of each request, in order.
        headers: The headers of each.
        answers: Status codes for the requests to come; 200 when they are used up.
        location: Where a redirect leads.
        body: What answers hold.
        gate: Requests wait for it once they are noted.
        clients: The other ends of connections.
        was_cut_off: Whether a client left before it had the whole answer.
        most_at_once: How many requests were under way together.
    """

    daemon_threads = True

    def __init__(self, *, tls: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(PEM)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.posts: list[tuple[str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[int] = []
        self.location = ""
        self.body = b"ok"
        self.gate = threading.Event()
        self.gate.set()
        self.clients: set[Any] = set()
        self.sockets: list[socket.socket] = []
        self.open = 0  # Connections.
        self.was_cut_off = False
        self.most_at_once = 0
        self._at_once = 0
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def port(self) -> int:
        port: int = self.server_address[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def events(self) -> list[list[Any]]:
        return [[e["channel"] for e in json.loads(body)["events"]] for _, body in self.posts]

    def take(self, handler: "_Handler", body: bytes) -> int:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self.clients.add(handler.client_address)
        self.headers.append(dict(handler.headers))
        self.posts.append((handler.path, body))
        status = self.answers.pop(0) if self.answers else 200
        self.gate.wait(30)
        self._at_once -= 1
        return status

    def hang_up(self) -> None:
        while self.sockets:
            self.sockets.pop().shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing: clients that hang up are part of the tests."""

    def stop(self) -> None:
        self.gate.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def setup(self) -> None:
        super().setup()
        self.server.sockets.append(self.connection)
        self.server.open += 1

    def finish(self) -> None:
        self.server.open -= 1
        super().finish()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.take(self, body)
        self.send_response(status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        if status not in (204, 304):
            try:
                self.wfile.write(self.server.body)
            except OSError:
                self.server.was_cut_off = True
                raise

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def dialled(port: int | None = None) -> Iterator[list[tuple[str, int]]]:
    """Note the addresses that are connected to; with `port`, lead them all to this machine."""
    create = HTTPConnection._new_conn
    addresses: list[tuple[str, int]] = []

    def connect(connection: HTTPConnection) -> socket.socket:
        addresses.append((connection.host, connection.port))
        if port is None:
            return create(connection)
        return socket.create_connection(("127.0.0.1", port), 5)

    with mock.patch.object(HTTPConnection, "_new_conn", connect):
        yield addresses


@contextmanager
def dripping(answer: bytes, interval: float | None = 0.01) -> Iterator[str]:
    """Start a receiver that sends `answer`, then a byte at each interval, and never ends it."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                try:
                    client.recv(65_536)
                    client.sendall(answer)
                    while not ended.wait(interval):
                        client.sendall(b"x")
                except OSError:
                    continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
