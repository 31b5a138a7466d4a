"""WebSocket frames (RFC 6455, section 5.2), as far as a load generator looks at them."""

TEXT = 0x1
CLOSE = 0x8
PING = 0x9
PONG = 0xA


class BrokenFrame(Exception):
    """A server sent what it may not send without being asked to: fragments, extensions, masks."""


def find_end(data: bytes | bytearray, start: int) -> tuple[int, int] | None:
    """
    Measure the server's frame that begins at `start`.

    Returns where its payload begins and where it ends, or `None` if `data` does not hold
    all of it. Raises `BrokenFrame` for a fragment, an extension or a mask: none was offered.
    """
    size = len(data)
    if size < start + 2:
        return None
    if data[start] & 0xF0 != 0x80 or data[start + 1] & 0x80:
        raise BrokenFrame(f"Frame header {bytes(data[start : start + 2]).hex()}")
    length = data[start + 1]
    begin = start + 2
    if length > 125:
        begin += 2 if length == 126 else 8
        if size < begin:
            return None
        length = int.from_bytes(data[start + 2 : begin])
    end = begin + length
    return (begin, end) if end <= size else None


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return a client's frame. Its mask is zero: it is there, and costs nobody anything."""
    size = len(payload)
    if size < 126:
        header = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65_536:
        header = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2)
    else:
        header = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8)
    return header + b"\0\0\0\0" + payload
