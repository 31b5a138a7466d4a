"""
One line per frame and decision, for ``broadcast_serve --debug``.

`trace` puts these classes in the place of those that they extend, so that a server which
does not trace has nothing to ask.
"""

import logging
import re
import sys

from django.core.management.color import supports_color
from django.utils.termcolors import colorize

from ..protocol.messages import Frame, Message
from .hub import Hub
from .session import Session

logger = logging.getLogger("broadcasting.trace")

MAX_SHOWN = 200  # Characters of a frame.

# In a frame, and once more escaped where its data is JSON text.
_SECRETS = re.compile(r"""((?:auth|shared_secret)\\*"\s*:\s*\\*")((?:[^"\\:]*:)?)[^"\\]*""")


class TracedSession(Session):
    """A session that tells what it hears and says."""

    __slots__ = ("_is_told",)

    def open(self, origin: str | None, *, is_secure: bool = True) -> None:
        """Write who connected, and whether the client was admitted."""
        self._is_told = False  # Of the close.
        page = "no page" if origin is None else f"a page of {shown(origin)}"
        app = "no application" if self.app is None else f"application {self.app.id}"
        _tell("green", "%s comes to %s from %s", self.socket_id, app, page)
        super().open(origin, is_secure=is_secure)

    def receive(self, text: str) -> None:
        """Write what the client sent."""
        _tell("cyan", "%s < %s", self.socket_id, shown(text))
        super().receive(text)

    def closed(self) -> None:
        """Write that the connection has ended."""
        if not self._is_told:
            self._is_told = True
            _tell("red", "%s has gone", self.socket_id)
        super().closed()

    def _send(self, frame: Frame) -> None:
        _tell("", "%s > %s", self.socket_id, shown(frame.text))
        super()._send(frame)

    def _flush(self) -> None:
        super()._flush()
        if self.close_code is not None and not self._is_told:
            self._is_told = True
            reason = shown(self.connection.close_reason)
            _tell("red", "%s closed with %d: %s", self.socket_id, self.close_code, reason)


class TracedHub(Hub):
    """A hub that tells what it delivers."""

    def deliver(self, message: Message) -> int:
        """Write how many sockets receive the message."""
        count = super().deliver(message)
        _tell(
            "yellow",
            "%s on %s delivered to %d: %s",
            shown(message.event),
            message.channel,
            count,
            shown(message.data),
        )
        return count


def shown(text: str) -> str:
    """Return `text` as one short line without secrets or control characters."""
    text = _SECRETS.sub(r"\1\2***", text[: MAX_SHOWN * 4])
    cut = text[:MAX_SHOWN] + ("…" if len(text) > MAX_SHOWN else "")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)


def write_to_terminal() -> None:
    """Write the lines to stderr, in colours where it is a terminal."""
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


def _tell(colour: str, text: str, *values: object) -> None:
    line = text % values
    logger.debug("%s", colorize(line, fg=colour) if colour and supports_color() else line)
