"""
WebSockets as RFC 6455 has them, byte for byte, against the server that sites run.

Autobahn's test suite, which needs Python 2, agrees; here is what of it matters to a server
that speaks JSON, with the handshakes that it does not try.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise

import pytest
import pytest_asyncio

from tests.adapters.wire import (
    BINARY,
    CLOSE,
    CONT,
    KEY,
    PING,
    PONG,
    TEXT,
    USUAL,
    Wire,
    close_frame,
    fragments,
    hang_up,
    hurry,
    metrics,
    publisher,
    request,
    serves,
    ws_frame,
)
from tests.conftest import RunningServer, RunServer
from tests.utils import await_until, frame, subscribe

ASK = b'{"event":"pusher:ping"}'
LIMIT = 16_384  # Bytes of a message, as applications have it by default.


@pytest.fixture(scope="module")
def site(module_runserver: RunServer) -> Iterator[RunningServer]:
    """Return a server that all tests of this module share."""
    site = module_runserver(
        "memory",
        server="broadcast_serve",
        DJANGO_SETTINGS_MODULE="tests.adapters.manners_settings",
    )
    yield site
    hurry(site)


@pytest_asyncio.fixture(autouse=True)
async def _is_quiet(site: RunningServer) -> AsyncIterator[None]:
    before = len(site.log_text())
    yield
    await hang_up()
    log = site.log_text()[before:]
    assert "Traceback" not in log, log
    assert "ERROR" not in log, log


class TestMessages:
    @pytest.mark.parametrize("size", [1, 2, 7, 1_000])
    async def test_fragments_are_one_message(self, site: RunningServer, size: int) -> None:
        """However small they are, and wherever they cut a character."""
        wire = await Wire.open(site)
        text = frame("żółw 🐢 " * 10)
        await wire.send(*fragments(text.encode(), size))
        answer = await wire.hear()
        assert answer["data"]["message"].endswith(f"'{'żółw 🐢 ' * 10}'")

    async def test_control_frames_may_come_between_fragments(self, site: RunningServer) -> None:
        """Each is answered at once; the message goes on where it was."""
        wire = await Wire.open(site)
        for piece in fragments(ASK, 4):
            await wire.send(ws_frame(b"in between", PING), ws_frame(b"unasked", PONG))
            assert await wire.frame() == (PONG, b"in between")
            await wire.send(piece)
        assert (await wire.hear())["event"] == "pusher:pong"

    async def test_a_pong_comes_before_the_answer_to_the_message_around_it(
        self, site: RunningServer
    ) -> None:
        """Also where all of it arrives together."""
        wire = await Wire.open(site)
        first, second = ASK[:5], ASK[5:]
        await wire.send(
            ws_frame(first, fin=False), ws_frame(b"now", PING), ws_frame(second, CONT), b""
        )
        assert await wire.frame() == (PONG, b"now")
        assert (await wire.hear())["event"] == "pusher:pong"

    async def test_empty_fragments_are_fragments(self, site: RunningServer) -> None:
        """At the beginning, in the middle and at the end."""
        wire = await Wire.open(site)
        await wire.send(
            ws_frame(b"", TEXT, fin=False),
            ws_frame(b"", CONT, fin=False),
            ws_frame(ASK, CONT, fin=False),
            ws_frame(b"", CONT),
        )
        assert (await wire.hear())["event"] == "pusher:pong"
        await wire.send(ws_frame(b"", TEXT))
        assert (await wire.hear())["data"]["message"] == "Received invalid JSON"

    async def test_frames_may_come_byte_by_byte(self, site: RunningServer) -> None:
        """Heads, masks and payloads are waited for, one byte each time."""
        wire = await Wire.open(site)
        data = b"".join(fragments(ASK, 9)) + ws_frame(b"x" * 125, PING) + ws_frame(ASK)
        for byte in data:
            await wire.send(bytes([byte]))
            await asyncio.sleep(0)  # Each is a packet of its own.
        answers = [await wire.frame() for _ in range(3)]
        assert (PONG, b"x" * 125) in answers
        assert [b"pusher:pong" in payload for _, payload in answers].count(True) == 2

    async def test_many_frames_may_come_at_once(self, site: RunningServer) -> None:
        """All are answered, in order."""
        wire = await Wire.open(site)
        await wire.send(*(ws_frame(frame(f"n{number}")) for number in range(500)))
        for number in range(500):
            assert (await wire.hear())["data"]["message"].endswith(f"'n{number}'")

    @pytest.mark.parametrize("masked_with", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\x80\x00\xfe"])
    async def test_any_mask_will_do(self, site: RunningServer, masked_with: bytes) -> None:
        """It hides a message from proxies, not from a server."""
        wire = await Wire.open(site)
        await wire.send(ws_frame(ASK, mask=masked_with))
        assert (await wire.hear())["event"] == "pusher:pong"

    async def test_binary_messages_go_nowhere(self, site: RunningServer) -> None:
        """Whole or in pieces; Pusher's protocol has none, and the connection lives on."""
        wire = await Wire.open(site)
        await wire.send(
            ws_frame(b"\xff\xfe\0", BINARY),
            ws_frame(b"\xff", BINARY, fin=False),
            ws_frame(b"\xfe", CONT),
            ws_frame(b"", BINARY),
        )
        await wire.serves()

    @pytest.mark.parametrize("size", [0, 1, 124, 125])
    async def test_a_ping_is_answered_with_its_payload(
        self, site: RunningServer, size: int
    ) -> None:
        """Up to what a control frame may hold, whatever it holds."""
        wire = await Wire.open(site)
        payload = bytes(range(256))[256 - size :] if size else b""
        await wire.send(ws_frame(payload, PING))
        assert await wire.frame() == (PONG, payload)


class TestLimits:
    @pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "in pieces"])
    async def test_a_message_may_be_as_long_as_the_application_allows(
        self, site: RunningServer, in_pieces: bool
    ) -> None:
        """16 384 bytes by default."""
        wire = await Wire.open(site)
        message = frame("pusher:ping", "x" * (LIMIT - len(frame("pusher:ping", "x")) + 1)).encode()
        assert len(message) == LIMIT
        await wire.send(*(fragments(message, 4_000) if in_pieces else [ws_frame(message)]))
        assert (await wire.hear())["event"] == "pusher:pong"

    @pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "in pieces"])
    async def test_one_byte_more_closes_with_4100(
        self, site: RunningServer, in_pieces: bool
    ) -> None:
        """Counted over all pieces, and in bytes rather than characters."""
        wire = await Wire.open(site)
        before = metrics(site)
        message = ("ż" * (LIMIT // 2) + "x").encode()
        assert len(message) == LIMIT + 1
        await wire.send(*(fragments(message, 4_000) if in_pieces else [ws_frame(message)]))
        assert await wire.close_code() == 4100
        after = metrics(site)
        name = 'errors_total{error="FrameTooLarge"}'
        assert after[name] - before.get(name, 0) == 1

    async def test_a_length_is_believed_before_its_bytes_come(self, site: RunningServer) -> None:
        """A head that promises more than the limit is answered at once: nothing is kept."""
        for length in (b"\xfe\xff\xff", b"\xff" + (1 << 62).to_bytes(8)):
            wire = await Wire.open(site)
            await wire.send(b"\x81" + length + b"mask")
            assert await wire.close_code() == 4100

    async def test_pieces_of_a_refused_message_are_not_read_on(self, site: RunningServer) -> None:
        """What follows the close is thrown away, however much it is, and valid or not."""
        wire = await Wire.open(site)
        await wire.send(ws_frame(b"x" * (LIMIT + 1)), ws_frame(ASK), b"\xff" * 100_000)
        assert await wire.close_code() == 4100


class TestBrokenRules:
    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (ws_frame(ASK, mask=None), 1002),
            (ws_frame(b"", PING, mask=None), 1002),
            *((ws_frame(ASK, rsv=rsv), 1002) for rsv in range(1, 8)),
            *((ws_frame(b"", PING, rsv=rsv), 1002) for rsv in (1, 4)),
            *((ws_frame(b"", opcode), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
            (ws_frame(b"the rest of nothing", CONT), 1002),
            (ws_frame(b"", CONT, fin=False), 1002),
            (ws_frame(b"{", fin=False) + ws_frame(b"}", TEXT), 1002),
            (ws_frame(b"{", fin=False) + ws_frame(b"}", BINARY), 1002),
            (ws_frame(b"x" * 126, PING), 1002),
            (ws_frame(b"x" * 126, PONG), 1002),
            (ws_frame(b"\x03\xe8" + b"x" * 124, CLOSE), 1002),
            (ws_frame(b"x", PING, fin=False), 1002),
            (ws_frame(b"\x03\xe8", CLOSE, fin=False), 1002),
            (ws_frame(b"\xc3\x28"), 1007),
            (ws_frame(b"\xed\xa0\x80"), 1007),  # A surrogate.
            (ws_frame(b"\xf4\x90\x80\x80"), 1007),  # Above what Unicode has.
            (ws_frame(b"\xc0\xaf"), 1007),  # Longer than it need be.
            (ws_frame(b'"\xc5'), 1007),  # Half a character.
            (ws_frame(b'"\xc5', fin=False) + ws_frame(b'"', CONT), 1007),
        ],
    )
    async def test_one_ends_the_connection(
        self, site: RunningServer, data: bytes, code: int
    ) -> None:
        """With the code of RFC 6455, section 7.4.1."""
        wire = await Wire.open(site)
        await wire.send(data)
        assert await wire.close_code() == code

    async def test_what_was_said_before_it_counts(self, site: RunningServer) -> None:
        """The answers to good frames come before the close, and nothing after it."""
        wire = await Wire.open(site)
        await wire.send(ws_frame(ASK), ws_frame(b"", 3), ws_frame(ASK))
        assert (await wire.hear())["event"] == "pusher:pong"
        opcode, payload = await wire.frame()
        assert (opcode, payload[:2]) == (CLOSE, (1002).to_bytes(2))
        await wire.send(close_frame(1002))
        assert await wire.end() == b""


class TestClosing:
    @pytest.mark.parametrize(
        "code", [None, 1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    )
    async def test_a_close_is_echoed(self, site: RunningServer, code: int | None) -> None:
        """With its code, or without one; then the server ends the connection."""
        wire = await Wire.open(site)
        await wire.send(close_frame(code, b"" if code is None else "adieu ż".encode()))
        opcode, payload = await wire.frame()
        assert opcode == CLOSE
        assert payload[:2] == (b"" if code is None else code.to_bytes(2))
        assert await wire.end() == b""

    @pytest.mark.parametrize(
        "code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]
    )
    async def test_a_code_that_is_never_sent_is_an_error(
        self, site: RunningServer, code: int
    ) -> None:
        """RFC 6455, section 7.4.2."""
        wire = await Wire.open(site)
        await wire.send(close_frame(code))
        assert await wire.close_code() == 1002

    async def test_a_reason_that_is_not_utf8_is_an_error(self, site: RunningServer) -> None:
        """It is text; so is half a code none."""
        for payload, code in ((b"\x03\xe8\xc3\x28", 1007), (b"\x03", 1002)):
            wire = await Wire.open(site)
            await wire.send(ws_frame(payload, CLOSE))
            assert await wire.close_code() == code

    async def test_a_client_may_leave_in_the_midst_of_a_message(self, site: RunningServer) -> None:
        """Control frames may come between fragments, and a close is one."""
        wire = await Wire.open(site)
        await wire.send(ws_frame(ASK, fin=False), close_frame(1001))
        assert await wire.close_code() == 1001

    async def test_what_follows_a_close_is_thrown_away(self, site: RunningServer) -> None:
        """It is neither answered nor an error."""
        wire = await Wire.open(site)
        await wire.send(close_frame(1000), ws_frame(ASK), ws_frame(b"", PING), b"\xff" * 1000)
        assert await wire.frame() == (CLOSE, (1000).to_bytes(2))
        assert await wire.end() == b""

    @pytest.mark.parametrize("way", ["close", "half close", "abort"])
    async def test_who_leaves_has_left_its_channels(self, site: RunningServer, way: str) -> None:
        """However it goes; also with a half-closed connection, which no browser makes."""
        wire = await Wire.open(site)
        channel = f"left-by-{way.replace(' ', '-')}"
        await wire.join(channel)
        api = publisher(site)

        def is_occupied() -> bool:
            return bool(api.get(f"/channels/{channel}", {})["occupied"])

        assert await asyncio.to_thread(is_occupied)
        match way:
            case "close":
                await wire.send(close_frame(1000))
                assert await wire.close_code() == 1000
            case "half close":
                wire.writer.write_eof()
                assert await wire.end() == b""
            case "abort":
                wire.abort()
        await await_until(lambda: asyncio.to_thread(lambda: not is_occupied()))
        api.close()


class TestHandshake:
    async def test_it_is_answered_in_full(self, site: RunningServer) -> None:
        """No extension and no subprotocol is agreed on, whatever is offered."""
        wire = await Wire.connect(site)
        await wire.send(
            request(
                site,
                USUAL,
                "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
                "Sec-WebSocket-Protocol: pusher, json",
            )
        )
        status, headers = await wire.head()
        assert status == 101
        assert headers["upgrade"].lower() == "websocket"
        assert headers["connection"].lower() == "upgrade"
        assert not [name for name in headers if name.startswith("sec-websocket-ex")]
        assert "sec-websocket-protocol" not in headers
        assert (await wire.hear())["event"] == "pusher:connection_established"

    async def test_its_head_may_come_byte_by_byte(self, site: RunningServer) -> None:
        """As every stream of bytes may."""
        wire = await Wire.connect(site)
        for byte in request(site):
            await wire.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await wire.head())[0] == 101

    @pytest.mark.parametrize(
        ("drop", "more", "status"),
        [
            ("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8", 426),
            ("Sec-WebSocket-Version", "", 426),
            ("", "Sec-WebSocket-Version: 13", 426),
            ("Sec-WebSocket-Key", "", 400),
            ("Sec-WebSocket-Key", "Sec-WebSocket-Key: ", 400),
            ("Sec-WebSocket-Key", "Sec-WebSocket-Key: c2hvcnQ=", 400),
            ("Sec-WebSocket-Key", "Sec-WebSocket-Key: not base64 at all!!!!", 400),
            ("", f"Sec-WebSocket-Key: {KEY}", 400),
            ("Host", "", 400),
            ("", "Host: evil.example", 400),
            ("", "Origin: http://a.example\r\nOrigin: http://b.example", 400),
            ("", "Content-Length: 4", 400),
            ("", "Transfer-Encoding: chunked", 400),
            ("", "X-Folded: a\r\n b", 400),
            ("", "X-Space : a", 400),
            ("", "X-Nul: a\0b", 400),
            ("", "X-Long: " + "x" * 9_000, 431),
            ("", "X-Long: " + "x" * 100_000, 431),
            ("", "\r\n".join(f"X-{number}: x" for number in range(200)), 431),
        ],
    )
    async def test_a_broken_one_is_answered_by_status(
        self, site: RunningServer, drop: str, more: str, status: int
    ) -> None:
        """And the connection ends."""
        wire = await Wire.connect(site)
        await wire.send(request(site, USUAL, *([more] if more else []), without=[drop]))
        got, headers = await wire.head()
        assert got == status
        if status == 426:
            assert headers["sec-websocket-version"] == "13"
        rest = await wire.end()
        assert len(rest) == int(headers["content-length"])

    @pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "HEAD"])
    async def test_only_get_opens_a_websocket(self, site: RunningServer, method: str) -> None:
        """405 says which method does."""
        wire = await Wire.connect(site)
        await wire.send(request(site, line=f"{method} /app/{USUAL.key} HTTP/1.1"))
        status, headers = await wire.head()
        assert (status, headers["allow"]) == (405, "GET")
        await wire.end()

    @pytest.mark.parametrize("version", [" HTTP/1.0", " HTTP/2.0", ""])
    async def test_only_http_11_opens_a_websocket(self, site: RunningServer, version: str) -> None:
        """RFC 6455, section 4.1; what there was before HTTP had versions is one, too."""
        wire = await Wire.connect(site)
        await wire.send(request(site, line=f"GET /app/{USUAL.key}{version}"))
        assert (await wire.head())[0] == 505
        await wire.end()

    @pytest.mark.parametrize("line", ["get /app/x HTTP/1.1", "GET  HTTP/1.1", "\x16\x03\x01"])
    async def test_what_is_no_request_is_answered_400(self, site: RunningServer, line: str) -> None:
        """TLS where none is spoken, too."""
        wire = await Wire.connect(site)
        await wire.send(request(site, line=line))
        assert (await wire.head())[0] == 400
        await wire.end()

    @pytest.mark.parametrize(
        "header", ["Upgrade: h2c", "Upgrade: ", "Connection: keep-alive", "Connection: "]
    )
    async def test_what_asks_for_no_websocket_is_http(
        self, site: RunningServer, header: str
    ) -> None:
        """No page is there."""
        wire = await Wire.connect(site)
        name = header.partition(":")[0]
        await wire.send(request(site, USUAL, header, without=[name]))
        assert (await wire.head())[0] == 404

    async def test_refusals_come_after_the_handshake(self, site: RunningServer) -> None:
        """By close code: pusher-js would try again for ever after an HTTP error."""
        for line, more, code in (
            (f"GET /app/{USUAL.key} HTTP/1.1", "Origin: http://evil.example", 4009),
            ("GET /app/unknown HTTP/1.1", "X: x", 4001),
            (f"GET /app/{USUAL.key}?protocol=9 HTTP/1.1", "X: x", 4007),
            ("GET /elsewhere HTTP/1.1", "X: x", 4005),
        ):
            wire = await Wire.connect(site)
            await wire.send(request(site, USUAL, more, line=line))
            assert (await wire.head())[0] == 101
            assert await wire.close_code() == code

    async def test_a_log_says_nothing_of_bad_ones(self, site: RunningServer) -> None:
        """But uvicorn's one line on what is no HTTP; a stranger must not fill a disk."""
        before = len(site.log_text())
        for more in ("X: " + "x" * 9_000, "Host: two"):
            wire = await Wire.connect(site)
            await wire.send(request(site, USUAL, more))
            await wire.end()
        assert site.log_text()[before:] == ""
        await serves(site)


class TestTogether:
    async def test_messages_come_in_order_among_answers(self, site: RunningServer) -> None:
        """Pongs, answers and events share one stream, and no frame is torn by another."""
        wire = await Wire.open(site)
        await wire.join("stream")
        api = publisher(site)

        async def publish() -> None:
            for number in range(50):
                await api.abroadcast(["stream"], "News", str(number))

        async def ask() -> None:
            for _ in range(50):
                await wire.send(ws_frame(b"p", PING), ws_frame(ASK))
                await asyncio.sleep(0)

        publishing, asking = asyncio.create_task(publish()), asyncio.create_task(ask())
        pongs, answers, news = 0, 0, [-1]
        while (pongs, answers, len(news)) != (50, 50, 51):
            opcode, payload = await wire.frame()
            if opcode == PONG:
                pongs += 1
            elif b"pusher:pong" in payload:
                answers += 1
            else:
                news.append(int(payload.rpartition(b'"data":"')[2].rstrip(b'"}')))
        assert all(later == earlier + 1 for earlier, later in pairwise(news))
        await asyncio.gather(publishing, asking)
        api.close()

    async def test_a_newcomer_is_served(self, site: RunningServer) -> None:
        """After all that."""
        await serves(site)
        wire = await Wire.open(site)
        await wire.say(subscribe("a") + " ")
        await wire.until("pusher_internal:subscription_succeeded")
        wire.abort()
