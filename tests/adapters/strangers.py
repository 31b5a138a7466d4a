"""Clients that obey hardly any rule, as a server on the Internet meets them."""

import asyncio
import random
from contextlib import suppress

from tests.adapters.wire import APP, KEY, ws_frame
from tests.utils import client_event, ping, sign_in, subscribe, unsubscribe

OURS = f"/app/{APP.key}"
PATHS = [
    *("/", "/app/", "/app/%ff", "/app/%00", "/app/a%2Fb", "//app/x", "/app/%ed%a0%80"),
    *("/app/x?" + "a=%zz&" * 50, "/app/" + "x" * 3000, "/app/x?" + "y" * 3000),
]
QUERIES = [
    *("", "?protocol=7", "?protocol=", "?protocol=x", "?protocol=%ff", "?protocol=5", "?%"),
    *("?protocol=7&protocol=8", "?protocol=" + "9" * 5000),
]
HEADERS = [
    *("Origin: http://127.0.0.1:1", "Origin: null", "Origin: http://[", "Origin: "),
    *("Origin: http://h:99999", "Sec-WebSocket-Protocol: a, b", "Cookie: a=" + "b" * 500),
    *("Sec-WebSocket-Extensions: permessage-deflate", "X-Forwarded-Proto: https"),
]
PAYLOADS = [
    *(ping(), subscribe("x"), unsubscribe("x"), sign_in("{", "a:b"), "", "[]", "[" * 5000),
    *('"' + "x" * 20_000 + '"', '{"event":"\\ud800"}', client_event("private-x", "client-a", 1)),
]


class Stranger:
    """
    A client that obeys hardly any rule of HTTP or WebSockets.

    Args:
        careful: Whether to leave out what servers log of themselves with a traceback:
            uvicorn does for text that is not UTF-8, inflated text too, and for a frame that
            comes together with the handshake and breaks the rules.
        is_lost: Whether it goes to other addresses, too.
    """

    def __init__(
        self, port: int, choose: random.Random, *, careful: bool, is_lost: bool = True
    ) -> None:
        self.port = port
        self.choose = choose
        self.careful = careful
        self.is_lost = is_lost

    async def visit(self) -> None:
        """Come, say something and go."""
        choose = self.choose
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        frames = b"".join(self.frame() for _ in range(choose.randrange(6)))
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.write(self.handshake())
            if self.careful or choose.random() < 0.7:
                await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            writer.write(frames)
            await writer.drain()
            if choose.random() < 0.5:
                await asyncio.wait_for(reader.read(1), 0.05)
        if choose.random() < 0.5:
            writer.transport.abort()
        else:
            writer.close()

    def handshake(self) -> bytes:
        """Return a request for a WebSocket, of sorts."""
        pick = self.choose.choice
        path = pick([OURS, pick(PATHS)]) if self.is_lost else OURS
        lines = [
            f"GET {path}{pick(QUERIES)} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Connection: " + pick(["Upgrade", "Upgrade", "keep-alive, Upgrade"]),
            "Upgrade: " + pick(["websocket"] * 6 + ["WebSocket", "h2c"]),
            "Sec-WebSocket-Version: " + pick(["13"] * 6 + ["8", "x"]),
            "Sec-WebSocket-Key: " + pick([KEY] * 6 + ["x", ""]),
            *self.choose.sample(HEADERS, self.choose.randrange(3)),
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    def frame(self) -> bytes:
        """Return a WebSocket frame, of sorts (RFC 6455, section 5.2)."""
        choose = self.choose
        opcode = choose.choice([1] * 8 + [0, 2, 3, 8, 9, 10, 11])
        payload = choose.choice(PAYLOADS).encode()
        is_free = not (self.careful and opcode < 3)
        if is_free and choose.random() < 0.3:
            payload = choose.randbytes(choose.choice([0, 1, 5, 125, 126, 300]))
        if opcode >= 8 and choose.random() < 0.8:
            payload = payload[:120]
        return ws_frame(
            payload,
            opcode,
            fin=choose.random() < 0.9,
            rsv=4 if is_free and choose.random() < 0.03 else 0,  # Deflated.
            mask=choose.randbytes(4) if choose.random() < 0.97 else None,
        )
