"""What is used of uvicorn and websockets that they do not document, and may move."""

import asyncio
import inspect

import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol

from broadcasting.adapters.uvicorn.http import HttpProtocol
from broadcasting.adapters.uvicorn.server import Server
from tests.adapters.uvicorn.visitor import CONFIG
from tests.adapters.wire import ws_frame

# What uvicorn calls on a connection that it serves, or httptools on a parser's owner.
CALLED = (
    "connection_made connection_lost data_received pause_writing resume_writing shutdown "
    "on_message_begin on_header on_headers_complete on_body on_message_complete "
    "handle_websocket_upgrade"
)


def attributes_of(cls: type) -> set[str]:
    """Return what a class sets when it is made."""
    return set(inspect.unwrap(cls.__init__).__code__.co_names)  # type: ignore[misc]


async def test_the_http_protocol_of_uvicorn_has_what_ours_overrides_and_reads() -> None:
    """`broadcasting.adapters.uvicorn.http`."""
    overridden = {name for name in vars(HttpProtocol) if hasattr(HttpToolsProtocol, name)}
    assert overridden >= {*CALLED.split()}
    for name in CALLED.split():
        ours, theirs = getattr(HttpProtocol, name), getattr(HttpToolsProtocol, name)
        assert [*inspect.signature(ours).parameters] == [*inspect.signature(theirs).parameters]
    protocol = HttpToolsProtocol(CONFIG, ServerState(), {}, asyncio.get_running_loop())
    attributes = "config connections cycle flow headers loop scheme scope client transport"
    assert set(vars(protocol)) >= set(attributes.split())
    protocol.on_message_begin()
    assert (protocol.url, protocol.scope["http_version"]) == (b"", "1.1")
    assert {"keep_alive", "response_complete"} <= attributes_of(RequestResponseCycle)
    assert {"read_paused", "write_paused"} <= attributes_of(FlowControl)
    assert STATUS_LINE[408].startswith(b"HTTP/1.1 408 ")


def test_the_server_of_uvicorn_calls_what_ours_overrides() -> None:
    """`broadcasting.adapters.uvicorn.server`."""
    calls = {"startup", "main_loop", "shutdown"}
    assert calls <= set(uvicorn.Server._serve.__code__.co_names)
    assert "on_tick" in uvicorn.Server.main_loop.__code__.co_names
    assert "capture_signals" in uvicorn.Server.serve.__code__.co_names
    for name in ("startup", "shutdown", "on_tick", "capture_signals", "handle_exit"):
        ours, theirs = getattr(Server, name), getattr(uvicorn.Server, name)
        assert [*inspect.signature(ours).parameters] == [*inspect.signature(theirs).parameters]


def test_the_state_of_a_server_of_uvicorn_counts_connections_and_tasks() -> None:
    """`broadcasting.adapters.uvicorn.state`, and every protocol class."""
    state = ServerState()
    assert (state.connections, state.tasks) == (set(), set())


def test_the_parser_of_websockets_calls_what_ours_overrides() -> None:
    """`broadcasting.adapters.uvicorn.inbound`."""

    class Parser(Protocol):
        def fail(self, code: int, reason: str = "") -> None:
            called.append(code)
            super().fail(code, reason)

        def recv_frame(self, frame: Frame) -> None:
            called.append(frame.opcode)
            super().recv_frame(frame)

    called: list[int] = []
    parser = Parser(SERVER, state=OPEN, max_size=5)
    parser.receive_data(ws_frame("half", fin=False))
    assert (called, parser.current_size) == ([Opcode.TEXT], 4)
    parser.receive_data(ws_frame("more", Opcode.CONT))
    assert called == [Opcode.TEXT, 1009]
