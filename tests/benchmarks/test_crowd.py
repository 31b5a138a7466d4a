"""Many clients at once: what they count, and what they notice."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from websockets.frames import Frame, Opcode

from benchmarks.crowd import Crowd
from benchmarks.dialects import Dialect, Reply
from benchmarks.messages import STAMP, make_data
from benchmarks.poller import Poller

MEMBERS = 3


class Listener(Dialect):
    """A client that is ready when it is told so."""

    path = "/"

    def answer(self, payload: bytes, number: int) -> Reply:
        """Wait for ``ready``, answer ``ping``."""
        return Reply("pong" if payload == b"ping" else None, is_ready=payload == b"ready")


def text(payload: str | bytes) -> bytes:
    """Return a server's frame."""
    return Frame(Opcode.TEXT, payload.encode() if isinstance(payload, str) else payload).serialize(
        mask=False
    )


def message(number: int) -> bytes:
    """Return the frame of a message of 100 bytes."""
    return text('{"event":"bench","data":' + make_data(number, 100, now=number) + "}")


class Server:
    """The other ends of a crowd's sockets, in the order in which they have connected."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.sockets: list[socket.socket] = []
        self.poller = Poller()
        self.crowd = Crowd(self.poller, *self._listener.getsockname())
        thread = threading.Thread(target=self._greet)
        thread.start()
        self.crowd.connect(Listener(), MEMBERS, timeout=10)
        thread.join()

    def _greet(self) -> None:
        for _ in range(MEMBERS):
            sock, _ = self._listener.accept()
            # A piece must not wait for the acknowledgement of the one before.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not sock.recv(4096).endswith(b"\r\n\r\n"):
                pass
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + text("ready"))
            self.sockets.append(sock)

    def send(self, data: bytes, *, to: list[int] | None = None, piece: int | None = None) -> None:
        """Send `data` to all, or to some, whole or in pieces, each read before the next."""
        step = piece or len(data)
        for start in range(0, len(data), step):
            for index in range(MEMBERS) if to is None else to:
                self.sockets[index].sendall(data[start : start + step])
            # On a loopback what is sent has been received.
            self.poller.turn(0)

    def close(self) -> None:
        """Close everything."""
        self.crowd.close()
        self.poller.close()
        for sock in (self._listener, *self.sockets):
            sock.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """Return a server with a crowd whose members are ready."""
    server = Server()
    yield server
    server.close()


@pytest.mark.parametrize("piece", [None, 1, 7, 100, 333])
def test_counts_messages_however_they_are_cut(server: Server, piece: int | None) -> None:
    """Each message counts once for each socket, in whatever pieces TCP brings it."""
    server.send(message(1) + message(2) + message(3), piece=piece)
    assert (server.crowd.deliveries, server.crowd.strays) == (3 * MEMBERS, 0)
    assert server.crowd.completed == 3
    assert [number for number, _ in server.crowd.stamps] == [1, 2, 3]


@pytest.mark.parametrize("piece", [None, 1, 50])
def test_pings_do_not_count(server: Server, piece: int | None) -> None:
    """What one server says to one socket among the messages is answered, and is no message."""
    server.send(message(1))
    server.send(text("ping") + message(2) + text("ping"), to=[0], piece=piece)
    server.send(message(2), to=[1, 2])
    server.send(message(3))
    assert (server.crowd.deliveries, server.crowd.strays) == (3 * MEMBERS, 0)
    assert server.sockets[0].recv(100).count(b"pong") == 2


def test_websocket_ping_is_answered(server: Server) -> None:
    """A ping frame is answered with its own payload, or the server would hang up."""
    server.send(Frame(Opcode.PING, b"1234").serialize(mask=False), to=[1])
    assert server.sockets[1].recv(100).endswith(b"1234")


def test_missing_message_is_noticed(server: Server) -> None:
    """A socket that did not get a message lowers the count."""
    server.send(message(1))
    server.send(message(2), to=[0, 1])
    assert server.crowd.deliveries == 2 * MEMBERS - 1
    assert server.crowd.completed == 1


def test_other_order_is_noticed(server: Server) -> None:
    """A socket that gets two messages the other way round has strays, and nothing is lost."""
    server.send(message(1) + message(2), to=[0, 1])
    server.send(message(2) + message(1), to=[2])
    assert server.crowd.deliveries == 2 * MEMBERS
    assert server.crowd.strays == 1


def test_message_that_comes_twice_is_noticed(server: Server) -> None:
    """What one socket gets a second time fits nowhere."""
    server.send(message(1) + message(2), to=[0, 1])
    server.send(message(1) + message(1), to=[2])
    assert server.crowd.strays == 1


def test_close_by_the_server_is_counted(server: Server) -> None:
    """A socket that the server closes is counted by its code, and is no member any more."""
    server.send(Frame(Opcode.CLOSE, (4100).to_bytes(2) + b"slow").serialize(mask=False), to=[1])
    server.sockets[2].close()
    server.poller.turn(0)
    assert server.crowd.closed == {4100: 1, 0: 1}
    assert len(server.crowd.members) == MEMBERS - 2


def test_restart_begins_at_nothing(server: Server) -> None:
    """After a run the next one counts its own messages only."""
    server.send(message(1) + message(2))
    server.crowd.restart()
    assert server.crowd.deliveries == server.crowd.completed == 0
    server.send(message(3))
    assert server.crowd.deliveries == MEMBERS


def test_latency_is_taken_once_for_each_delivery(server: Server) -> None:
    """Every socket's receiving of every message is one sample."""
    server.crowd.is_timing = True
    server.send(message(1) + message(2), piece=40)
    server.send(text("ping") + message(3))
    assert len(server.crowd.latencies()) == 3 * MEMBERS


def test_latency_is_the_time_since_publishing(server: Server) -> None:
    """It is counted from the stamp in the message, not from its first byte."""
    server.crowd.is_timing = True
    past = time.monotonic_ns() - 3_000_000_000
    server.send(text(make_data(1, 100, now=past)))
    assert server.crowd.latencies() == [pytest.approx(3, abs=1)] * MEMBERS


@pytest.mark.parametrize("size", [100, 1_000, 10_000])
def test_data_has_the_size_that_is_asked_for(size: int) -> None:
    """A message is as long as is said, and its stamp is found wherever it stands."""
    data = make_data(42, size)
    assert len(data) == size
    assert STAMP.search(text(data))
