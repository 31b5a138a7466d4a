"""What a client may put off, and what it may send beside the bodies of its requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
from uvicorn.config import Config

from broadcasting.adapters.uvicorn import http as uvicorn_http
from broadcasting.adapters.uvicorn.http import MAX_HEAD, HttpProtocol
from broadcasting.adapters.uvicorn.state import PEER_TIMEOUT, State
from tests.utils import await_until

FIELD = b"x: " + b"y" * 4_000 + b"\r\n"
GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
HEAD_TIMEOUT = 10.0


class Served:
    """
    One connection to a server that has room for two.

    Attributes:
        state: The server's.
        fields: The names of the fields of the last request, as an application sees them
            when it has read the body.
        may_answer: Set when the application is to answer.
    """

    def __init__(self) -> None:
        self.state = State(2, HEAD_TIMEOUT)
        self.fields: list[bytes] = []
        self.may_answer = asyncio.Event()
        self.port = 0
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        """Read all, then answer."""
        while (await receive()).get("more_body"):
            pass
        await self.may_answer.wait()
        self.fields = [name for name, _ in scope["headers"]]
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    @property
    def connection(self) -> HttpProtocol:
        """The server's side of it."""
        (connection,) = self.state.connections
        assert isinstance(connection, HttpProtocol)
        return connection

    async def is_served(self) -> None:
        """Wait until a request has reached the application."""
        await await_until(lambda: self.state.tasks, 30, "it is served")

    async def flood(self) -> None:
        """Send fields until the server has had enough, which ends the connection."""
        with suppress(ConnectionError):
            for _ in range(3 * MAX_HEAD // len(FIELD)):
                self.writer.write(FIELD)
                await self.writer.drain()
        await await_until(lambda: not self.state.connections, 30, "it is over")
        assert self.state.refused == {"head_too_large": 1}

    def sweep_after(self, seconds: float) -> None:
        """Look for late clients, so many seconds from now."""
        self.state.sweep(asyncio.get_running_loop().time() + seconds)

    async def status(self) -> int:
        """Return the status of the next answer, which has no body."""
        return int((await self.reader.readuntil(b"\r\n\r\n")).split()[1])


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    """Return a connection."""
    served = Served()
    config = Config(served.application, interface="asgi3", lifespan="off", log_config=None)
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: HttpProtocol(config, served.state, {}, loop), "127.0.0.1"
    )
    async with server:
        served.port = server.sockets[0].getsockname()[1]
        served.reader, served.writer = await asyncio.open_connection("127.0.0.1", served.port)
        await await_until(lambda: served.state.connections, 30, "it is open")
        yield served
        served.may_answer.set()
        served.writer.close()
        await await_until(lambda: not served.state.tasks, 30, "it has ended")


class TestRequests:
    @pytest.mark.parametrize(
        "fields",
        [
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: +5",
            "Content-Length: 0x5",
            "Content-Length: 99999999999999999999999",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding:\r\n chunked",
        ],
    )
    async def test_one_that_two_may_read_differently_is_refused(
        self, served: Served, fields: str
    ) -> None:
        """Smuggling hides a request from the proxy before the server."""
        served.may_answer.set()
        head = f"POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"
        served.writer.write(head.encode() + b"0\r\n\r\n" + GET)
        answers = await served.reader.read()
        assert answers.startswith(b"HTTP/1.1 400 ")
        assert b"HTTP/1.1 204" not in answers

    async def test_many_may_come_at_once(self, served: Served) -> None:
        """They are answered in order, and the connection stays."""
        served.may_answer.set()
        served.writer.write(GET * 100)
        for _ in range(100):
            assert await served.status() == 204


class TestSizes:
    async def test_a_head_has_a_size(self, served: Served) -> None:
        """Else a client could fill the memory within the time that it has."""
        served.writer.write(b"GET / HTTP/1.1\r\n" + b"x: y\r\n")
        for _ in range(17):  # The last of them is over it; who sends on may miss the answer.
            served.writer.write(FIELD)
        assert await served.status() == 431

    async def test_the_next_head_has_a_size_while_the_last_request_waits(
        self, served: Served
    ) -> None:
        """It is read at once, though nobody asks for it yet."""
        served.writer.write(GET)
        await served.is_served()
        served.writer.write(b"GET / HTTP/1.1\r\n")
        await served.flood()

    async def test_the_fields_behind_a_body_have_a_size(self, served: Served) -> None:
        """They are the end of a request that an application may be waiting for."""
        served.writer.write(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
        await served.is_served()
        await served.flood()

    async def test_a_field_behind_a_body_is_none_of_the_head(self, served: Served) -> None:
        """A proxy takes out what a client must not say, but of heads only (RFC 9110, 6.5.1)."""
        served.may_answer.set()
        served.writer.write(
            b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
            b"1\r\na\r\n0\r\nx-forwarded-proto: https\r\n\r\n"
        )
        assert await served.status() == 204
        assert served.fields == [b"host", b"transfer-encoding"]

    async def test_a_body_is_no_head(self, served: Served) -> None:
        """Whatever its size, in as many pieces as it comes, and the next head is one again."""
        served.may_answer.set()
        for _ in range(2):
            served.writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 300000\r\n\r\n")
            for _ in range(30):
                served.writer.write(b"x" * 10_000)
                await served.writer.drain()
            assert await served.status() == 204
        assert not served.state.refused

    async def test_a_server_may_be_full(self, served: Served) -> None:
        """Then one more connection ends before it has said a word; who leaves makes room."""
        async with asyncio.timeout(60):
            _, second = await asyncio.open_connection("127.0.0.1", served.port)
            reader, third = await asyncio.open_connection("127.0.0.1", served.port)
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            assert served.state.refused == {"too_many": 1}
            second.close()
            await await_until(lambda: len(served.state.connections) == 1, 30, "one has left")
            reader, fourth = await asyncio.open_connection("127.0.0.1", served.port)
            fourth.write(GET)
            served.may_answer.set()
            assert (await reader.readline()).startswith(b"HTTP/1.1 204 ")
            third.close()
            fourth.close()


class TestHeads:
    async def test_a_head_has_to_come_in_time(self, served: Served) -> None:
        """However many bytes come, each for itself in time."""
        for piece in (b"GET / HTTP/1.1\r\n", b"x: y\r\n", b"x: y\r\n"):
            served.writer.write(piece)
            await served.writer.drain()
        await await_until(lambda: served.connection.headers, 30, "they have come")
        served.sweep_after(HEAD_TIMEOUT - 1)
        assert served.state.connections
        served.sweep_after(HEAD_TIMEOUT + 1)
        assert await served.status() == 408
        assert served.state.refused == {"handshake_timeout": 1}

    async def test_each_further_head_has_to_come_in_time(self, served: Served) -> None:
        """The first request of a kept connection buys no time for the next."""
        served.may_answer.set()
        served.writer.write(GET)
        assert await served.status() == 204
        served.sweep_after(2 * HEAD_TIMEOUT)
        assert served.state.connections
        served.writer.write(b"GET /")
        await await_until(lambda: served.state.awaiting_head, 30, "it has come")
        served.sweep_after(HEAD_TIMEOUT + 1)
        assert await served.status() == 408

    async def test_who_says_nothing_is_told_nothing(self, served: Served) -> None:
        """A browser opens connections in advance, and would show the answer."""
        connection = served.connection
        served.sweep_after(HEAD_TIMEOUT + 1)
        connection.head_is_late()  # At the next look, where closing takes so long.
        assert await served.reader.read() == b""
        assert served.state.refused == {"handshake_timeout": 1}


class TestPeers:
    async def test_a_body_that_stops_is_not_waited_for_for_ever(self, served: Served) -> None:
        """Each piece of it begins the time anew."""
        served.writer.write(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n1")
        await served.is_served()
        served.sweep_after(PEER_TIMEOUT - 5)
        assert served.state.connections
        served.sweep_after(PEER_TIMEOUT + 5)
        assert await served.reader.read() == b""
        assert served.state.refused == {"request_timeout": 1}
        assert not served.state.awaiting_peer

    async def test_a_request_that_is_whole_may_take_its_time(self, served: Served) -> None:
        """It is the application's turn then."""
        served.writer.write(b"POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\n1")
        await served.is_served()
        served.sweep_after(10 * PEER_TIMEOUT)
        served.may_answer.set()
        assert await served.status() == 204

    async def test_an_answer_that_nobody_reads_has_an_end(self, served: Served) -> None:
        """Until the client has read, it is awaited."""
        served.connection.pause_writing()
        served.connection.resume_writing()
        assert not served.state.awaiting_peer
        served.connection.pause_writing()
        served.state.awaiting_head.clear()
        served.sweep_after(PEER_TIMEOUT + 5)
        assert await served.reader.read() == b""
        assert served.state.refused == {"request_timeout": 1}

    async def test_an_application_that_does_not_read_is_not_the_clients_fault(
        self, served: Served
    ) -> None:
        """A body that is not taken cannot go on."""
        served.writer.write(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n1")
        await served.is_served()
        served.connection.flow.pause_reading()
        served.sweep_after(PEER_TIMEOUT + 5)
        served.connection.flow.resume_reading()
        served.writer.write(b"2")
        served.may_answer.set()
        assert await served.status() == 204


class TestLeaving:
    async def test_who_has_just_come_is_answered(self, served: Served) -> None:
        """A proxy opens a connection for a request, which is a moment behind; it is the last."""
        served.may_answer.set()
        served.state.is_leaving = True
        served.connection.shutdown()
        served.writer.write(GET)
        answer = await served.reader.read()
        assert answer.startswith(b"HTTP/1.1 204")
        assert b"connection: close" in answer

    async def test_who_says_nothing_is_not_waited_for(
        self, served: Served, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """For longer than a request needs to follow."""
        monkeypatch.setattr(uvicorn_http, "FIRST_REQUEST_GRACE", 0.01)
        served.connection.shutdown()
        assert await served.reader.read() == b""

    async def test_answers_are_the_last_of_their_connections(self, served: Served) -> None:
        """So that a proxy does not send one more just when they are closed."""
        served.may_answer.set()
        served.writer.write(GET)
        assert b"connection: close" not in await served.reader.readuntil(b"\r\n\r\n")
        served.state.is_leaving = True
        served.writer.write(GET)
        assert b"connection: close" in await served.reader.read()
