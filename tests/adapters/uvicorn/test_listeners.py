"""The sockets on which a server listens."""

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from broadcasting.adapters.uvicorn.listeners import listen, listen_on_path


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Return what closes sockets after the test."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("0.0.0.0", ["127.0.0.1"]),
        ("::", ["127.0.0.1", "::1"]),
        ("", ["127.0.0.1", "::1"]),
    ],
)
def test_a_host_is_reached_by_all_its_addresses(
    stack: ExitStack, host: str, reached: list[str]
) -> None:
    """At one port, and by no other address."""
    sockets = [stack.enter_context(sock) for sock in listen(host, 0)]
    ports = {sock.getsockname()[1] for sock in sockets}
    assert len(ports) == 1
    accepted = []
    for address in ("127.0.0.1", "::1"):
        try:
            stack.enter_context(socket.create_connection((address, *ports), 5))
        except ConnectionRefusedError:
            continue
        accepted.append(address)
    assert accepted == reached


@pytest.mark.parametrize("host", ["", "::"])
def test_an_address_is_what_everybody_calls_it(stack: ExitStack, host: str) -> None:
    """A proxy on this machine is trusted as 127.0.0.1, whatever else is listened on."""
    sockets = [stack.enter_context(sock) for sock in listen(host, 0)]
    address = ("127.0.0.1", sockets[0].getsockname()[1])
    stack.enter_context(socket.create_connection(address, 5))
    (called,) = select.select(sockets, [], [], 5)[0]
    accepted, peer = called.accept()
    stack.enter_context(accepted)
    assert peer[0] == "127.0.0.1"


def test_a_failure_leaves_nothing_open(stack: ExitStack) -> None:
    """The first address is free again when the second is taken."""
    taken = stack.enter_context(socket.socket(socket.AF_INET6))
    taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    taken.bind(("::", 0))
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(OSError, match="in use"):
        listen("", port)
    stack.enter_context(listen("0.0.0.0", port)[0])


def test_the_path_of_another_server_is_not_removed(tmp_path: Path) -> None:
    """While one server drains, the next may listen at the same place already."""
    path = str(tmp_path / "site.sock")
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(listen_on_path(path)).close()
        second.enter_context(listen_on_path(path))
        first.close()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
    assert not Path(path).exists()
