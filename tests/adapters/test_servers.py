"""
The suite of all adapters, held with real servers that all tests of this module share.

daphne and uvicorn serve the Channels consumer, ``broadcast_serve`` its own protocol class.
"""

import asyncio
import json
from asyncio import to_thread
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from functools import cache

import pytest
import pytest_asyncio

from broadcasting.adapters.consumer import AsgiSocket
from tests.adapters.conversations import CONVERSATIONS, Conversation
from tests.adapters.wire import (
    BINARY,
    PATIENCE,
    PING,
    PONG,
    TEXT,
    Wire,
    close_frame,
    fragments,
    hang_up,
    memory,
    metrics,
    publisher,
    request,
    ws_frame,
)
from tests.conftest import RunningServer, RunServer
from tests.utils import await_until, frame, ping, subscribe, unsubscribe


@pytest.fixture(scope="module")
def servers(module_runserver: RunServer) -> Callable[[str], RunningServer]:
    """Return a function that returns the site as a server serves it, always the same one."""
    env = {"DJANGO_SETTINGS_MODULE": "tests.adapters.site_settings"}
    return cache(lambda name: module_runserver("memory", server=name, **env))


@pytest.fixture(params=["daphne", "uvicorn", "broadcast_serve"])
def server(request: pytest.FixtureRequest) -> str:
    """Return the name of each server."""
    return str(request.param)


@pytest.fixture
def site(server: str, servers: Callable[[str], RunningServer]) -> RunningServer:
    """Return the site under each server."""
    return servers(server)


@pytest_asyncio.fixture(autouse=True)
async def _is_well(site: RunningServer) -> AsyncIterator[None]:
    before = len(site.log_text())
    yield
    await hang_up()
    await (await Wire.open(site)).join("newcomer")
    await hang_up()
    said = site.log_text()[before:]
    assert "Traceback" not in said, said


async def hold(site: RunningServer, conversation: Conversation) -> None:
    """Hold one conversation."""
    wire = await Wire.connect(site)
    path = f"/app/{conversation.key}?{conversation.query}"
    await wire.send(request(path, Origin=conversation.origin))
    assert (await wire.head())[0] == 101
    if conversation.greeted:
        await wire.greeted()
    for step in conversation.steps:
        match step:
            case str():
                await wire.say(step)
            case bytes():
                await wire.send(ws_frame(step, BINARY))
            case int():
                assert await wire.close_code() == step
            case Mapping():
                assert json.loads(await wire.text()) == step
            case _:
                await wire.say(step(wire.socket_id))
    wire.abort()


async def test_every_conversation_is_held(site: RunningServer) -> None:
    """In the same words, whatever serves."""
    for conversation in CONVERSATIONS:
        try:
            await hold(site, conversation)
        except Exception as exc:
            raise AssertionError(f"{conversation.name}: {exc!r}\n{site.log_text()}") from exc


async def test_an_unknown_address_is_refused_for_good(site: RunningServer) -> None:
    """With 4005 and without a traceback; an HTTP error would be tried again for ever."""
    for path in ("/", "/app/", "/app/x/y", "/elsewhere/app/x", "/app/%2F"):
        wire = await Wire.connect(site)
        await wire.send(request(path))
        assert (await wire.head())[0] == 101
        assert await wire.close_code() == 4005


async def test_only_websocket_is_an_upgrade(site: RunningServer) -> None:
    """A request to change to something else is HTTP, and answered so; Reverb takes any."""
    wire = await Wire.connect(site)
    await wire.send(request(Upgrade="h2c"))
    assert (await wire.head())[0] == 404


async def test_bytes_may_come_as_they_like(site: RunningServer) -> None:
    """The handshake and frames byte by byte, a message in fragments with a ping between."""
    wire = await Wire.connect(site)
    for byte in request():
        await wire.send(bytes([byte]))
        await asyncio.sleep(0)  # Each is a packet of its own.
    assert (await wire.head())[0] == 101
    await wire.greeted()
    for byte in ws_frame(frame("żółw")):
        await wire.send(bytes([byte]))
        await asyncio.sleep(0)
    assert "'żółw'" in (await wire.hear())["data"]["message"]
    first, *others = fragments(ping().encode(), 4)
    await wire.send(first, ws_frame(b"now", PING), *others)
    heard = [await wire.frame(), await wire.frame()]
    assert (PONG, b"now") in heard
    assert any(b"pusher:pong" in payload for _, payload in heard)


@pytest.mark.parametrize("way", ["close", "half close", "abort"])
async def test_who_leaves_has_left_its_channels(site: RunningServer, way: str) -> None:
    """However it goes; also with a half-closed connection, which no browser makes."""
    wire, api = await Wire.open(site), publisher(site)
    channel = f"left-by-{way.replace(' ', '-')}"
    await wire.join(channel)

    def is_occupied() -> bool:
        return bool(api.get(f"/channels/{channel}", {})["occupied"])

    assert await to_thread(is_occupied)
    match way:
        case "close":
            await wire.send(close_frame(1000))
            assert await wire.close_code() == 1000
        case "half close":
            wire.writer.write_eof()
            await wire.end()
        case "abort":
            wire.abort()
    await await_until(lambda: to_thread(lambda: not is_occupied()), PATIENCE, "it is left")
    api.close()


async def test_slow_reader_is_closed_and_nobody_else_notices(
    site: RunningServer, server: str
) -> None:
    """A client that stops reading is closed; the others get everything in order."""
    count, size = 300, 9_000
    healthy = [await Wire.open(site) for _ in range(3)]
    slow = await Wire.open(site)
    for wire in (*healthy, slow):
        await wire.join("megabytes")
    slow.writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def read(wire: Wire) -> list[int]:
        return [(await wire.hear())["data"]["n"] for _ in range(count)]

    readers = [asyncio.create_task(read(wire)) for wire in healthy]
    api, before = publisher(site), len(site.log_text())
    for number in range(count):
        data = json.dumps({"n": number, "text": "x" * size})
        await api.abroadcast(["megabytes"], "Big", data)
    api.close()
    for numbers in await asyncio.gather(*readers):
        assert numbers == list(range(count))
    await await_until(lambda: "Closing a slow reader" in site.log_text()[before:], PATIENCE)
    slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
    received = 0
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while (await slow.frame())[0] == TEXT:
            received += 1
    # What the kernel and the transport had taken; of the consumer, what may be without an answer.
    limit = 1024 * 1024 if server == "broadcast_serve" else AsgiSocket.WINDOW + 2 * size
    assert received * size <= limit


async def test_clients_that_come_and_go_disturb_nobody(site: RunningServer) -> None:
    """At any moment of a subscription."""
    witness = await Wire.open(site)
    await witness.join("whik")

    async def come_and_go(number: int) -> None:
        wire = await Wire.open(site)
        for _ in range(number % 4):
            await wire.say(subscribe("whik"))
            await wire.say(unsubscribe("whik"))
        await wire.say(subscribe("whik"))
        if number % 2:
            wire.abort()
        else:
            await wire.send(close_frame(1000))

    await asyncio.gather(*(come_and_go(number) for number in range(40)))
    api = publisher(site)
    await api.abroadcast(["whik"], "Still here", "{}")
    api.close()
    assert (await witness.hear())["event"] == "Still here"
    await hold(site, CONVERSATIONS[0])


@pytest.mark.parametrize("server", ["broadcast_serve"])
async def test_who_floods_and_does_not_read_is_closed(site: RunningServer) -> None:
    """
    The server stops reading from it, so that its answers have an end, and closes it.

    Whether it floods with pings or with questions; memory is bounded.
    """
    before, begin = metrics(site.port), memory(site.process.pid)
    floods = [await Wire.open(site) for _ in range(6)]

    async def flood(wire: Wire, piece: bytes) -> None:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with suppress(ConnectionError):
            while True:
                wire.writer.write(piece * (32_768 // len(piece)))
                await wire.writer.drain()

    pieces = [ws_frame(b"x" * 125, PING), ws_frame(ping())] * 3
    flooding = (flood(wire, piece) for wire, piece in zip(floods, pieces, strict=True))
    await asyncio.wait_for(asyncio.gather(*flooding), PATIENCE)
    # A megabyte for each.
    assert memory(site.process.pid) - begin < 40 * 2**20
    name = "slow_consumers_total"
    assert metrics(site.port)[name] - before.get(name, 0) == 6
