"""One request: which address it goes to, which answers count, and how long it may take."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from unittest import mock

import pytest
from urllib3.connection import HTTPConnection

from broadcasting.applications import Webhook
from broadcasting.server.webhooks.addresses import Resolve, resolve
from broadcasting.server.webhooks.sender import Sender
from tests.server.webhooks.conftest import threads
from tests.server.webhooks.receiver import Receiver, dialled, dripping
from tests.utils import await_until

PUBLIC = "93.184.215.14"
_made: list[Sender] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _made:
        _made.pop().close()


def sender_to(
    url: str,
    *,
    resolve: Resolve = resolve,
    allow_private: bool = True,
    timeout: float = 30,
    total: float = 60,
) -> Sender:
    webhook = Webhook(url=url, allow_private=allow_private)
    _made.append(Sender(webhook, resolve=resolve, timeout=timeout, total=total))
    return _made[-1]


def answering(*answers: list[str] | Exception) -> Resolve:
    """Return a resolver that gives one answer after the other, and the last for ever."""
    waiting = [*answers]

    def resolve(host: str, port: int) -> list[str]:
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return resolve


async def post(sender: Sender) -> str | None:
    return await sender.post(b"{}", {})


class TestAnswers:
    @pytest.mark.parametrize(
        "status", [200, 202, 204, 299, 301, 302, 303, 304, 307, 308, 400, 401, 410, 500, 600]
    )
    async def test_any_2xx_is_success_and_nothing_else_is(
        self, receiver: Receiver, status: int
    ) -> None:
        """Redirects are not followed: they lead to addresses that nobody has checked."""
        receiver.answers = [status]
        receiver.location = "http://169.254.169.254/latest/meta-data"
        with dialled() as addresses:
            error = await post(sender_to(receiver.url))
        assert error == (None if 200 <= status < 300 else f"it answered {status}")
        assert [path for path, _ in receiver.posts] == ["/hook"]
        assert addresses == [("127.0.0.1", receiver.port)]

    async def test_a_long_one_is_not_read_to_its_end(self, receiver: Receiver) -> None:
        receiver.body = b"x" * 32_000_000  # More than sockets hold.
        sender = sender_to(receiver.url)
        assert await post(sender) is None
        receiver.body = b""
        assert await post(sender) is None
        assert len(receiver.clients) == 2
        await await_until(lambda: receiver.was_cut_off)

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            *((each, "no whole answer in time") for each in (b"", b"HTTP/1.1 20")),
            (b"HTTP/1.1 100 Continue\r\n\r\n", "no whole answer in time"),
            *(
                (b"HTTP/1.1 200 OK\r\n" + each, None)
                for each in (b"X-A: ", b"Content-Length: 60000\r\n\r\n")
            ),
        ],
        ids=str,
    )
    async def test_one_without_end_counts_by_its_status(
        self, answer: bytes, error: str | None
    ) -> None:
        """Each byte comes in time, the whole never does."""
        with dripping(answer) as url:
            assert await post(sender_to(url, total=1)) == error
            await await_until(lambda: not threads(), 30, "the thread ends")

    async def test_none_and_one_that_is_no_http_are_failures(self) -> None:
        """The text is not quoted: it may hold anything, line breaks and colours included."""
        with dripping(b"", interval=None) as url:
            assert await post(sender_to(url, timeout=0.05)) is not None
        with dripping(b"\x1b[31mowned\r\n\r\n", interval=None) as url:
            assert await post(sender_to(url)) == "BadStatusLine"


class TestConnections:
    async def test_one_is_kept(self, receiver: Receiver) -> None:
        sender = sender_to(receiver.url)
        for _ in range(3):
            assert await post(sender) is None
        assert len(receiver.clients) == 1
        receiver.hang_up()
        await await_until(lambda: not receiver.open)
        assert await post(sender) is None
        assert len(receiver.clients) == 2
        sender.close()
        await await_until(lambda: not receiver.open)

    async def test_a_request_that_ends_after_the_close_leaves_none(
        self, receiver: Receiver
    ) -> None:
        receiver.gate.clear()
        sender = sender_to(receiver.url)
        posting = asyncio.create_task(post(sender))
        await await_until(lambda: receiver.posts)
        sender.close()
        assert receiver.open == 1
        receiver.gate.set()
        assert await posting is None
        await await_until(lambda: not receiver.open)

    @pytest.mark.parametrize("step", ["resolving", "connecting"])
    async def test_a_request_that_is_late_is_not_made(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        ended = threading.Event()
        create = HTTPConnection._new_conn

        def slow_resolve(host: str, port: int) -> list[str]:
            if step == "resolving":
                ended.wait(30)
            return ["127.0.0.1"]

        def connect(connection: HTTPConnection) -> socket.socket:
            ended.wait(30)
            return create(connection)

        monkeypatch.setattr(HTTPConnection, "_new_conn", connect)
        posting = asyncio.create_task(post(sender_to(receiver.url, resolve=slow_resolve)))
        await await_until(threads)
        posting.cancel()
        await asyncio.wait([posting])
        ended.set()
        await await_until(lambda: not threads())
        assert receiver.posts == []

    async def test_no_thread_can_be_started(self, receiver: Receiver) -> None:
        error = RuntimeError("can't start new thread")
        with mock.patch.object(threading.Thread, "start", side_effect=error):
            assert await post(sender_to(receiver.url)) == "can't start new thread"

    async def test_a_bug_is_logged_and_is_a_failure(
        self, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        sender = sender_to(receiver.url, resolve=answering(ZeroDivisionError()))
        assert await post(sender) == "ZeroDivisionError"
        assert "Traceback" in caplog.text


class TestAddresses:
    async def test_a_checked_address_is_connected_to(self, secure_receiver: Receiver) -> None:
        asked: list[tuple[str, int]] = []

        def resolve(host: str, port: int) -> list[str]:
            asked.append((host, port))
            return [PUBLIC]

        url = "https://hooks.test/a%20b?token=secret"
        sender = sender_to(url, resolve=resolve, allow_private=False)
        with dialled(secure_receiver.port) as addresses:
            assert await post(sender) is None
        assert (asked, addresses) == ([("hooks.test", 443)], [(PUBLIC, 443)])
        assert secure_receiver.posts[0][0] == "/a%20b?token=secret"
        assert secure_receiver.headers[0]["Host"] == "hooks.test"
        assert sender.url == "https://hooks.test/a%20b"

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
    async def test_any_private_address_refuses_all(self, answer: list[str]) -> None:
        sender = sender_to("https://hooks.test/", resolve=answering(answer), allow_private=False)
        with dialled() as addresses:
            error = await post(sender)
        assert error is not None
        assert error.startswith("hooks.test has the address")
        assert addresses == []

    async def test_each_request_is_checked_anew(self, secure_receiver: Receiver) -> None:
        """A kept connection does not stand in for the check; mended DNS is found."""
        resolve = answering([PUBLIC], ["127.0.0.1"], [PUBLIC])
        sender = sender_to("https://hooks.test", resolve=resolve, allow_private=False)
        with dialled(secure_receiver.port) as addresses:
            errors = [await post(sender) for _ in range(3)]
        assert [error is None for error in errors] == [True, False, True]
        assert {address for address, _ in addresses} == {PUBLIC}

    async def test_a_kept_connection_is_dropped_with_its_address(
        self, secure_receiver: Receiver
    ) -> None:
        resolve = answering([PUBLIC], [PUBLIC], ["8.8.8.8"])
        sender = sender_to("https://hooks.test", resolve=resolve, allow_private=False)
        with dialled(secure_receiver.port) as addresses:
            for _ in range(3):
                assert await post(sender) is None
        assert addresses == [(PUBLIC, 443), ("8.8.8.8", 443)]

    async def test_the_next_address_is_tried(self, receiver: Receiver) -> None:
        url = f"http://hooks.test:{receiver.port}/"
        assert await post(sender_to(url, resolve=answering(["::1", "127.0.0.1"]))) is None
        assert receiver.headers[0]["Host"] == f"hooks.test:{receiver.port}"

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            ([], "hooks.test has no address"),
            (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
            (UnicodeError("label too long"), "UnicodeError"),
        ],
    )
    async def test_a_name_without_address_is_a_failure(
        self, answer: list[str] | Exception, reason: str
    ) -> None:
        assert await post(sender_to("http://hooks.test", resolve=answering(answer))) == reason

    @pytest.mark.parametrize(
        ("host", "reason"),
        [("other.test", "is not valid for 'other.test'"), ("hooks.test", "self-signed")],
    )
    async def test_a_certificate_must_be_trusted_and_fit(
        self,
        secure_receiver: Receiver,
        monkeypatch: pytest.MonkeyPatch,
        host: str,
        reason: str,
    ) -> None:
        if host == "hooks.test":
            monkeypatch.delenv("SSL_CERT_FILE")
        sender = sender_to(f"https://{host}", resolve=answering([PUBLIC]), allow_private=False)
        with dialled(secure_receiver.port):
            error = await post(sender)
        assert reason in (error or "")
        assert secure_receiver.posts == []
