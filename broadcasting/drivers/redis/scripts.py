"""Lua scripts in Redis, and the one pipelined client through which a loop calls them."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import NoScriptError

from ...exceptions import BroadcastError
from .servers import Endpoint, pause_before

# Every script counts versions with this function, so that they are of one row. They
# begin with the time: a Redis that has lost the counter never goes back.
NEXT_VERSION = """
local function next_version(key)
  local version = redis.call('INCR', key)
  if version == 1 then
    local clock = redis.call('TIME')
    version = clock[1] * 1000000 + clock[2]
    redis.call('SET', key, string.format('%.0f', version), 'EX', 86400)
  end
  return string.format('%.0f', version)
end
"""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script. `command` is what runs it; Redis must have seen the text once."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode()).hexdigest())  # noqa: S324  # Redis's own name for it.

    def command(
        self, keys: Sequence[str], arguments: Sequence[str | int], known: Collection[str]
    ) -> list[str | int]:
        """Return the command; it carries the text unless `known` holds the script's name."""
        how = ["EVALSHA", self.sha] if self.sha in known else ["EVAL", self.text]
        return [*how, len(keys), *keys, *arguments]


@dataclass(slots=True)
class _Call:
    script: Script
    keys: Sequence[str]
    arguments: Sequence[str | int]
    done: asyncio.Future[Any]


class ScriptQueue:
    """
    Calls scripts in the order of the calls, as many in one round trip as wait.

    One batch is under way at a time, over one connection. When Redis fails, all that
    waits fails with it, so that no caller waits longer than two time limits; and past
    a bound nothing is queued. What a Redis refuses because another one has its keys now,
    or soon, goes there.
    """

    TIMEOUT = 5.0  # Seconds that a batch may take.
    BATCH = 200
    LIMIT = 20_000

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._known: set[str] = set()  # Scripts that Redis has seen.
        self._waiting: deque[_Call] = deque()
        self._task: asyncio.Task[None] | None = None

    async def call(
        self, script: Script, keys: Sequence[str], arguments: Sequence[str | int] = ()
    ) -> Any:
        """
        Run `script` and return its answer, with text as bytes.

        A caller that is cancelled while its call waits has changed nothing.

        Raises:
            BroadcastError: Redis is away, refuses, or is too slow. The script may have
                run all the same.
        """
        if len(self._waiting) >= self.LIMIT:
            raise BroadcastError(f"{self.LIMIT} calls wait for Redis already")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(script, keys, arguments, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await done

    async def close(self) -> None:
        """Stop; whoever still waits is cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._drop(None)

    async def _run(self) -> None:
        while self._waiting:
            count = min(len(self._waiting), self.BATCH)
            taken = [self._waiting.popleft() for _ in range(count)]
            batch = [call for call in taken if not call.done.done()]
            try:
                async with asyncio.timeout(self.TIMEOUT):
                    await self._send(batch)
            except asyncio.CancelledError:
                for call in batch:
                    call.done.cancel()
                raise
            except Exception as exc:  # It is raised where the script was called.
                self._known.clear()
                self._endpoint.server.forget()
                text = f"it did not answer in {self.TIMEOUT:g} seconds"
                error = BroadcastError(
                    f"Redis is away: {text if isinstance(exc, TimeoutError) else exc}"
                )
                error.__cause__ = exc
                self._waiting.extendleft(reversed(batch))
                self._drop(error)

    async def _send(self, batch: list[_Call]) -> None:
        """Run `batch`; what was not run for want of its script or its keys again, in order."""
        tries = 0
        while batch:
            tries += 1
            answers = await self._answers(batch)
            pause = pause_before(answers, self._endpoint.server, tries)
            batch = self._settle(batch, answers)
            await asyncio.sleep(pause)

    async def _answers(self, batch: list[_Call]) -> list[Any]:
        pipeline = (await self._endpoint.client()).pipeline(transaction=False)
        for call in batch:
            command = call.script.command(call.keys, call.arguments, self._known)
            pipeline.execute_command(*command)
            self._known.add(call.script.sha)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    def _settle(self, batch: list[_Call], answers: list[Any]) -> list[_Call]:
        """Hand out the answers, and return the calls that have none yet."""
        again = []
        for call, answer in zip(batch, answers, strict=True):
            if call.done.done():
                continue  # Its caller was cancelled meanwhile.
            if isinstance(answer, NoScriptError):
                self._known.clear()
                again.append(call)
            elif self._endpoint.server.is_elsewhere(answer):
                again.append(call)
            elif isinstance(answer, Exception):
                call.done.set_exception(BroadcastError(f"Redis refused: {answer}"))
            else:
                call.done.set_result(answer)
        return again

    def _drop(self, error: BroadcastError | None) -> None:
        while self._waiting:
            done = self._waiting.popleft().done
            with suppress(asyncio.InvalidStateError):
                if error is None:
                    done.cancel()
                else:
                    done.set_exception(error)
