"""Webhooks against real receivers: what is posted, when again, when no more, and where never."""

import asyncio
import json
import logging
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from urllib3.connection import HTTPConnection

from broadcasting.applications import Application, Webhook
from broadcasting.protocol.signatures import sign
from broadcasting.server.webhooks import webhooks as module
from broadcasting.server.webhooks.webhooks import Delivery, Webhooks
from tests.utils import FakeClock, await_until, free_port, wait_until

KEY, SECRET = "whik-key", "whik-secret-ż"
NOW = 1_700_000_000.123
# A key and a certificate for hooks.test that vouches for itself, for no other use.
PEM = Path(__file__).parent / "hooks.test.pem"
PUBLIC = "93.184.215.14"


class Receiver(ThreadingHTTPServer):
    """
    What a webhook leads to: notes each request, and answers as it is told.

    Attributes:
        posts: The path and body of each request, in order.
        headers: Those of each.
        answers: Status codes for the requests to come; 200 when they are used up.
        location: Where a redirect leads.
        body: What answers hold.
        gate: Requests wait for it once they are noted.
        connections: The clients' ends.
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
        self.connections: set[Any] = set()
        self.sockets: list[socket.socket] = []
        self.was_cut_off = False
        self.most_at_once = 0
        self._at_once = 0
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self.server_address[1]
        return port

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def events(self) -> list[list[Any]]:
        """The channels of the events in each body."""
        return [[e["channel"] for e in json.loads(body)["events"]] for _, body in self.posts]

    def take(self, path: str, body: bytes, headers: dict[str, str], client: object) -> int:
        """Note a request and return the status to answer with."""
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self.connections.add(client)
        self.headers.append(headers)
        self.posts.append((path, body))
        status = self.answers.pop(0) if self.answers else 200
        self.gate.wait(10)
        self._at_once -= 1
        return status

    def hang_up(self) -> None:
        """Close all connections, as servers do with idle ones."""
        while self.sockets:
            self.sockets.pop().shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are part of the tests."""

    def stop(self) -> None:
        """End it."""
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

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.take(self.path, body, dict(self.headers), self.client_address)
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


class Pauses:
    """A sleep that takes no time: the clock is moved instead."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.taken: list[float] = []
        self.held = False
        self.held_at = 0

    async def __call__(self, seconds: float) -> None:
        """Move the clock, or, while `held` or at one pause, wait for ever."""
        self.taken.append(seconds)
        if self.held or len(self.taken) == self.held_at:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(0)
        self.clock.advance(seconds)


class Site:
    """What makes webhooks for a test, and its clock and pauses."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.pauses = Pauses(self.clock)
        self.made: list[Webhooks] = []

    def webhooks(self, *webhooks: Webhook, **options: Any) -> Webhooks:
        """Return the webhooks of application 1."""
        options = {"clock": self.clock, "sleep": self.pauses, **options}
        self.made.append(Webhooks([app_with(*webhooks)], **options))
        return self.made[-1]


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    """Return a site whose webhooks are closed after the test."""
    site = Site()
    yield site
    for webhooks in site.made:
        await webhooks.close(0)
    await await_until(lambda: not threads(), 5, "the threads of webhooks end")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Return a receiver over plain HTTP."""
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def secure_receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Return a receiver over TLS whose certificate is trusted, for hooks.test."""
    monkeypatch.setenv("SSL_CERT_FILE", str(PEM))
    receiver = Receiver(tls=True)
    yield receiver
    receiver.stop()


def app_with(*webhooks: Webhook) -> Application:
    """Return application 1 with these webhooks."""
    return Application(id="1", key=KEY, secret=SECRET, secret_fallbacks=("old",), webhooks=webhooks)


def local(url: str, **options: Any) -> Webhook:
    """Return a webhook that may lead to this machine."""
    return Webhook(url=url, allow_private=True, **options)


def occupied(channel: str) -> dict[str, object]:
    """Return the event that says so."""
    return {"name": "channel_occupied", "channel": channel}


def threads() -> list[threading.Thread]:
    """Return the threads that requests run in."""
    return [thread for thread in threading.enumerate() if thread.name == "webhook"]


async def sent(webhooks: Webhooks, count: int) -> Delivery:
    """Wait until the first webhook's receiver has taken `count` events; return it."""
    delivery = webhooks.deliveries[0]
    await await_until(lambda: delivery.sent >= count, 5, f"{count} events are taken")
    assert delivery.sent == count
    return delivery


class TestBody:
    async def test_is_the_one_of_the_protocol_document(
        self, site: Site, receiver: Receiver
    ) -> None:
        """Vector 11: compact JSON in raw UTF-8, signed by the application's first secret."""
        webhooks = site.webhooks(local(receiver.url))
        webhooks.add("1", {"name": "member_added", "channel": "presence-x", "user_id": "é"})
        await sent(webhooks, 1)
        body = (
            '{"time_ms":1700000000123,"events":'
            '[{"name":"member_added","channel":"presence-x","user_id":"é"}]}'
        )
        assert receiver.posts == [("/hook", body.encode())]
        headers = receiver.headers[0]
        assert headers["Content-Type"] == "application/json"
        assert headers["X-Pusher-Key"] == KEY
        assert headers["X-Pusher-Signature"] == (
            "6e195af7dcecdb73e3c50b76e6c0b9778b8fc67935049f5c8ae9b75262414ba3"
        )
        assert headers["Host"] == f"127.0.0.1:{receiver.port}"

    @given(
        st.lists(
            st.dictionaries(st.text(max_size=5), st.text() | st.integers() | st.none()),
            min_size=1,
            max_size=8,
        )
    )
    def test_is_signed_as_it_is_sent(self, extras: list[dict[str, object]]) -> None:
        """Whatever the events hold, the bytes on the wire are those of the signature."""
        events: list[dict[str, object]] = [{**extra, **occupied("room")} for extra in extras]
        bodies: list[tuple[bytes, dict[str, str]]] = []

        def post(_: object, body: bytes, headers: dict[str, str]) -> None:
            bodies.append((body, headers))

        async def run() -> None:
            webhooks = Webhooks([app_with(local("http://a.test"))], clock=FakeClock(NOW))
            for event in events:
                webhooks.add("1", event)
            await webhooks.close(5)

        with mock.patch.object(module._Receiver, "post", post):
            asyncio.run(run())
        ((body, headers),) = bodies
        assert json.loads(body) == {"time_ms": 1_700_000_000_123, "events": events}
        assert headers["X-Pusher-Signature"] == sign(SECRET, body.decode())

    async def test_spells_what_utf8_cannot_carry(self, site: Site, receiver: Receiver) -> None:
        """A lone surrogate, which JSON can spell, does not cost the event."""
        webhooks = site.webhooks(local(receiver.url))
        webhooks.add("1", {**occupied("a"), "data": "\ud800é"})
        await sent(webhooks, 1)
        assert b'"data":"\\ud800\\u00e9"' in receiver.posts[0][1]

    @pytest.mark.parametrize("data", [float("nan"), {1, 2}, object()])
    async def test_what_is_no_json_is_counted(
        self, site: Site, receiver: Receiver, data: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is not raised to the hub, and what comes after it is sent."""
        webhooks = site.webhooks(local(receiver.url))
        webhooks.add("1", {**occupied("a"), "data": data})
        webhooks.add("1", occupied("b"))
        delivery = await sent(webhooks, 1)
        assert receiver.events == [["b"]]
        assert delivery.dropped == 1
        assert "channel_occupied of a cannot be JSON" in caplog.text

    async def test_what_refers_to_itself_is_counted(self, site: Site, receiver: Receiver) -> None:
        """Or is nested too deeply."""
        webhooks = site.webhooks(local(receiver.url))
        deep: list[object] = []
        for _ in range(100_000):
            deep = [deep]
        webhooks.add("1", {**occupied("a"), "data": deep})
        assert webhooks.deliveries[0].dropped == 1


class TestBatches:
    async def test_what_waits_is_posted_together(self, site: Site, receiver: Receiver) -> None:
        """In the order in which it happened, a hundred events at most."""
        webhooks = site.webhooks(local(receiver.url))
        names = [f"c{n}" for n in range(250)]
        for name in names:
            webhooks.add("1", occupied(name))
        await sent(webhooks, 250)
        assert [len(channels) for channels in receiver.events] == [100, 100, 50]
        assert [name for channels in receiver.events for name in channels] == names

    async def test_a_body_has_64_kib(self, site: Site, receiver: Receiver) -> None:
        """Each is as full as it may be."""
        webhooks = site.webhooks(local(receiver.url))
        for n in range(20):
            webhooks.add("1", {**occupied(f"c{n}"), "data": "x" * 10_000})
        await sent(webhooks, 20)
        assert [len(channels) for channels in receiver.events] == [6, 6, 6, 2]
        assert all(len(body) <= 65_536 for _, body in receiver.posts)

    @pytest.mark.parametrize(("extra", "bodies"), [(0, 1), (1, 2)])
    async def test_not_one_byte_more(
        self, site: Site, receiver: Receiver, extra: int, bodies: int
    ) -> None:
        """The envelope and the commas count."""
        webhooks = site.webhooks(local(receiver.url))
        event = {**occupied("a"), "data": ""}
        two = {"time_ms": 1_700_000_000_123, "events": [event, event]}
        room = 65_536 - len(json.dumps(two, separators=(",", ":")))
        webhooks.add("1", event)
        webhooks.add("1", {**event, "data": "x" * (room + extra)})
        await sent(webhooks, 2)
        assert len(receiver.posts) == bodies
        assert len(receiver.posts[0][1]) == 65_536 or bodies == 2

    async def test_one_event_alone_may_be_larger(self, site: Site, receiver: Receiver) -> None:
        """It cannot be divided, and must not stop the others."""
        webhooks = site.webhooks(local(receiver.url))
        webhooks.add("1", {**occupied("a"), "data": "x" * 100_000})
        webhooks.add("1", occupied("b"))
        await sent(webhooks, 2)
        assert receiver.events == [["a"], ["b"]]

    async def test_one_request_at_a_time(self, site: Site, receiver: Receiver) -> None:
        """What happens during a request goes into the next."""
        receiver.gate.clear()
        webhooks = site.webhooks(local(receiver.url))
        webhooks.add("1", occupied("a"))
        await await_until(lambda: receiver.posts)
        for name in "bcd":
            webhooks.add("1", occupied(name))
        receiver.gate.set()
        await sent(webhooks, 4)
        assert receiver.events == [["a"], ["b", "c", "d"]]
        assert receiver.most_at_once == 1

    async def test_a_slow_receiver_holds_up_no_other(self, site: Site, receiver: Receiver) -> None:
        """Each webhook has a queue and a thread of its own."""
        fast = Receiver()
        receiver.gate.clear()
        try:
            webhooks = site.webhooks(local(fast.url), local(receiver.url))
            for name in "abc":
                webhooks.add("1", occupied(name))
                await await_until(lambda: webhooks.deliveries[0].waiting == 0)
            assert [name for channels in fast.events for name in channels] == ["a", "b", "c"]
            assert webhooks.deliveries[1].sent == 0
            await await_until(lambda: len(threads()) == 1)
        finally:
            receiver.gate.set()
            fast.stop()

    async def test_connection_is_kept(self, site: Site, receiver: Receiver) -> None:
        """And replaced when the receiver has closed it."""
        webhooks = site.webhooks(local(receiver.url))
        for count in range(1, 4):
            webhooks.add("1", occupied("a"))
            await sent(webhooks, count)
        assert len(receiver.connections) == 1
        receiver.hang_up()
        webhooks.add("1", occupied("a"))
        assert (await sent(webhooks, 4)).failed == 0
        assert len(receiver.connections) == 2


class TestSelection:
    async def test_by_event(self, site: Site, receiver: Receiver) -> None:
        """A webhook is told what it asks for, once, even if it asks twice."""
        events = ("channel_occupied", "cache_miss", "channel_occupied")
        webhooks = site.webhooks(local(receiver.url, events=events))
        webhooks.add("1", {"name": "channel_vacated", "channel": "a"})
        webhooks.add("1", occupied("b"))
        webhooks.add("1", {"name": "cache_miss", "channel": "c"})
        await sent(webhooks, 2)
        assert receiver.events == [["b", "c"]]
        assert webhooks.wants("1", "channel_occupied", "a")
        assert not webhooks.wants("1", "channel_vacated", "a")

    async def test_by_channel(self, site: Site, receiver: Receiver) -> None:
        """Where a beginning and an end are given, both must fit."""
        webhooks = site.webhooks(
            local(receiver.url, channel_prefix="presence-", channel_suffix="-eu")
        )
        fits = {"presence-a-eu": True, "presence-a": False, "a-eu": False, "presence-eu": True}
        for name, expected in fits.items():
            assert webhooks.wants("1", "channel_occupied", name) is expected
            webhooks.add("1", occupied(name))
        await sent(webhooks, 2)
        assert receiver.events == [["presence-a-eu", "presence-eu"]]

    async def test_by_application(self, site: Site, receiver: Receiver) -> None:
        """One is not told of the other."""
        webhooks = site.webhooks(local(receiver.url))
        webhooks.add("2", occupied("a"))
        webhooks.add("1", occupied("b"))
        await sent(webhooks, 1)
        assert receiver.events == [["b"]]
        assert not webhooks.wants("2", "channel_occupied", "a")

    @pytest.mark.parametrize("channel", ["#server-to-user-7", "#control"])
    async def test_users_channels_are_nobodys_business(
        self, site: Site, receiver: Receiver, channel: str
    ) -> None:
        """Nor are the server's own (Pusher, "Server to user messages")."""
        webhooks = site.webhooks(local(receiver.url))
        assert not webhooks.wants("1", "channel_occupied", channel)
        webhooks.add("1", occupied(channel))
        assert webhooks.deliveries[0].waiting == 0

    async def test_a_burst_of_misses_is_told_once(self, site: Site, receiver: Receiver) -> None:
        """The same channel once per second; another application's is another."""
        webhooks = Webhooks(
            [
                app_with(local(receiver.url)),
                Application(id="2", key="k", secret="s", webhooks=(local(receiver.url),)),
            ],
            clock=site.clock,
            sleep=site.pauses,
        )
        site.made.append(webhooks)
        first, second = webhooks.deliveries
        miss: Callable[[str], dict[str, object]] = lambda name: {  # noqa: E731
            "name": "cache_miss",
            "channel": name,
        }
        for name in ("a", "b", "a"):
            webhooks.add("1", miss(name))
        webhooks.add("2", miss("a"))
        assert (first.waiting, second.waiting) == (2, 1)
        site.clock.advance(0.9)
        webhooks.add("1", miss("a"))
        assert first.waiting == 2
        site.clock.advance(0.1)
        webhooks.add("1", miss("a"))
        assert first.waiting == 3
        site.clock.advance(2)
        webhooks.add("1", miss("z"))
        assert len(webhooks._misses) == 1


class TestRetries:
    async def test_the_same_bytes_come_again(
        self, site: Site, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whenever they are sent, their time is that of the event."""
        caplog.set_level(logging.INFO, "broadcasting.webhooks")
        receiver.answers = [500, 503, 429]
        webhooks = site.webhooks(local(receiver.url))
        webhooks.add("1", occupied("a"))
        delivery = await sent(webhooks, 1)
        assert len(receiver.posts) == 4
        assert len(set(receiver.posts)) == 1
        assert len({headers["X-Pusher-Signature"] for headers in receiver.headers}) == 1
        assert (delivery.failed, delivery.dropped, delivery.waiting) == (3, 0, 0)
        assert [record.message for record in caplog.records] == [
            f"The webhook {receiver.url} fails and is tried again: it answered {status}"
            for status in (500, 503, 429)
        ] + [f"The webhook {receiver.url} works again"]

    async def test_newer_events_keep_behind_older_ones(
        self, site: Site, receiver: Receiver
    ) -> None:
        """A body that is refused does not grow, so that it can be recognised."""
        receiver.answers = [500]
        receiver.gate.clear()
        webhooks = site.webhooks(local(receiver.url))
        webhooks.add("1", occupied("a"))
        await await_until(lambda: receiver.posts)
        webhooks.add("1", occupied("b"))
        receiver.gate.set()
        await sent(webhooks, 2)
        assert receiver.events == [["a"], ["a"], ["b"]]

    async def test_delays_grow_to_a_minute_and_differ(
        self, site: Site, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        """For five minutes; then the event is dropped, counted and logged."""
        receiver.answers = [500] * 50
        webhooks = site.webhooks(local(receiver.url))
        webhooks.add("1", occupied("a"))
        webhooks.add("1", occupied("b"))
        delivery = webhooks.deliveries[0]
        await await_until(lambda: delivery.dropped)
        assert (delivery.sent, delivery.dropped, delivery.waiting) == (0, 2, 0)
        longest = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0, 60.0, 60.0, 60.0]
        for taken, most in zip(site.pauses.taken, longest, strict=False):
            assert most / 2 <= taken <= most
        assert (
            len({taken / most for taken, most in zip(site.pauses.taken, longest, strict=False)}) > 3
        )
        assert 240 - 60 <= site.clock.now - NOW <= 300
        assert delivery.failed == len(receiver.posts) == len(site.pauses.taken) + 1
        assert len(set(receiver.posts)) == 1
        fails, drops = [record.message for record in caplog.records]
        assert fails.endswith("fails and is tried again: it answered 500")
        assert drops == (
            f"Dropped 2 events for the webhook {receiver.url}, "
            f"which has not taken them in 300 s (it answered 500)"
        )

    async def test_each_event_has_five_minutes_of_its_own(
        self, site: Site, receiver: Receiver
    ) -> None:
        """Those that are younger outlive the one that they waited behind."""
        webhooks = site.webhooks(local(receiver.url))
        receiver.answers = [500] * 4
        site.pauses.held = True
        webhooks.add("1", occupied("old"))
        await await_until(lambda: site.pauses.taken)
        site.clock.advance(200)
        webhooks.add("1", occupied("young"))
        site.clock.advance(150)
        delivery = webhooks.deliveries[0]
        assert delivery._pausing is not None
        site.pauses.held = False
        delivery._pausing.cancel()
        await sent(webhooks, 1)
        assert delivery.dropped == 1
        assert {tuple(channels) for channels in receiver.events[1:]} == {("young",)}
        assert json.loads(receiver.posts[-1][1])["time_ms"] == 1_700_000_200_123

    @pytest.mark.parametrize("status", [201, 202, 204, 299])
    async def test_any_2xx_is_success(self, site: Site, receiver: Receiver, status: int) -> None:
        """With a body or without."""
        receiver.answers = [status]
        webhooks = site.webhooks(local(receiver.url))
        webhooks.add("1", occupied("a"))
        delivery = await sent(webhooks, 1)
        assert (len(receiver.posts), delivery.failed) == (1, 0)

    @pytest.mark.parametrize("status", [304, 400, 401, 404, 410, 600])
    async def test_nothing_else_is(self, site: Site, receiver: Receiver, status: int) -> None:
        """A receiver that is being mended may answer anything."""
        receiver.answers = [status]
        webhooks = site.webhooks(local(receiver.url))
        webhooks.add("1", occupied("a"))
        delivery = await sent(webhooks, 1)
        assert (len(receiver.posts), delivery.failed) == (2, 1)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("location", ["/other", "http://169.254.169.254/latest/meta-data"])
    async def test_redirects_are_not_followed(
        self, site: Site, receiver: Receiver, status: int, location: str
    ) -> None:
        """They lead where nobody has looked."""
        receiver.answers = [status]
        receiver.location = location
        webhooks = site.webhooks(local(receiver.url))
        with dialled() as addresses:
            webhooks.add("1", occupied("a"))
            delivery = await sent(webhooks, 1)
        assert [path for path, _ in receiver.posts] == ["/hook", "/hook"]
        assert delivery.failed == 1
        assert {address for address, _ in addresses} == {"127.0.0.1"}

    async def test_nobody_listens(
        self, site: Site, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The reason is logged once, however often it is met."""
        url = f"http://127.0.0.1:{free_port()}/hook"
        webhooks = site.webhooks(local(url))
        webhooks.add("1", occupied("a"))
        await await_until(lambda: webhooks.deliveries[0].dropped)
        assert webhooks.deliveries[0].failed > 5
        assert [r.message for r in caplog.records if "tried again" in r.message] == [
            f"The webhook {url} fails and is tried again: Connection refused"
        ]

    async def test_no_thread_is_to_be_had(self, site: Site, receiver: Receiver) -> None:
        """A failure like any other."""
        webhooks = site.webhooks(local(receiver.url))
        start = threading.Thread.start
        refusals = iter([RuntimeError("can't start new thread")])

        def refuse_once(thread: threading.Thread) -> None:
            if thread.name == "webhook":
                for refusal in refusals:
                    raise refusal
            start(thread)

        with mock.patch.object(threading.Thread, "start", refuse_once):
            webhooks.add("1", occupied("a"))
            delivery = await sent(webhooks, 1)
        assert delivery.failed == 1

    async def test_an_error_of_ours_does_not_end_the_task(
        self, site: Site, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is logged with its traceback, and the request repeated."""
        calls = iter([ZeroDivisionError, None])

        def resolve(host: str, port: int) -> list[str]:
            if error := next(calls):
                raise error
            return ["127.0.0.1"]

        webhooks = site.webhooks(local(receiver.url), resolve=resolve)
        webhooks.add("1", occupied("a"))
        assert (await sent(webhooks, 1)).failed == 1
        assert "ZeroDivisionError" in caplog.text


class TestOverflow:
    @pytest.fixture(autouse=True)
    def _narrow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_WAITING", 4)

    async def test_the_newest_are_dropped(
        self, site: Site, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With a count, and one line in the log until half of the queue is free again."""
        receiver.gate.clear()
        webhooks = site.webhooks(local(receiver.url))
        delivery = webhooks.deliveries[0]
        for n in range(10):
            webhooks.add("1", occupied(f"c{n}"))
        assert (delivery.waiting, delivery.dropped) == (4, 6)
        receiver.gate.set()
        await sent(webhooks, 4)
        assert receiver.events == [["c0", "c1", "c2", "c3"]]
        assert len(caplog.records) == 1
        assert "4 events wait for the webhook" in caplog.text
        for n in range(5):
            webhooks.add("1", occupied(f"d{n}"))
        assert (delivery.waiting, delivery.dropped) == (4, 7)
        assert len(caplog.records) == 2

    async def test_bytes_count_too(
        self, site: Site, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Client events are large; ten thousand of them would be a hundred megabytes."""
        monkeypatch.setattr(module, "MAX_WAITING_BYTES", 2_500)
        webhooks = site.webhooks(local(receiver.url))
        delivery = webhooks.deliveries[0]
        for _ in range(3):
            webhooks.add("1", {**occupied("a"), "data": "x" * 1_000})
        assert (delivery.waiting, delivery.dropped) == (2, 1)
        await sent(webhooks, 2)
        for _ in range(3):
            webhooks.add("1", {**occupied("a"), "data": "x" * 1_000})
        assert (delivery.waiting, delivery.dropped) == (2, 2)


class TestAnswers:
    async def test_a_long_one_is_not_read_to_its_end(self, site: Site, receiver: Receiver) -> None:
        """Its status counts; the connection is not used again."""
        receiver.body = b"x" * 32_000_000  # More than sockets hold.
        webhooks = site.webhooks(local(receiver.url))
        webhooks.add("1", occupied("a"))
        await sent(webhooks, 1)
        receiver.body = b""
        webhooks.add("1", occupied("b"))
        delivery = await sent(webhooks, 2)
        assert (len(receiver.posts), delivery.failed) == (2, 0)
        assert len(receiver.connections) == 2
        await await_until(lambda: receiver.was_cut_off)

    @pytest.mark.parametrize(
        "answer", [b"HTTP/1.1 20", b"HTTP/1.1 100 Continue\r\n\r\n", b""], ids=str
    )
    async def test_one_without_end_is_a_failure(
        self, site: Site, answer: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Each byte comes in time, the whole never does."""
        with dripping(answer) as url:
            webhooks = site.webhooks(local(url), total=0.1)
            site.pauses.held = True
            webhooks.add("1", occupied("a"))
            await await_until(lambda: webhooks.deliveries[0].failed)
            await await_until(lambda: not threads(), 5, "the thread ends")
        assert caplog.records[0].message.endswith("no whole answer in time")

    @pytest.mark.parametrize("rest", [b"X-A: ", b"Content-Length: 60000\r\n\r\n"], ids=str)
    async def test_after_the_status_it_does_not_undo_success(self, site: Site, rest: bytes) -> None:
        """The receiver has said that it took the events."""
        with dripping(b"HTTP/1.1 200 OK\r\n" + rest) as url:
            webhooks = site.webhooks(local(url), total=0.5)
            webhooks.add("1", occupied("a"))
            assert (await sent(webhooks, 1)).failed == 0
            await await_until(lambda: not threads(), 5, "the thread ends")

    @pytest.mark.parametrize("step", ["a name is looked up", "a connection is made"])
    async def test_time_runs_while(self, site: Site, receiver: Receiver, step: str) -> None:
        """A request that is late before it has begun is not made."""
        create = HTTPConnection._new_conn

        def dawdle() -> None:
            wait_until(lambda: delivery._receiver._aborted, 5, "the time is over")

        def resolve(host: str, port: int) -> list[str]:
            if step == "a name is looked up":
                dawdle()
            return ["127.0.0.1"]

        def connect(connection: HTTPConnection) -> socket.socket:
            dawdle()
            return create(connection)

        webhooks = site.webhooks(local(receiver.url), resolve=resolve, total=0.05)
        delivery = webhooks.deliveries[0]
        site.pauses.held = True
        with mock.patch.object(HTTPConnection, "_new_conn", connect):
            webhooks.add("1", occupied("a"))
            await await_until(lambda: delivery.failed)
        assert receiver.posts == []

    async def test_none_at_all_is_a_failure(self, site: Site) -> None:
        """After the time that a part of an answer may take."""
        with dripping(b"", interval=None) as url:
            webhooks = site.webhooks(local(url), timeout=0.05)
            site.pauses.held = True
            webhooks.add("1", occupied("a"))
            await await_until(lambda: webhooks.deliveries[0].failed)

    async def test_what_is_no_http_is_not_repeated_in_the_log(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It may hold anything, line breaks and colours included."""
        with dripping(b"\x1b[31mowned\r\n\r\n", interval=None) as url:
            webhooks = site.webhooks(local(url))
            site.pauses.held = True
            webhooks.add("1", occupied("a"))
            await await_until(lambda: webhooks.deliveries[0].failed)
        assert "owned" not in caplog.text
        assert caplog.records[0].message.endswith("BadStatusLine")


class TestAddresses:
    """Where a request goes if the webhook may not lead to private addresses."""

    async def test_a_checked_address_is_connected_to(
        self, site: Site, secure_receiver: Receiver
    ) -> None:
        """Host, and the name in the certificate, remain those of the URL."""
        names: list[tuple[str, int]] = []

        def resolve(host: str, port: int) -> list[str]:
            names.append((host, port))
            return [PUBLIC]

        webhooks = site.webhooks(
            Webhook(url="https://hooks.test/a%20b?token=secret"), resolve=resolve
        )
        with dialled(secure_receiver.port) as addresses:
            webhooks.add("1", occupied("a"))
            delivery = await sent(webhooks, 1)
        assert names == [("hooks.test", 443)]
        assert addresses == [(PUBLIC, 443)]
        assert secure_receiver.posts[0][0] == "/a%20b?token=secret"
        assert secure_receiver.headers[0]["Host"] == "hooks.test"
        assert delivery.url == "https://hooks.test/a%20b"

    @pytest.mark.parametrize(
        "answer",
        [
            ["10.0.0.1"],
            ["169.254.169.254"],
            ["::ffff:169.254.169.254"],
            ["64:ff9b::a9fe:a9fe"],
            [PUBLIC, "127.0.0.1"],
            ["127.0.0.1", PUBLIC],
            ["2606:4700::1", "fd00::1"],
        ],
        ids=str,
    )
    async def test_any_private_address_refuses_all(
        self, site: Site, answer: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing is connected to; it is a failure that is logged once and tried again."""
        webhooks = site.webhooks(Webhook(url="https://hooks.test/"), resolve=lambda *_: answer)
        with dialled() as addresses:
            webhooks.add("1", occupied("a"))
            await await_until(lambda: webhooks.deliveries[0].dropped)
        assert addresses == []
        assert webhooks.deliveries[0].failed > 5
        lines = [r.message for r in caplog.records if "tried again" in r.message]
        assert len(lines) == 1
        assert "hooks.test has the address" in lines[0]

    async def test_mended_dns_is_found(self, site: Site, secure_receiver: Receiver) -> None:
        """A refusal is not for ever."""
        answers = iter([["10.0.0.1"], [PUBLIC]])
        webhooks = site.webhooks(
            Webhook(url="https://hooks.test"), resolve=lambda *_: next(answers)
        )
        with dialled(secure_receiver.port) as addresses:
            webhooks.add("1", occupied("a"))
            delivery = await sent(webhooks, 1)
        assert addresses == [(PUBLIC, 443)]
        assert secure_receiver.posts[0][0] == "/"
        assert delivery.failed == 1

    async def test_a_name_that_changes_its_mind_gains_nothing(
        self, site: Site, secure_receiver: Receiver
    ) -> None:
        """Asked once per request, it is taken at its word; the next word is checked again."""
        answers = iter([[PUBLIC], ["127.0.0.1"], [PUBLIC]])
        webhooks = site.webhooks(
            Webhook(url="https://hooks.test"), resolve=lambda *_: next(answers)
        )
        with dialled(secure_receiver.port) as addresses:
            webhooks.add("1", occupied("a"))
            await sent(webhooks, 1)
            assert addresses == [(PUBLIC, 443)]
            # A kept connection does not stand in for the check.
            webhooks.add("1", occupied("b"))
            delivery = await sent(webhooks, 2)
        assert delivery.failed == 1
        assert {address for address, _ in addresses} == {PUBLIC}

    async def test_a_kept_connection_is_left_with_its_address(
        self, site: Site, secure_receiver: Receiver
    ) -> None:
        """A receiver that moves is followed."""
        answers = iter([[PUBLIC], [PUBLIC], ["8.8.8.8"]])
        webhooks = site.webhooks(
            Webhook(url="https://hooks.test"), resolve=lambda *_: next(answers)
        )
        with dialled(secure_receiver.port) as addresses:
            for count in (1, 2, 3):
                webhooks.add("1", occupied("a"))
                await sent(webhooks, count)
        assert addresses == [(PUBLIC, 443), ("8.8.8.8", 443)]

    async def test_the_next_address_is_tried(self, site: Site, receiver: Receiver) -> None:
        """Where a network has no route for the first, as with IPv6."""
        webhooks = site.webhooks(
            local(f"http://hooks.test:{receiver.port}/"), resolve=lambda *_: ["::1", "127.0.0.1"]
        )
        webhooks.add("1", occupied("a"))
        assert (await sent(webhooks, 1)).failed == 0
        assert receiver.headers[0]["Host"] == f"hooks.test:{receiver.port}"

    async def test_a_name_without_address_is_a_failure(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As is one that DNS does not know, and one that it cannot."""
        answers: Iterator[list[str] | Exception] = iter(
            [[], socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")]
        )

        def resolve(host: str, port: int) -> list[str]:
            answer = next(answers, [])
            if isinstance(answer, Exception):
                raise answer
            return answer

        webhooks = site.webhooks(Webhook(url="https://hooks.test/"), resolve=resolve)
        webhooks.add("1", occupied("a"))
        await await_until(lambda: webhooks.deliveries[0].dropped)
        assert [r.message.partition("again: ")[2] for r in caplog.records[:3]] == [
            "hooks.test has no address",
            "Name or service not known",
            "UnicodeError",
        ]

    @pytest.mark.parametrize(
        ("host", "reason"),
        [("other.test", "is not valid for 'other.test'"), ("hooks.test", "self-signed")],
    )
    async def test_a_certificate_must_be_trusted_and_fit(
        self,
        site: Site,
        secure_receiver: Receiver,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        host: str,
        reason: str,
    ) -> None:
        """Whoever holds the address does not thereby hold the name."""
        if host == "hooks.test":
            monkeypatch.delenv("SSL_CERT_FILE")
        webhooks = site.webhooks(Webhook(url=f"https://{host}"), resolve=lambda *_: [PUBLIC])
        site.pauses.held = True
        with dialled(secure_receiver.port):
            webhooks.add("1", occupied("a"))
            await await_until(lambda: webhooks.deliveries[0].failed)
        assert reason in caplog.text
        assert secure_receiver.posts == []


class TestClosing:
    async def test_what_waits_is_posted(self, site: Site, receiver: Receiver) -> None:
        """To the last event; then threads, tasks and connections are gone."""
        webhooks = site.webhooks(local(receiver.url))
        for n in range(150):
            webhooks.add("1", occupied(f"c{n}"))
        await webhooks.close(5)
        delivery = webhooks.deliveries[0]
        assert (delivery.sent, delivery.dropped) == (150, 0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert delivery._receiver._connection is None
        await await_until(lambda: not threads())

    async def test_a_pause_is_cut_short(self, site: Site, receiver: Receiver) -> None:
        """A receiver that is back is not missed for lack of patience."""
        receiver.answers = [500]
        site.pauses.held = True
        webhooks = site.webhooks(local(receiver.url))
        webhooks.add("1", occupied("a"))
        await await_until(lambda: site.pauses.taken)
        await webhooks.close(5)
        assert webhooks.deliveries[0].sent == 1
        assert webhooks.deliveries[0].dropped == 0

    async def test_pauses_are_short_then(self, site: Site, receiver: Receiver) -> None:
        """There is no time for long ones."""
        receiver.answers = [500] * 7
        site.pauses.held_at = 5
        webhooks = site.webhooks(local(receiver.url))
        webhooks.add("1", occupied("a"))
        await await_until(lambda: len(site.pauses.taken) == 5)
        assert site.pauses.taken[-1] >= 8
        await webhooks.close(5)
        assert webhooks.deliveries[0].sent == 1
        assert len(site.pauses.taken) == 7
        assert site.pauses.taken[5] <= 1
        assert site.pauses.taken[6] <= 2

    async def test_after_its_time_the_rest_is_dropped(
        self, site: Site, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With a count; a request that hangs is broken off."""
        receiver.gate.clear()
        webhooks = site.webhooks(local(receiver.url), timeout=60, total=60)
        webhooks.add("1", occupied("a"))
        await await_until(lambda: receiver.posts)
        webhooks.add("1", occupied("b"))
        await webhooks.close(0.01)
        assert (webhooks.deliveries[0].sent, webhooks.deliveries[0].dropped) == (0, 2)
        assert "Dropped 2 events" in caplog.text
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await await_until(lambda: not threads(), 5, "the thread ends while the receiver hangs")
        assert webhooks.deliveries[0]._receiver._connection is None

    async def test_nothing_is_taken_any_more(self, site: Site, receiver: Receiver) -> None:
        """Closing twice is closing once."""
        webhooks = site.webhooks(local(receiver.url))
        await webhooks.close(5)
        await webhooks.close(5)
        assert not webhooks.wants("1", "channel_occupied", "a")
        webhooks.add("1", occupied("a"))
        assert (webhooks.deliveries[0].waiting, webhooks.deliveries[0].dropped) == (0, 1)
        assert receiver.posts == []

    def test_a_request_that_ends_after_the_close_leaves_no_connection(
        self, receiver: Receiver
    ) -> None:
        """Its thread sees to it, whose connection nobody else may touch."""
        receiver.gate.clear()
        line = module._Receiver(local(receiver.url), lambda *_: ["127.0.0.1"], 5)
        thread = threading.Thread(target=line.post, args=(b"{}", {}))
        thread.start()
        wait_until(lambda: receiver.posts)
        line.close()
        assert line._connection is not None
        receiver.gate.set()
        thread.join()
        assert line._connection is None

    def test_a_loop_that_ends_takes_everything_with_it(self, receiver: Receiver) -> None:
        """Also when nobody has closed anything."""
        receiver.gate.clear()
        webhooks = Webhooks([app_with(local(receiver.url))], timeout=60, total=60)

        async def run() -> None:
            webhooks.add("1", occupied("a"))
            await await_until(lambda: receiver.posts)

        asyncio.run(run())
        wait_until(lambda: not threads(), 5, "the thread ends while the receiver hangs")


async def test_nothing_runs_before_something_happens(site: Site, receiver: Receiver) -> None:
    """No thread, no task, no connection; nor afterwards."""
    webhooks = site.webhooks(local(receiver.url))
    assert not threads()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    webhooks.add("1", occupied("a"))
    await sent(webhooks, 1)
    await await_until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    await await_until(lambda: not threads())


async def test_an_application_without_webhooks_costs_nothing() -> None:
    """Not even an encoding."""
    webhooks = Webhooks([app_with()])
    with mock.patch.object(json, "dumps") as dumps:
        webhooks.add("1", occupied("a"))
    assert not dumps.called
    assert not webhooks.wants("1", "channel_occupied", "a")
    await webhooks.close(5)


async def test_the_task_is_nobodys_request(site: Site, receiver: Receiver) -> None:
    """Context variables of whoever happened to be first do not live on in it."""
    seen: list[str] = []
    variable: ContextVar[str] = ContextVar("variable", default="")

    async def sleep(seconds: float) -> None:
        seen.append(variable.get())

    receiver.answers = [500]
    webhooks = site.webhooks(local(receiver.url), sleep=sleep)
    variable.set("a request")
    webhooks.add("1", occupied("a"))
    await sent(webhooks, 1)
    assert seen == [""]


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


def test_two_threads_may_import_urllib3_at_once() -> None:
    """`runserver` imports the URLs in one thread while checks import a driver in another."""
    source = Path(module.__file__).read_text()
    imports = "\n".join(re.findall(r"^(?:from|import) urllib3.*$", source, re.MULTILINE))
    assert imports
    code = f"""
import sys, threading, time
failures = []
def load(source):
    try:
        exec(source, {{}})
    except ImportError as exc:
        failures.append(exc)
sys.setswitchinterval(1e-5)
threads = [threading.Thread(target=load, args=[s]) for s in ("import urllib3", {imports!r})]
for thread in threads:
    thread.start()
    time.sleep(0.005)  # Not for order: it makes them meet.
for thread in threads:
    thread.join()
sys.exit(str(failures) if failures else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
