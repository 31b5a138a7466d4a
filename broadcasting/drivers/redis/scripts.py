"""Calls of Redis: commands and Lua scripts, and the rounds in which they are answered."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError, RedisError

from ...exceptions import BroadcastError
from .servers import Server

# Every script numbers messages with this function, so that their versions make one row: the
# time in microseconds, or one more than the last. A Redis that has lost its data does not go
# back, and neither does one whose clock is set back. An INCR of an older release fits in.
NEXT_VERSION = """
local function next_version(key)
  local clock = redis.call('TIME')
  local now = clock[1] * 1000000 + clock[2]
  local last = tonumber(redis.call('GET', key) or 0)
  local version = string.format('%.0f', math.max(now, last + 1))
  redis.call('SET', key, version, 'EX', 86400)
  return version
end
"""

# What a server refuses because it has just handed it over is sent again, so often: at once,
# then after such a pause.
TRIES = 20
PAUSE = 0.1  # Seconds.


class Script:
    """A Lua script. Redis calls it by the SHA-1 of its text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324  # Redis's own choice.

    def call(self, keys: Sequence[str], arguments: Sequence[str | int] = ()) -> "Call":
        """Return a call of the script."""
        return Call([len(keys), *keys, *arguments], self)


class Call(NamedTuple):
    """A command with its arguments, or the arguments of a script."""

    arguments: list[str | int]
    script: Script | None = None


class Exchange:
    """
    Calls and the answers of one server, which may need several rounds.

    A script that the server has forgotten, as after a restart, is sent whole. A call that
    belongs elsewhere now, or soon, is sent there.

    Attributes:
        answers: The answer to each call, a `BroadcastError` to one that was refused.
    """

    def __init__(self, calls: Sequence[Call], server: Server) -> None:
        self.answers: list[Any] = [None] * len(calls)
        self._open = list(enumerate(calls))
        self._server = server
        self._tries = 0

    @property
    def is_open(self) -> bool:
        """Whether calls have no answer yet."""
        return bool(self._open)

    def commands(self) -> list[list[str | int]]:
        """Return the commands to send now, in order."""
        return [self._command(call) for _, call in self._open]

    def take(self, answers: Sequence[Any]) -> float:
        """Take the answers to `commands`. Return the seconds to wait before the next round."""
        again = []
        refusal: object = None
        for (index, call), answer in zip(self._open, answers, strict=True):
            if isinstance(answer, NoScriptError):
                self._server.known.clear()
                again.append((index, call))
            elif self._server.is_elsewhere(answer):
                refusal = answer
                again.append((index, call))
            elif isinstance(answer, Exception):
                self.answers[index] = _failed(f"Redis refused: {answer}", answer)
            else:
                self.answers[index] = answer
        self._open = again
        if refusal is None:
            return 0
        self._server.forget()
        self._tries += 1
        if self._tries >= TRIES:
            self._fail(BroadcastError(f"Redis refused, since it is elsewhere or moving: {refusal}"))
        return PAUSE if self._tries > 1 else 0

    def lose(self, exc: BaseException) -> None:
        """
        Note that the server was lost, by whatever `exc` says.

        Raise that if no call was answered before; otherwise only the rest fails.
        """
        self._server.forget()
        if len(self._open) == len(self.answers) or not isinstance(exc, RedisError | OSError):
            raise exc
        self._fail(_failed(f"Redis is away: {exc}", exc))

    def _command(self, call: Call) -> list[str | int]:
        script = call.script
        if script is None:
            return call.arguments
        if script.sha in self._server.known:
            return ["EVALSHA", script.sha, *call.arguments]
        self._server.known.add(script.sha)
        return ["EVAL", script.text, *call.arguments]

    def _fail(self, error: BroadcastError) -> None:
        for index, _ in self._open:
            self.answers[index] = error
        self._open = []


def _failed(text: str, cause: Exception) -> BroadcastError:
    error = BroadcastError(text)
    error.__cause__ = cause
    return error
