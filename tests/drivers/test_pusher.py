"""The driver that posts to the signed HTTP API, ours being the one that answers."""

import json
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import urllib3

from broadcasting.applications import Application
from broadcasting.drivers.base import Broadcaster
from broadcasting.drivers.pusher import PusherBroadcaster
from broadcasting.exceptions import BroadcastError, ChannelsRefused, PayloadError, PublisherBusy
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
        self.answers: list[tuple[int, bytes]] = []  # Of the next requests; 0 is none at all.
        self.headers: dict[str, str] = {}
        self.may_answer = threading.Event()
        self.may_answer.set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that did not wait for their answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

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
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def do_GET(self) -> None:
        """Do the same for a question, whose parameters are noted."""
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        assert query["body_md5"] == body_md5(body)
        path = parts.path[parts.path.index("/apps/") :]
        assert verify(
            FIRST.secrets, request_text(self.command, path, query), query["auth_signature"]
        )
        asked = {name: value for name, value in query.items() if name[:5] not in {"auth_", "body_"}}
        self.server.requests.append((parts.path, json.loads(body) if body else asked))
        self.server.connections.add(self.client_address)
        status, answer = self.server.answers.pop(0) if self.server.answers else self.server.answer
        if status == 0:
            self.server.may_answer.clear()
        assert self.server.may_answer.wait(30)
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
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
        self.server.may_answer.set()
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

    async def test_a_refused_request_leaves_the_others(self, broadcaster: Broadcaster) -> None:
        """Only its own channels are without the event."""
        names = [f"c{n}" for n in range(250)]
        self.server.answers = [(200, b"{}"), (413, b"too much"), (200, b"{}")]
        with pytest.raises(ChannelsRefused) as caught:
            await broadcaster.abroadcast(names, "Hello", "{}")
        assert [*caught.value.refused] == names[100:200]
        assert {type(error) for error in caught.value.refused.values()} == {PayloadError}
        assert len(self.server.requests) == 3

    async def test_a_refused_channel_leaves_the_others(self, broadcaster: Broadcaster) -> None:
        """The server of this library says which one; another answer refuses them all."""
        answer = {"error": "1 of 2", "channels": {"a": {}, "b": {"error": "no permission"}}}
        for body, refused in (
            (answer, {"b": "no permission"}),
            ({"channels": {"a": {}}}, None),
            ({"channels": []}, None),
            ([], None),
        ):
            self.server.answers = [(503, json.dumps(body).encode())]
            with pytest.raises(BroadcastError) as caught:
                await broadcaster.abroadcast(["a", "b"], "Hello", "{}")
            found = getattr(caught.value, "refused", None)
            assert (found and {name: str(error) for name, error in found.items()}) == refused

    async def test_after_a_request_without_an_answer_no_more_is_sent(self) -> None:
        """It would wait as long; a channel that has the event is not refused."""
        broadcaster = self.make(timeout=0.2)
        self.server.answers = [(200, b"{}"), (0, b"")]
        with pytest.raises(ChannelsRefused, match="did not answer") as caught:
            await broadcaster.abroadcast([f"c{n}" for n in range(350)], "Hello", "{}")
        assert len(caught.value.refused) == 250
        assert len(self.server.requests) == 2
        self.server.may_answer.set()
        broadcaster.close()

    async def test_keeps_its_connection(self, broadcaster: Broadcaster) -> None:
        """One connection serves one thread's messages."""
        for _ in range(5):
            broadcaster.broadcast(["a"], "Hello", "{}")
        assert len(self.server.connections) == 1

    async def test_closes_a_user_s_sockets(self, broadcaster: Broadcaster) -> None:
        """By the call that Pusher has for it."""
        broadcaster.terminate_user_connections("a@b.c")
        assert self.server.requests == [("/apps/1/users/a@b.c/terminate_connections", {})]

    async def test_a_prefix_stands_before_the_path_and_is_not_signed(self) -> None:
        """A proxy may mount the API anywhere."""
        broadcaster = self.make(url=f"{self.server.url}/realtime/")
        broadcaster.broadcast(["a"], "Hello", "{}")
        assert self.server.requests[0][0] == "/realtime/apps/1/events"
        broadcaster.close()

    async def test_asks_questions(self) -> None:
        """Parameters are signed as they are and escaped on the way."""
        broadcaster = PusherBroadcaster(app=FIRST, first_app_id="1", url=self.server.url)
        self.server.answer = (200, b'{"channels":{"a":{}}}')
        query = {"filter_by_prefix": "presence-", "info": "user_count,subscription_count"}
        assert broadcaster.get("/channels", query) == {"channels": {"a": {}}}
        assert broadcaster.get("/channels/a@b=c,d;e") == {"channels": {"a": {}}}
        assert self.server.requests == [
            ("/apps/1/channels", query),
            ("/apps/1/channels/a@b=c,d;e", {}),
        ]
        broadcaster.close()

    @pytest.mark.parametrize("answer", [b"<html>Welcome", b"[]", b"", b"\xff"])
    async def test_an_answer_that_is_none_is_an_error(self, answer: bytes) -> None:
        """Something else than a Pusher server listens there."""
        broadcaster = PusherBroadcaster(app=FIRST, first_app_id="1", url=self.server.url)
        self.server.answer = (200, answer)
        with pytest.raises(BroadcastError, match=r"something else than a JSON object.*URL"):
            broadcaster.get("/channels")
        broadcaster.close()

    @pytest.mark.parametrize(
        ("status", "advice"),
        [
            (400, ""),
            (
                401,
                ". Compare KEY 'key-1' and SECRET of application '1' with those of the server, "
                "and the clocks of both.",
            ),
            (403, ". Application '1' is disabled there, or over its quota."),
            (
                404,
                ". Compare ID '1' of the application with that of the server, and the "
                "connection's URL with the address of its API.",
            ),
            (413, ". Send less, or raise MAX_EVENT_SIZE of the application on the server."),
            (503, ""),
        ],
    )
    async def test_refusal_is_an_error_with_its_reason(
        self, status: int, advice: str, broadcaster: Broadcaster
    ) -> None:
        """The server's words and what to do reach the log; secret and signature do not."""
        self.server.answer = (status, b"these are the words")
        with pytest.raises(BroadcastError) as caught:
            broadcaster.broadcast(["a"], "Hello", "{}")
        assert str(caught.value) == (
            f"{self.server.url}/apps/1/events answered {status}: these are the words{advice}"
        )
        # The event's own fault, so a queue does not try again.
        assert isinstance(caught.value, PayloadError) == (status == 413)

    async def test_a_refusal_is_fit_for_a_terminal(self, broadcaster: Broadcaster) -> None:
        """A server can neither fill the log nor write control characters into it."""
        self.server.answer = (400, b"a\n\x1b[31mb\xff" + "방\u2028".encode() + b"x" * 100_000)
        with pytest.raises(BroadcastError) as caught:
            broadcaster.broadcast(["a"], "Hello", "{}")
        assert r"answered 400: a\n\x1b[31mb\ufffd방\u2028xxx" in str(caught.value).replace(
            "\N{REPLACEMENT CHARACTER}", r"\ufffd"
        )
        assert len(str(caught.value)) < 500
        assert str(caught.value).isprintable()

    async def test_redirects_are_not_followed(self, broadcaster: Broadcaster) -> None:
        """A message goes to the server that was named, or nowhere."""
        self.server.answer = (301, b"")
        self.server.headers = {"Location": f"{self.server.url}/elsewhere"}
        with pytest.raises(BroadcastError, match=r"redirects to .*/elsewhere\. Correct"):
            broadcaster.broadcast(["a"], "Hello", "{}")
        assert len(self.server.requests) == 1

    async def test_soketi_s_refusals_are_noticed(self, broadcaster: Broadcaster) -> None:
        """It answers 200 and writes the status into the body."""
        self.server.answer = (200, b'{"error":"The app does not exist","code":404}')
        with pytest.raises(BroadcastError, match=r"answered 404.*Compare ID"):
            broadcaster.broadcast(["a"], "Hello", "{}")

    async def test_absent_server_is_an_error_that_says_what_to_do(self) -> None:
        """Nothing listens: the address, and the command to start what should."""
        url = f"http://127.0.0.1:{free_port()}"
        broadcaster = self.make(url=url)
        with pytest.raises(BroadcastError, match=r"manage\.py runserver") as caught:
            broadcaster.broadcast(["a"], "Hello", "{}")
        assert url in str(caught.value)
        broadcaster.close()

    async def test_a_silent_server_is_waited_for_in_vain(self) -> None:
        """The error says that it was the answer that did not come."""
        self.server.may_answer.clear()
        broadcaster = self.make(timeout=0.1)
        with pytest.raises(BroadcastError, match=r"did not answer within 0\.1 s.*TIMEOUT"):
            broadcaster.broadcast(["a"], "Hello", "{}")
        broadcaster.close()

    async def test_a_server_that_hangs_up_is_an_error(self) -> None:
        """Nothing is sent a second time: it may have arrived."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            broadcaster = self.make(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
            with ThreadPoolExecutor() as pool:
                future = pool.submit(broadcaster.broadcast, ["a"], "Hello", "{}")
                listener.accept()[0].close()
                with pytest.raises(BroadcastError, match="broke off without an answer"):
                    future.result(30)
            broadcaster.close()

    async def test_a_server_without_tls_is_an_error(self) -> None:
        """The error says that it is TLS that fails."""
        broadcaster = self.make(url=self.server.url.replace("http:", "https:"))
        with pytest.raises(BroadcastError, match=r"TLS to https://.* failed: .*certificate"):
            broadcaster.broadcast(["a"], "Hello", "{}")
        broadcaster.close()

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (urllib3.exceptions.NameResolutionError, r"The host of .* is unknown"),
            (urllib3.exceptions.ConnectTimeoutError, r"accepted no connection within 5 s"),
            (urllib3.exceptions.NewConnectionError, r'URL in BROADCASTING\["CONNECTIONS"\]'),
        ],
    )
    async def test_what_a_network_does_is_told_apart(
        self,
        error: type[urllib3.exceptions.HTTPError],
        words: str,
        broadcaster: Broadcaster,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """No test can make a network do these; the library's errors stand for it."""

        def fail(*args: object, **kwargs: object) -> None:
            # Their constructors are made for the library's own use.
            raise error.__new__(error)

        monkeypatch.setattr(urllib3.PoolManager, "request", fail)
        with pytest.raises(BroadcastError, match=words):
            broadcaster.broadcast(["a"], "Hello", "{}")

    async def test_threads_wait_for_a_free_connection(self) -> None:
        """More threads than connections: none is opened in addition, nothing is lost."""
        broadcaster = self.make(pool_size=2)
        with ThreadPoolExecutor(8) as pool:
            sent = [pool.submit(broadcaster.broadcast, ["a"], f"e{n}", "{}") for n in range(64)]
            for future in sent:
                future.result(30)
        assert len(self.server.connections) <= 2
        names = {body["name"] for _, body in self.server.requests}
        assert names == {f"e{n}" for n in range(64)}
        broadcaster.close()

    async def test_a_thread_does_not_wait_for_ever(self) -> None:
        """Busy is an error of its own: nothing was sent, and it is worth another try."""
        self.server.may_answer.clear()
        broadcaster = self.make(pool_size=1, timeout=0.2)
        with ThreadPoolExecutor(3) as pool:
            futures = [pool.submit(broadcaster.broadcast, ["a"], "Hello", "{}") for _ in range(3)]
            errors = [future.exception(30) for future in futures]
        busy = [error for error in errors if isinstance(error, PublisherBusy)]
        assert all(isinstance(error, BroadcastError) for error in errors)
        assert busy
        assert "All 1 connections" in str(busy[0])
        assert "POOL_SIZE" in str(busy[0])
        broadcaster.close()

    async def test_a_fork_has_connections_of_its_own(
        self, broadcaster: Broadcaster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two processes that share one would read each other's answers."""
        broadcaster.broadcast(["a"], "parent", "{}")
        monkeypatch.setattr("os.getpid", lambda: -1)
        for _ in range(2):
            broadcaster.broadcast(["a"], "child", "{}")
        assert len(self.server.connections) == 2

    async def test_has_no_read_end(self, broadcaster: Broadcaster) -> None:
        """The HTTP API cannot be listened to."""
        assert not broadcaster.can_be_read


class TestOptions:
    def make(self, **options: Any) -> PusherBroadcaster:
        return PusherBroadcaster(app=FIRST, first_app_id="1", **options)

    @pytest.mark.parametrize(
        ("options", "url"),
        [
            ({}, "http://127.0.0.1:8000"),
            ({"url": "https://ws.example.com:6001/a/"}, "https://ws.example.com:6001/a"),
            ({"url": "http://[::1]:8000"}, "http://[::1]:8000"),
            ({"cluster": "eu"}, "https://api-eu.pusher.com"),
            ({"cluster": "us2"}, "https://api-us2.pusher.com"),
        ],
    )
    def test_the_server_is_an_address_or_a_cluster(self, options: dict[str, str], url: str) -> None:
        """Ours on this machine unless another is named."""
        assert self.make(**options).url == url

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"url": "localhost:8000"}, "URL is 'localhost:8000'"),
            ({"url": "ws://localhost"}, "URL is 'ws://localhost'"),
            ({"url": "http://"}, "URL is"),
            ({"url": "http://a:0"}, "URL is"),
            ({"url": "http://a:b"}, "URL is"),
            ({"url": "http://a/?b"}, "URL is"),
            ({"url": ""}, "URL is ''"),
            ({"url": 8000}, "URL is 8000"),
            ({"url": "http://a", "cluster": "eu"}, "exclude each other"),
            ({"cluster": "eu.example.com/"}, "CLUSTER is 'eu.example.com/'"),
            ({"cluster": ""}, "CLUSTER is ''"),
            ({"cluster": 2}, "CLUSTER is 2"),
            ({"timeout": 0}, "TIMEOUT is 0"),
            ({"timeout": "5"}, "TIMEOUT is '5'"),
            ({"timeout": True}, "TIMEOUT is True"),
            ({"timeout": float("inf")}, "TIMEOUT is inf"),
            ({"timeout": float("nan")}, "TIMEOUT is nan"),
            ({"pool_size": 0}, "POOL_SIZE is 0"),
            ({"pool_size": 2.5}, r"POOL_SIZE is 2\.5; it must be a whole number"),
        ],
    )
    def test_a_value_that_makes_no_sense_is_refused(
        self, options: dict[str, Any], words: str
    ) -> None:
        """The system checks show the error with the connection's name."""
        with pytest.raises(ValueError, match=words):
            self.make(**options)

    def test_a_password_is_not_repeated(self) -> None:
        """Not even where it is refused."""
        with pytest.raises(ValueError, match="URL holds a user name") as caught:
            self.make(url="http://me:hush@example.com?")
        assert "hush" not in str(caught.value)
