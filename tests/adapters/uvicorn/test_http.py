"""What a client may send beside the bodies of its requests."""

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


class Served:
    """
    One connection to a server.

    Attributes:
        state: The server's.
        fields: The names of the fields of the last request, as an application sees them
            when it has read the body.
        may_answer: Set when the application is to answer.
    """

    def __init__(self) -> None:
        self.state = State(None, 10)
        self.fields: list[bytes] = []
        self.may_answer = asyncio.Event()
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

    async def flood(self) -> None:
        """Send fields until the server has had enough, which ends the connection."""
        with suppress(ConnectionError):
            for _ in range(3 * MAX_HEAD // len(FIELD)):
                self.writer.write(FIELD)
                await self.writer.drain()
        await await_until(lambda: not self.state.connections, what="it is over")
        assert self.state.refused == {"head_too_large": 1}


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
        port = server.sockets[0].getsockname()[1]
        served.reader, served.writer = await asyncio.open_connection("127.0.0.1", port)
        yield served
        served.may_answer.set()
        served.writer.close()
        await await_until(lambda: not served.state.tasks, what="it has ended")


async def test_the_next_head_has_a_size_while_the_last_request_waits(served: Served) -> None:
    """It is read at once, though nobody asks for it yet."""
    served.writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await await_until(lambda: bool(served.state.tasks), what="the first one is served")
    served.writer.write(b"GET / HTTP/1.1\r\n")
    await served.flood()


async def test_the_fields_behind_a_body_have_a_size(served: Served) -> None:
    """They are the end of a request that an application may be waiting for."""
    served.writer.write(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
    await await_until(lambda: bool(served.state.tasks), what="it is served")
    await served.flood()


async def test_a_field_behind_a_body_is_none_of_the_head(served: Served) -> None:
    """A proxy takes out what a client must not say, but of heads only (RFC 9110, 6.5.1)."""
    served.may_answer.set()
    served.writer.write(
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        b"1\r\na\r\n0\r\nx-forwarded-proto: https\r\n\r\n"
    )
    assert (await served.reader.readline()).startswith(b"HTTP/1.1 204 ")
    assert served.fields == [b"host", b"transfer-encoding"]


async def test_a_body_is_no_head(served: Served) -> None:
    """Whatever its size, in as many pieces as it comes, and the next head is one again."""
    served.may_answer.set()
    for _ in range(2):
        served.writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 300000\r\n\r\n")
        for _ in range(30):
            served.writer.write(b"x" * 10_000)
            await served.writer.drain()
        answer = await served.reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 204 ")
    assert not served.state.refused


async def test_who_has_just_come_is_answered_before_the_server_leaves(served: Served) -> None:
    """A proxy opens a connection for a request, which is a moment behind; it is the last."""
    await await_until(lambda: bool(served.state.connections), what="it is open")
    served.may_answer.set()
    served.state.is_leaving = True
    for connection in list(served.state.connections):
        connection.shutdown()
    served.writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    answer = await asyncio.wait_for(served.reader.read(), 5)
    assert answer.startswith(b"HTTP/1.1 204")
    assert b"connection: close" in answer


async def test_who_has_just_come_and_says_nothing_is_not_waited_for(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For longer than a request needs to follow."""
    monkeypatch.setattr(uvicorn_http, "FIRST_REQUEST_GRACE", 0.01)
    await await_until(lambda: bool(served.state.connections), what="it is open")
    for connection in list(served.state.connections):
        connection.shutdown()
    assert await asyncio.wait_for(served.reader.read(), 5) == b""


async def test_answers_of_a_server_that_leaves_are_the_last_of_their_connections(
    served: Served,
) -> None:
    """So that a proxy does not send one more just when they are closed."""
    served.may_answer.set()
    request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
    served.writer.write(request)
    assert b"connection: close" not in await served.reader.readuntil(b"\r\n\r\n")
    served.state.is_leaving = True
    served.writer.write(request)
    assert b"connection: close" in await asyncio.wait_for(served.reader.read(), 5)


async def test_a_body_that_stops_is_not_waited_for_for_ever(served: Served) -> None:
    """Each piece of it begins the time anew; a request that is whole has no deadline."""
    later = asyncio.get_running_loop().time() + PEER_TIMEOUT
    served.writer.write(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n1")
    await await_until(lambda: bool(served.state.tasks), what="it is served")
    served.state.sweep(later - 5)
    assert served.state.connections
    served.state.sweep(later + 5)
    assert await asyncio.wait_for(served.reader.read(), 5) == b""
    assert served.state.refused == {"request_timeout": 1}
    assert not served.state.awaiting_peer


async def test_a_request_that_is_whole_may_take_its_time(served: Served) -> None:
    """It is the application's turn then."""
    served.writer.write(b"POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\n1")
    await await_until(lambda: bool(served.state.tasks), what="it is served")
    served.state.sweep(asyncio.get_running_loop().time() + 10 * PEER_TIMEOUT)
    served.may_answer.set()
    assert (await asyncio.wait_for(served.reader.readline(), 5)).startswith(b"HTTP/1.1 204")


async def test_an_answer_that_nobody_reads_has_an_end(served: Served) -> None:
    """Until the client has read, it is awaited."""
    await await_until(lambda: bool(served.state.connections), what="it is open")
    (connection,) = served.state.connections
    assert isinstance(connection, HttpProtocol)
    connection.pause_writing()
    connection.resume_writing()
    assert not served.state.awaiting_peer
    connection.pause_writing()
    served.state.awaiting_head.clear()
    served.state.sweep(asyncio.get_running_loop().time() + PEER_TIMEOUT + 5)
    assert await asyncio.wait_for(served.reader.read(), 5) == b""
    assert served.state.refused == {"request_timeout": 1}


async def test_an_application_that_does_not_read_is_not_the_clients_fault(
    served: Served,
) -> None:
    """A body that is not taken cannot go on."""
    served.writer.write(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n1")
    await await_until(lambda: bool(served.state.tasks), what="it is served")
    (connection,) = served.state.connections
    assert isinstance(connection, HttpProtocol)
    connection.flow.pause_reading()
    served.state.sweep(asyncio.get_running_loop().time() + PEER_TIMEOUT + 5)
    assert served.state.connections
    connection.flow.resume_reading()
    served.writer.write(b"2")
    served.may_answer.set()
    assert (await asyncio.wait_for(served.reader.readline(), 5)).startswith(b"HTTP/1.1 204")
