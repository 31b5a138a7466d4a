"""
Many clients of one server, in one thread.

Theory of operation
-------------------

All sockets of a channel must receive the very same bytes. So nothing is decoded for each
socket: the crowd keeps one *stream*, what the socket that is ahead has received since
`restart`, and for every other socket a position in it. What a socket reads is compared with
the stream from its position on, which is one call; where it fits, each message in it has
come whole, once and in order. What does not fit, or goes beyond the stream, is taken apart
by frame lengths: pings are answered, a new message is put on the stream, and one that
belongs elsewhere is a stray.
"""

import os
import socket
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

from .dialects import Dialect
from .frames import CLOSE, PING, PONG, TEXT, client_frame, find_end
from .messages import STAMP
from .poller import WRITABLE, Poller

READ_SIZE = 32 * 1024
PORTS_PER_ADDRESS = 20_000  # Of some 28 000 that Linux has for outgoing connections.

_connects = count()


class Crowd:
    """
    The clients, and what they have received since `restart`.

    Attributes:
        members: The sockets that have reached their aim, each a `Member`.
        stream: The frames of all messages that any of them has received, in order.
        stamps: Number and time of publishing (ns) of each of these messages.
        received: Bytes of messages, of all sockets together.
        strays: Messages that came out of order, twice, or that others did not get.
        closed: Sockets that the server has closed, by close code; 0 is none.
        is_timing: Whether it is noted when messages come.
    """

    def __init__(self, poller: Poller, host: str, port: int) -> None:
        self.poller = poller
        self.members: list[Member] = []
        self.stream = bytearray()
        self.stamps: list[tuple[int, int]] = []
        self.received = 0
        self.strays = 0
        self.closed: Counter[int] = Counter()
        self.is_timing = False
        self._address = (host, port)
        self._ends: list[int] = []
        # When (ns), and a socket's positions before and after.
        self._arrivals: list[tuple[int, int, int]] = []
        self._waiting: set[Member] = set()  # Their handshakes are under way.

    def connect(
        self,
        dialect: Dialect,
        number: int,
        *,
        in_flight: int = 100,
        timeout: float = 120.0,
        receive_buffer: int | None = None,
    ) -> list["Member"]:
        """
        Open `number` sockets and wait until all are subscribed.

        Args:
            dialect: What they say.
            number: How many.
            in_flight: How many handshakes may be under way.
            timeout: Seconds that all of them may take.
            receive_buffer: Bytes of the sockets' receive buffer, for one that reads slowly.

        Raises:
            TimeoutError: That took too long.
            ConnectionError: The server refused one, or closed it.
        """
        new: list[Member] = []
        lost = sum(self.closed.values())

        def is_done() -> bool:
            while len(new) < number and len(self._waiting) < in_flight:
                taken = len(self.members) + len(self._waiting)
                new.append(Member(self, dialect, taken + 1, receive_buffer))
                self._waiting.add(new[-1])
            if sum(self.closed.values()) > lost:
                raise ConnectionError(f"The server closed a socket: {dict(self.closed)}")
            return len(new) == number and not self._waiting

        if not self.poller.run_until(is_done, timeout):
            raise TimeoutError(f"{len(self._waiting)} of {number} sockets are not subscribed")
        return new

    def open(self, member: "Member", receive_buffer: int | None) -> socket.socket:
        """Return a socket that is being connected, from one source address of many."""
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._address[0].startswith("127."):
            sock.setsockopt(socket.SOL_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
            sock.bind((f"127.0.0.{2 + next(_connects) // PORTS_PER_ADDRESS % 250}", 0))
        sock.connect_ex(self._address)
        self.poller.add(sock.fileno(), member.connected, WRITABLE)
        return sock

    def restart(self) -> None:
        """Begin to count anew. Call it when nothing is under way."""
        self.stream.clear()
        self.stamps.clear()
        self._ends.clear()
        self._arrivals.clear()
        self.received = self.strays = 0
        for member in self.members:
            member.position = member.strays = 0

    @property
    def completed(self) -> int:
        """How many messages every socket has received, on average."""
        if not self._ends or not self.members:
            return 0
        # All messages of one run are of one length.
        return self.received // (self._ends[0] * len(self.members))

    @property
    def deliveries(self) -> int:
        """How many messages have come, of all sockets together."""
        ends = self._ends
        return self.strays + sum(bisect_right(ends, m.position) for m in self.members)

    def latencies(self) -> list[float]:
        """Return the seconds from publishing to receiving, for each message and socket."""
        return [
            (now - self.stamps[i][1]) / 1e9
            for now, before, after in self._arrivals
            for i in range(bisect_right(self._ends, before), bisect_right(self._ends, after))
        ]

    def close(self, number: int | None = None) -> None:
        """Close `number` sockets, or all."""
        number = len(self.members) if number is None else number
        leaving, self.members = self.members[:number], self.members[number:]
        for member in (*leaving, *self._waiting):
            member.close()
        self._waiting.clear()

    # For members

    def welcome(self, member: "Member") -> None:
        """Count a socket in."""
        self._waiting.discard(member)
        self.members.append(member)
        member.position = len(self.stream)

    def lose(self, member: "Member", code: int) -> None:
        """Count a socket that the server has closed."""
        self.closed[code] += 1
        self._waiting.discard(member)
        with suppress(ValueError):
            self.members.remove(member)

    def extend(self, frame: bytes, number: int, sent: int) -> None:
        """Put a message on the stream."""
        self.stream += frame
        self._ends.append(len(self.stream))
        self.stamps.append((number, sent))

    def begin_of_frame(self, position: int) -> int:
        """Return where the frame begins in which `position` lies."""
        index = bisect_right(self._ends, position)
        return self._ends[index - 1] if index else 0

    def note(self, before: int, after: int) -> None:
        """Note that a socket has come from one position to another."""
        # Looked at later: meanwhile others wait to be read.
        self._arrivals.append((time.monotonic_ns(), before, after))


class Member:
    """
    One socket of a crowd.

    Attributes:
        position: How much of the crowd's stream it has received.
        strays: Messages of its own that did not fit there.
    """

    __slots__ = (
        "_crowd",
        "_dialect",
        "_fd",
        "_number",
        "_pending",
        "_socket",
        "position",
        "strays",
    )

    def __init__(
        self, crowd: Crowd, dialect: Dialect, number: int, receive_buffer: int | None
    ) -> None:
        self.position = 0
        self.strays = 0
        self._crowd = crowd
        self._dialect = dialect
        self._number = number
        self._pending = b""
        self._socket = crowd.open(self, receive_buffer)
        self._fd = self._socket.fileno()

    def send(self, text: str, opcode: int = TEXT) -> None:
        """Send a short text; the socket's buffer must have room for it."""
        with suppress(ConnectionError):  # It will be read as an end.
            self._socket.send(client_frame(text.encode(), opcode))

    def pause(self) -> None:
        """Read no more."""
        self._crowd.poller.remove(self._fd)

    def close(self) -> None:
        """Close without a farewell, as a browser does whose page is left."""
        self._crowd.poller.remove(self._fd)
        self._socket.close()

    # Called by the poller

    def connected(self, events: int) -> None:
        """Ask for a WebSocket."""
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise ConnectionError(f"Cannot connect: {os.strerror(error)}")
        self._socket.send(
            f"GET {self._dialect.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: d2hpay1iZW5jaG1hcms0Mg==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._crowd.poller.change(self._fd, self._upgraded)

    def _upgraded(self, events: int) -> None:
        data = self._read()
        if data is None:
            return
        head, end, rest = (self._pending + data).partition(b"\r\n\r\n")
        if not end:
            self._pending = head
            return
        if not head.startswith(b"HTTP/1.1 101 "):
            raise ConnectionError(f"No WebSocket here: {head.decode(errors='replace')}")
        self._pending = b""
        self._crowd.poller.change(self._fd, self._greeted)
        if self._dialect.hello is not None:
            self.send(self._dialect.hello)
        if rest:
            self._take(rest)

    def _greeted(self, events: int) -> None:
        data = self._read()
        if data is not None:
            self._take(data)

    def _ready(self, events: int) -> None:
        data = self._read()
        if data is None:
            return
        if not self._pending and self._crowd.stream.startswith(data, self.position):
            before = self.position
            self.position = before + len(data)
            self._crowd.received += len(data)
            if self._crowd.is_timing:
                self._crowd.note(before, self.position)
            return
        if not self._pending:
            # What has come of the frame that is cut here is taken back and looked at again.
            begin = self._crowd.begin_of_frame(self.position)
            self._pending = bytes(self._crowd.stream[begin : self.position])
            self._crowd.received -= len(self._pending)
            self.position = begin
        self._take(data)

    def _read(self) -> bytes | None:
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return None
        except ConnectionError:
            data = b""
        if not data:
            self._lose(0)
            return None
        return data

    def _lose(self, code: int) -> None:
        self.close()
        self._crowd.lose(self, code)

    def _take(self, data: bytes) -> None:
        data = self._pending + data
        start = 0
        for begin, end in _frames(data):
            opcode = data[start] & 0x0F
            stamp = STAMP.search(data, begin, end) if opcode == TEXT else None
            if stamp is not None:
                self._receive(data[start:end], int(stamp[1]), int(stamp[2]))
            elif opcode == CLOSE:
                self._lose(int.from_bytes(data[begin : begin + 2]))
                return
            elif opcode == PING:
                self.send(data[begin:end].decode("latin-1"), PONG)
            elif opcode == TEXT:
                self._converse(data[begin:end])
            start = end
        self._pending = data[start:]

    def _receive(self, frame: bytes, number: int, sent: int) -> None:
        crowd = self._crowd
        before = self.position
        if before == len(crowd.stream):
            crowd.extend(frame, number, sent)
        elif not crowd.stream.startswith(frame, before):
            self.strays += 1
            crowd.strays += 1
            crowd.received += len(frame)
            return
        self.position = before + len(frame)
        crowd.received += len(frame)
        if crowd.is_timing:
            crowd.note(before, self.position)

    def _converse(self, payload: bytes) -> None:
        reply = self._dialect.answer(payload, self._number)
        if reply.text is not None:
            self.send(reply.text)
        if reply.is_ready:
            self._crowd.poller.change(self._fd, self._ready)
            self._crowd.welcome(self)


def _frames(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the payload of each whole frame in `data` begins and ends."""
    start = 0
    while found := find_end(data, start):
        yield found
        start = found[1]
