"""The benchmark's view of WebSocket frames."""

import pytest
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from benchmarks.frames import PONG, TEXT, BrokenFrame, client_frame, find_end


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536, 200_000])
def test_measures_what_websockets_writes(length: int) -> None:
    """A frame of any length is found to its last byte, wherever it begins."""
    frame = Frame(Opcode.TEXT, b"x" * length).serialize(mask=False)
    data = b"before" + frame + b"after"
    begin, end = find_end(data, 6) or (0, 0)
    assert data[begin:end] == b"x" * length
    assert end == 6 + len(frame)


@pytest.mark.parametrize("length", [0, 125, 126, 65_536])
def test_waits_for_the_whole_frame(length: int) -> None:
    """Whatever part has come, a frame that is cut has no end yet."""
    frame = Frame(Opcode.TEXT, b"x" * length).serialize(mask=False)
    for cut in {0, 1, 2, 3, 4, 9, 10, len(frame) - 1}:
        if cut < len(frame):
            assert find_end(frame[:cut], 0) is None


@pytest.mark.parametrize("header", [b"\x01\x00", b"\xc1\x00", b"\x81\x80"])
def test_refuses_what_was_not_negotiated(header: bytes) -> None:
    """A fragment, a compressed frame and a masked one are no frames to be counted."""
    with pytest.raises(BrokenFrame):
        find_end(header + b"\0" * 10, 0)


@pytest.mark.parametrize(
    ("opcode", "length"), [(TEXT, 0), (TEXT, 125), (TEXT, 126), (TEXT, 65_536), (PONG, 125)]
)
def test_servers_can_read_what_clients_send(opcode: int, length: int) -> None:
    """A client's frame is a masked one with the given payload."""
    reader = StreamReader()
    reader.feed_data(client_frame(b"x" * length, opcode))
    parsing = Frame.parse(reader.read_exact, mask=True)
    with pytest.raises(StopIteration) as caught:
        next(parsing)
    frame = caught.value.value
    assert (frame.opcode, frame.data) == (opcode, b"x" * length)
