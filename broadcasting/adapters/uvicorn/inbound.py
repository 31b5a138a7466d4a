"""What a client sends on its WebSocket: bytes in, messages out (RFC 6455, section 5)."""

import logging
from collections.abc import Iterator
from typing import Any

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol

from ...protocol.errors import FrameTooLarge

# Each connection would be two lines of it, and each bad one. Not `getLogger`: LOGGING, whenever
# it is applied, would take the level off.
websockets_logger = logging.Logger("broadcasting.websockets", logging.WARNING)
websockets_logger.parent = logging.getLogger("broadcasting.server")


class Inbound(Protocol):
    """
    The parser of one client's frames.

    That of `websockets` calls `fail` when a rule is broken, and `recv_frame` with each frame;
    what is overridden here relies on that.

    Args:
        max_size: Bytes of a message, all its fragments together.

    Attributes:
        has_closed: Whether the client's close frame has come.
        has_failed: Whether a rule was broken. The client is told which by a close frame.
        is_too_large: Whether that was the size of a message.
    """

    # Of the class until they differ: most connections end without.
    has_closed = False
    has_failed = False
    is_too_large = False
    _partial: bytearray | None = None  # A text message whose end has not come.

    def __init__(self, max_size: int) -> None:
        super().__init__(SERVER, state=OPEN, max_size=max_size, logger=websockets_logger)

    def messages(self) -> Iterator[str | None]:
        """Yield each text message that has come, and `None` for every other frame."""
        for frame in self.events_received():
            if not isinstance(frame, Frame):  # A handshake's request is an event, too.
                continue
            data = self._text_completed_by(frame)
            try:
                yield None if data is None else str(data, "utf-8")
            except UnicodeDecodeError:
                self.fail(CloseCode.INVALID_DATA, "A text message that is not UTF-8")
                return

    def fail(self, code: CloseCode | int, reason: str = "") -> None:
        """End the connection; for too large a message with the code of every adapter."""
        self.has_failed = True
        if code == CloseCode.MESSAGE_TOO_BIG:
            self.is_too_large = True
            code = FrameTooLarge.code
        super().fail(code, reason)

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame. A client may close in the midst of a message, too."""
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)
        self.has_closed = frame.opcode is Opcode.CLOSE

    def _text_completed_by(self, frame: Frame) -> Any:
        # Binary messages are not part of the protocol, and pings are answered already.
        if frame.opcode is Opcode.TEXT:
            if frame.fin:
                return frame.data
            self._partial = bytearray(frame.data)
        elif frame.opcode is Opcode.CONT and self._partial is not None:
            self._partial += frame.data
            if frame.fin:
                text, self._partial = self._partial, None
                return text
        return None
