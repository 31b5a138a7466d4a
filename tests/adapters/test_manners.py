"""
What strangers may do to a server: nothing that others notice.

Real sockets abuse a real ``broadcast_serve``. Each abuse is ended as documented and
counted, costs a bounded amount of memory, and the next client is served as ever.
"""

import asyncio
import json
import socket
import time
from asyncio import to_thread
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from http.client import HTTPException
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from broadcasting.protocol.signatures import sign_channel, sign_request
from broadcasting.server.admission import HTTP_CONNECTIONS
from tests.adapters.wire import (
    CLOSE,
    HASTY,
    PING,
    PONG,
    SMALL,
    TEXT,
    USUAL,
    Wire,
    hang_up,
    hurry,
    memory,
    metrics,
    publisher,
    request,
    serves,
    ws_frame,
)
from tests.conftest import RunningServer, RunServer
from tests.utils import await_until, client_event, frame, subscribe, unsubscribe

SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.adapters.manners_settings"}
ASK = ws_frame('{"event":"pusher:ping"}')


@pytest.fixture(scope="module")
def site(module_runserver: RunServer) -> Iterator[RunningServer]:
    """Return a server with limits as they are by default."""
    site = module_runserver("memory", server="broadcast_serve", **SETTINGS)
    yield site
    hurry(site)


@pytest.fixture(scope="module")
def strict(module_runserver: RunServer) -> Iterator[RunningServer]:
    """Return a server that takes 30 sockets, 20 from one address, and is short of patience."""
    limits = {"MAX_CONNECTIONS": 30, "MAX_CONNECTIONS_PER_ADDRESS": 20, "HANDSHAKE_TIMEOUT": 2}
    site = module_runserver(
        "memory", server="broadcast_serve", SERVER=json.dumps(limits), **SETTINGS
    )
    yield site
    hurry(site)


@pytest.fixture(scope="module", autouse=True)
def mute(site: RunningServer) -> Iterator[socket.socket]:
    """Return a client that joined a channel when the module began, and says nothing since."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=40) as client:
        client.sendall(request(site, HASTY))
        data = b""
        while b"activity_timeout" not in data:
            data += client.recv(4096)
        client.sendall(ws_frame(subscribe("mute")))
        yield client


@pytest_asyncio.fixture(autouse=True)
async def _is_well_after_it(site: RunningServer, strict: RunningServer) -> AsyncIterator[None]:
    before = {each.port: len(each.log_text()) for each in (site, strict)}
    yield
    await hang_up()
    for each in (site, strict):
        await await_until(partial(to_thread, _is_empty, each), 20, "all have left")
        await serves(each)
        log = each.log_text()[before[each.port] :]
        assert "Traceback" not in log, log
        assert "ERROR" not in log, log


def _is_empty(site: RunningServer) -> bool:
    """Tell whether nobody is there but the one who says nothing."""
    numbers = metrics(site)
    return not any(numbers.get(f'connections{{app="{app}"}}') for app in ("1", "3", "4"))


def _channels(site: RunningServer) -> float:
    return sum(value for name, value in metrics(site).items() if name.startswith("channels{"))


def rise(site: RunningServer, before: dict[str, float], name: str) -> float:
    """Return by how much a counter of `site` has risen."""
    return metrics(site).get(name, 0) - before.get(name, 0)


async def slowest(site: RunningServer, flood: "asyncio.Task[None]") -> float:
    """Return how long a quiet client has waited at most for an answer during a `flood`."""
    wire = await Wire.open(site)
    longest = 0.0
    while not flood.done():
        begin = time.monotonic()
        await wire.serves()
        longest = max(longest, time.monotonic() - begin)
        await asyncio.sleep(0.01)
    await flood
    return longest


class TestSlowness:
    async def test_a_head_that_takes_too_long_is_not_waited_for(
        self, strict: RunningServer
    ) -> None:
        """Who has said something is told so with 408; each is counted."""
        before = metrics(strict)
        silent = [await Wire.connect(strict) for _ in range(5)]
        halting = [await Wire.connect(strict) for _ in range(5)]
        dribbling = [await Wire.connect(strict) for _ in range(5)]
        for wire in halting:
            await wire.send(request(strict)[:60])

        async def dribble(wire: Wire) -> None:
            for byte in request(strict):
                await wire.send(bytes([byte]))
                await asyncio.sleep(0.1)  # The whole would take twenty seconds.
                if wire.reader.at_eof():
                    return

        begin = time.monotonic()
        drips = [asyncio.create_task(dribble(wire)) for wire in dribbling]
        await serves(strict)
        for wire in (*halting, *dribbling):
            assert (await wire.head())[0] == 408
        for wire in (*silent, *halting, *dribbling):
            assert await wire.end() == b""
        assert time.monotonic() - begin < 5
        await asyncio.gather(*drips)
        assert rise(strict, before, 'refused_total{reason="handshake_timeout"}') == 15

    async def test_who_says_nothing_after_the_handshake_is_asked_and_given_up(
        self, site: RunningServer
    ) -> None:
        """Pinged, and closed with 4202 where no channel keeps it."""
        before = metrics(site)
        wires = [await Wire.open(site, HASTY) for _ in range(5)]
        for wire in wires:
            opcode, payload = await wire.frame()
            assert (opcode, json.loads(payload)["event"]) == (TEXT, "pusher:ping")
            assert await wire.close_code() == 4202
        assert rise(site, before, 'connections_closed_total{code="4202",reason="inactive"}') == 5

    async def test_a_websocket_ping_is_a_sign_of_life(self, site: RunningServer) -> None:
        """Any frame is: a client that pings need not answer."""
        wire = await Wire.open(site, HASTY)
        seen: list[tuple[int, bytes]] = []
        end = time.monotonic() + 3.5
        while time.monotonic() < end:
            await wire.send(ws_frame(b"here", PING))
            seen.append(await wire.frame())
            await asyncio.sleep(0.2)
        assert set(seen) == {(PONG, b"here")}

    async def test_frames_byte_by_byte_hold_up_nobody(self, site: RunningServer) -> None:
        """Fifty such clients cost another one no more than moments."""
        wires = [await Wire.open(site) for _ in range(50)]

        async def flood() -> None:
            for byte in ws_frame(frame("pusher:ping", "x" * 60)):
                for wire in wires:
                    wire.writer.write(bytes([byte]))
                await asyncio.sleep(0)

        longest = await slowest(site, asyncio.create_task(flood()))
        assert longest < 0.5
        for wire in wires:
            assert (await wire.hear())["event"] == "pusher:pong"


class TestChannels:
    async def test_ten_thousand_channels_leave_nothing_behind(self, site: RunningServer) -> None:
        """A hundred clients in a hundred channels each; the second time costs no more memory."""

        async def come_and_go(turn: int) -> float:
            wires = [await Wire.open(site) for _ in range(100)]
            for n, wire in enumerate(wires):
                names = [f"name-{turn}-{n}-{i}" + "x" * 150 for i in range(100)]
                await wire.send(*(ws_frame(subscribe(name)) for name in names))
            for wire in wires:
                for _ in range(100):
                    assert (await wire.hear())["event"].endswith("subscription_succeeded")
            held = memory(site)
            await hang_up()
            await await_until(lambda: to_thread(_is_empty, site), 10, "all have left")
            return held

        first = await come_and_go(1)
        second = await come_and_go(2)
        # What a process keeps for the next time comes to an end; topics that stay would not.
        assert second - first < 12
        # Only the one who says nothing has one. So many are counted every few seconds only.
        await await_until(lambda: to_thread(lambda: _channels(site) <= 1), 20, "no channel left")

    async def test_one_client_has_a_hundred(self, site: RunningServer) -> None:
        """It is told of each refusal, and may have others in their place, twenty a second."""
        before = metrics(site)
        wire = await Wire.open(site)
        for start in range(0, 10_000, 1_000):
            await wire.send(*(ws_frame(subscribe(f"n{start + i}")) for i in range(1_000)))
        told: Counter[str] = Counter()
        while told["pusher:subscription_error"] < 9_900:
            event = await wire.hear()
            told[event["event"]] += 1
            if event["event"] == "pusher:subscription_error":
                assert event["data"]["type"] == "LimitReached"
        assert told["pusher_internal:subscription_succeeded"] == 100
        assert rise(site, before, 'rate_limited_total{what="subscriptions"}') == 9_900

    async def test_who_joins_and_leaves_in_a_loop_is_slowed_down(self, site: RunningServer) -> None:
        """What others hear of it is true, in order, and no more than the rate allows."""
        witness = await Wire.open(site)
        await witness.join("presence-door", "witness")
        wire = await Wire.open(site)
        data = json.dumps({"user_id": "flapping"})
        auth = sign_channel(USUAL, wire.socket_id, "presence-door", data)
        join = ws_frame(subscribe("presence-door", auth=auth, channel_data=data))
        begin = time.monotonic()
        for _ in range(300):
            await wire.send(join, ws_frame(unsubscribe("presence-door")))
        await wire.serves()
        seconds = time.monotonic() - begin
        wire.abort()
        api = publisher(site)

        def has_left() -> bool:
            return api.get("/channels/presence-door/users", {}) == {"users": [{"id": "witness"}]}

        await await_until(lambda: to_thread(has_left), what="the other has left")
        await api.abroadcast(["presence-door"], "End", "{}")
        api.close()
        changes = []
        while (event := await witness.hear())["event"] != "End":
            assert event["data"]["user_id"] == "flapping"
            changes.append(event["event"].rpartition("_")[2])
        assert changes == ["added", "removed"] * (len(changes) // 2)
        assert len(changes) // 2 <= 100 + 20 * (seconds + 1)

    async def test_a_full_channel_takes_its_members_only(self, site: RunningServer) -> None:
        """Three here: a fourth user is refused and told so, another tab is not."""
        before = metrics(site)
        for number in range(3):
            wire = await Wire.open(site, SMALL)
            await wire.join("presence-small", f"user-{number}")
        late = await Wire.open(site, SMALL)
        for number in range(50):
            await late.ask_for("presence-small", f"late-{number}")
            refusal = await late.until("pusher:subscription_error")
            assert refusal["data"]["type"] == "LimitReached"
        confirmed = await late.join("presence-small", "user-0")
        assert confirmed["data"]["presence"]["count"] == 3
        assert rise(site, before, 'rate_limited_total{what="members"}') == 50


class TestFloods:
    async def test_whispers_beyond_the_rate_reach_nobody(self, site: RunningServer) -> None:
        """Ten a second; the sender is told 4301 for each of the others."""
        before = metrics(site)
        sender, other = await Wire.open(site), await Wire.open(site)
        for wire in (sender, other):
            await wire.join("private-talk")
        begin = time.monotonic()
        await sender.send(
            *(ws_frame(client_event("private-talk", "client-n", n)) for n in range(1_000)), ASK
        )
        errors = 0
        while (event := await sender.hear())["event"] == "pusher:error":
            assert event["data"]["code"] == 4301
            errors += 1
        passed = 1_000 - errors
        assert 10 <= passed <= 10 * (2 + time.monotonic() - begin)
        heard = [(await other.hear())["data"] for _ in range(passed)]
        assert heard == sorted(heard)
        api = publisher(site)
        await api.abroadcast(["private-talk"], "End", "{}")
        api.close()
        assert (await other.hear())["event"] == "End"
        assert rise(site, before, 'rate_limited_total{what="client_events"}') == errors

    @pytest.mark.parametrize(
        "piece",
        [ws_frame(b"", PONG), ws_frame(b"", PING), ASK, ws_frame(b"[")],
        ids=["pong", "ping", "pusher:ping", "no JSON"],
    )
    async def test_a_flood_holds_up_nobody(self, site: RunningServer, piece: bytes) -> None:
        """A client that sends as fast as it can, and reads, slows others by moments only."""
        wire = await Wire.open(site)
        chunk = piece * (16_384 // len(piece))

        async def read() -> None:
            with suppress(ConnectionError):
                while await wire.reader.read(65_536):
                    pass

        async def flood() -> None:
            reading = asyncio.create_task(read())
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                await wire.send(chunk)
            reading.cancel()

        assert await slowest(site, asyncio.create_task(flood())) < 0.5

    async def test_who_floods_and_does_not_read_is_closed(self, site: RunningServer) -> None:
        """
        The server stops listening to it, so that its answers have an end, and gives it up.

        Whether it floods with pings, with asking, or just never reads while megabytes are
        published: memory is bounded, and the others get everything in order.
        """
        before, begin = metrics(site), memory(site)
        channel, count, size = "megabytes", 500, 10_000
        healthy = [await Wire.open(site) for _ in range(10)]
        slow = [await Wire.open(site) for _ in range(5)]
        for wire in (*healthy, *slow):
            await wire.join(channel)
        floods = [await Wire.open(site) for _ in range(6)]

        async def flood(wire: Wire, piece: bytes) -> None:
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
            chunk = piece * (32_768 // len(piece))
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(20):
                    while True:
                        wire.writer.write(chunk)
                        await wire.writer.drain()

        async def read(wire: Wire) -> None:
            for number in range(count):
                assert (await wire.hear())["data"][0] == number

        for wire in slow:
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        flooding = [
            asyncio.create_task(flood(wire, piece))
            for wire, piece in zip(floods, [ws_frame(b"x" * 125, PING), ASK] * 3, strict=True)
        ]
        reading = [asyncio.create_task(read(wire)) for wire in healthy]
        api = publisher(site)
        most = 0.0
        for number in range(count):
            await api.abroadcast([channel], "Big", json.dumps([number, "x" * size]))
            if number % 100 == 0:
                most = max(most, await to_thread(memory, site) - begin)
        api.close()
        await asyncio.gather(*reading)
        # A megabyte for each who does not read, and what a kilobyte of each message costs.
        assert most < 40
        await asyncio.gather(*flooding)
        code = 'connections_closed_total{code="4100",reason="over_capacity"}'
        await await_until(
            lambda: to_thread(lambda: rise(site, before, code) == 11), 20, "11 are closed"
        )
        assert rise(site, before, "slow_consumers_total") == 11


class TestNonsense:
    async def test_json_that_is_nested_deeply_is_an_error(self, site: RunningServer) -> None:
        """And no more than that, wherever it stands; Python's own parser gives up at a depth."""
        wire = await Wire.open(site)
        deep = "[" * 8_000
        whole = deep + "]" * 8_000
        nested = '{"a":' * 2_000 + "1" + "}" * 2_000
        for text in (
            deep,
            whole,
            nested,
            f'{{"event":"pusher:subscribe","data":{whole}}}',
            f'{{"event":{nested}}}',
            json.dumps({"event": "pusher:subscribe", "data": deep}),
        ):
            await wire.say(text)
            assert (await wire.hear())["event"] == "pusher:error"
        await wire.serves()

    async def test_no_field_of_another_type_does_harm(self, site: RunningServer) -> None:
        """Each is answered with an error, and the connection lives on."""
        wire = await Wire.open(site)
        await wire.join("private-types")
        odd: list[object] = [
            None,
            True,
            0,
            -1,
            1.5,
            10**30,
            [],
            {},
            [[]],
            {"a": 1},
            "",
            "\ud800",
            "\0",
            "x" * 300,
        ]
        frames: list[object] = list(odd)
        for value in odd:
            frames.append({"event": value})
            for event in ("pusher:subscribe", "pusher:unsubscribe", "pusher:signin"):
                frames.append({"event": event, "data": value})
                for name in ("channel", "auth", "channel_data", "user_data"):
                    data = {"channel": "presence-types", "auth": "a:b", "user_data": "{}"}
                    frames.append({"event": event, "data": data | {name: value}})
            frames.append({"event": "client-x", "channel": value, "data": 1})
        for value in frames:
            await wire.say(json.dumps(value))
        await wire.say(json.dumps({"event": "pusher:ping", "data": 1, "channel": []}))
        answers: Counter[str] = Counter()
        while (told := (await wire.hear())["event"]) != "pusher:pong":
            answers[told] += 1
        assert set(answers) == {"pusher:error", "pusher:subscription_error"}
        assert answers["pusher:error"] == len(frames)

    async def test_what_is_no_json_is_an_error(self, site: RunningServer) -> None:
        """However it begins; and so are numbers that JSON does not have."""
        wire = await Wire.open(site)
        texts = ["", " ", "{", '{"event"', "nul", "NaN", "Infinity", "-Infinity", '{"event":NaN}']
        texts += ["'x'", "{}{}", "\ufeff{}", "0x10", '{"event":"pusher:ping"}x', "1e999", '"\\ud8"']
        for text in texts:
            await wire.say(text)
            assert (await wire.hear())["event"] == "pusher:error"
        await wire.serves()


class TestConnections:
    async def test_so_many_of_one_address_and_so_many_in_all(self, strict: RunningServer) -> None:
        """The others are accepted and closed with 4100; who leaves makes room."""
        before = metrics(strict)

        async def come(address: str) -> int | None:
            """Return the close code; `None` where the client may stay."""
            wire = await Wire.connect(strict, address)
            await wire.send(request(strict))
            assert (await wire.head())[0] == 101
            opcode, payload = await wire.frame()
            return int.from_bytes(payload[:2]) if opcode == CLOSE else None

        first = [await come("127.0.0.2") for _ in range(25)]
        assert first == [None] * 20 + [4100] * 5
        others = [await come(f"127.0.0.{3 + n}") for n in range(15)]
        assert others == [None] * 10 + [4100] * 5
        assert rise(strict, before, 'refused_total{reason="address"}') == 5
        assert rise(strict, before, 'refused_total{reason="process"}') == 5
        await hang_up()
        await await_until(lambda: to_thread(_is_empty, strict), 5, "all have left")
        assert await come("127.0.0.2") is None

    async def test_more_connections_than_it_has_room_for_end_at_once(
        self, strict: RunningServer
    ) -> None:
        """Before they have said a word; HTTP has its own room beside the sockets."""
        before = metrics(strict)
        room = 30 + HTTP_CONNECTIONS
        with ExitStack() as stack:
            clients = [
                stack.enter_context(socket.create_connection(("127.0.0.1", strict.port), 5))
                for _ in range(room + 50)
            ]
            for client in clients[room:]:
                with suppress(ConnectionResetError):
                    assert client.recv(1) == b""
        await await_until(lambda: to_thread(_answers, strict), 5, "there is room again")
        assert rise(strict, before, 'refused_total{reason="too_many"}') >= 50


def _answers(site: RunningServer) -> bool:
    try:
        return bool(metrics(site))
    except (OSError, HTTPException):
        return False


class TestHttp:
    async def test_wrong_signatures_cost_little(self, site: RunningServer) -> None:
        """Each is answered 401 and counted, and sockets are served meanwhile."""
        before = metrics(site)
        body = b'{"name":"a","channel":"b","data":"{}"}'
        query = (
            f"auth_key={USUAL.key}&auth_timestamp={int(time.time())}&auth_version=1.0"
            f"&body_md5={'0' * 32}&auth_signature={'0' * 64}"
        )
        post = _post(f"/apps/{USUAL.id}/events?{query}", body)
        wires = [await Wire.connect(site) for _ in range(10)]

        async def flood() -> None:
            for _ in range(100):
                for wire in wires:
                    await wire.send(post)
                for wire in wires:
                    assert await _status(wire) == 401

        assert await slowest(site, asyncio.create_task(flood())) < 0.5
        assert rise(site, before, 'api_requests_total{status="401"}') == 1_000
        assert rise(site, before, 'auth_failures_total{reason="api"}') == 1_000

    @pytest.mark.parametrize("is_signed", [True, False], ids=["signed", "unsigned"])
    @pytest.mark.parametrize("is_chunked", [True, False], ids=["chunked", "declared"])
    async def test_huge_bodies_are_refused_unread(
        self, site: RunningServer, is_signed: bool, is_chunked: bool
    ) -> None:
        """413, or 401 to who has not signed, before the rest comes, which costs no memory."""
        before = memory(site)
        path = f"/apps/{USUAL.id}/events"
        if is_signed:
            signed = sign_request(USUAL, "POST", path, b"of another body", int(time.time()))
            path += "?" + urlencode(signed)
        length = "Transfer-Encoding: chunked" if is_chunked else "Content-Length: 500000000"
        wires = [await Wire.connect(site) for _ in range(5)]
        for wire in wires:
            await wire.send(f"POST {path} HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n".encode())
        for wire in wires:
            reading = asyncio.create_task(wire.head())
            await _send_much(wire, is_chunked, reading.done)
            assert (await reading)[0] == (413 if is_signed else 401)
        # Whoever goes on all the same sends it to nobody.
        await asyncio.gather(*(_send_much(wire, is_chunked, bool) for wire in wires))
        assert await to_thread(memory, site) - before < 30

    @pytest.mark.parametrize(
        "headers",
        [
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: -1",
            "Content-Length: 0x5",
            "Content-Length: 5 5",
            "Content-Length: 99999999999999999999999",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding:\r\n chunked",
            "Transfer-Encoding: chunked\nX: y\0",
        ],
    )
    async def test_a_request_that_two_may_read_differently_is_refused(
        self, site: RunningServer, headers: str
    ) -> None:
        """Smuggling hides a request from the proxy before the server; 400, and no more of it."""
        wire = await Wire.connect(site)
        await wire.send(
            f"POST /apps/1/events HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n"
            f"0\r\n\r\nGET /live HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        )
        assert (await wire.head())[0] == 400
        assert b"HTTP/1.1 200" not in await wire.end()

    async def test_many_pipelined_requests_are_answered_in_order(self, site: RunningServer) -> None:
        """One after the other, however many have come; the connection stays."""
        wire = await Wire.connect(site)
        pages = [("/live", 200), ("/apps/1/channels", 401), ("/apps/nope/channels", 404)] * 100
        await wire.send(*(f"GET {p} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for p, _ in pages))
        for _, status in pages:
            assert await _status(wire) == status

    async def test_a_websocket_cannot_be_smuggled_behind_a_request(
        self, site: RunningServer
    ) -> None:
        """Nor a request behind a handshake: what follows it are frames, or nothing."""
        wire = await Wire.connect(site)
        await wire.send(request(site) + b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await wire.head())[0] == 101
        wire.writer.write_eof()
        assert b"HTTP/1.1" not in await wire.end()


def _post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _status(wire: Wire) -> int:
    """Return the status of the next answer, of which nothing is left."""
    status, headers = await wire.head()
    await wire.reader.readexactly(int(headers["content-length"]))
    return status


async def _send_much(wire: Wire, is_chunked: bool, is_enough: Callable[[], bool]) -> None:
    """Send megabytes, until it is enough or nobody takes them."""
    piece = b"x" * 65_536
    if is_chunked:
        piece = b"10000\r\n" + piece + b"\r\n"
    for _ in range(300):
        if is_enough() or wire.writer.is_closing():
            return
        await wire.send(piece)
        await asyncio.sleep(0)


def test_who_does_not_answer_a_ping_is_given_up(mute: socket.socket) -> None:
    """The client that has said nothing since the module began was pinged, then closed: 4201."""
    data = b""
    while piece := mute.recv(65_536):
        data += piece
        if b"Pong reply not received" in data:
            break
    assert data.count(b"pusher:ping") == 1
    assert (4201).to_bytes(2) + b"Pong reply not received" in data
