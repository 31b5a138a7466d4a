"""
One line per frame and decision, for ``broadcast_serve --debug``.

`trace` puts these classes in the place of those that they extend, so that a server
without ``--debug`` pays nothing for them.
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
    """A session that writes what it receives, sends and closes."""

    __slots__ = ("_has_ended",)

    def open(self, origin: str | None, *, is_secure: bool = True) -> None:
        self._has_ended = False  # As the lines say.
        page = "no page" if origin is None else f"a page of {shown(origin)}"
        app = "no application" if self.app is None else f"application {self.app.id}"
        _write("green", "%s comes to %s from %s", self.socket_id, app, page)
        super().open(origin, is_secure=is_secure)

    def receive(self, text: str) -> None:
        _write("cyan", "%s < %s", self.socket_id, shown(text))
        super().receive(text)

    def closed(self) -> None:
        self._write_end("%s has gone", self.socket_id)
        super().closed()

    def _send(self, frame: Frame) -> None:
        _write("", "%s > %s", self.socket_id, shown(frame.text))
        super()._send(frame)

    def _flush(self) -> None:
        super()._flush()
        if self.close_code is not None:
            reason = shown(self.connection.close_reason)
            self._write_end("%s closed with %d: %s", self.socket_id, self.close_code, reason)

    def _write_end(self, text: str, *values: object) -> None:
        if not self._has_ended:
            self._has_ended = True
            _write("red", text, *values)


class TracedHub(Hub):
    """A hub that writes what it delivers, and to how many sockets."""

    def deliver(self, message: Message) -> int:
        count = super().deliver(message)
        event, data = shown(message.event), shown(message.data)
        text = "%s on %s delivered to %d: %s"
        _write("yellow", text, event, message.channel, count, data)
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


def _write(colour: str, text: str, *values: object) -> None:
    line = text % values
    logger.debug("%s", colorize(line, fg=colour) if colour and supports_color() else line)
