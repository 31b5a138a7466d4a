"""
Fakes, which record broadcasts instead of sending them.

Everything before the sending happens: listeners are called, the event is prepared, its data
is encoded and its size is checked.

A record counts as sent unless the transaction or savepoint that it waits for was rolled
back. So nothing need be committed, and a `TestCase` can look at once.
"""

import inspect
import threading
import unittest
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any, TypeVar, Unpack

from asgiref.sync import iscoroutinefunction

from ..events.outgoing import OutgoingEvent, intercept
from .records import Conditions, Expectation, RecordedBroadcast, Wanted

__unittest = True  # The traceback of a failed assertion ends in the test.

MAX_LISTED = 20

T = TypeVar("T", bound=Callable[..., Any])

_lock = threading.Lock()
_active: "list[Broadcasts]" = []
_interception = ExitStack()  # Events are intercepted while any fake is active.


class Broadcasts:
    """
    What was broadcast, in order, since a fake began.

    Events of other threads of this process are recorded, too. It can be asked after the
    fake has ended.
    """

    def __init__(self) -> None:
        self._records: list[RecordedBroadcast] = []

    @property
    def sent(self) -> list[RecordedBroadcast]:
        """All that were not rolled back, also those that wait for a commit."""
        return [record for record in list(self._records) if not record.is_rolled_back]

    @property
    def rolled_back(self) -> list[RecordedBroadcast]:
        """Those whose transaction or savepoint was rolled back."""
        return [record for record in list(self._records) if record.is_rolled_back]

    def clear(self) -> None:
        """Forget what was broadcast so far."""
        self._records.clear()

    def assert_broadcast(
        self, what: Wanted, *, times: int | None = None, **conditions: Unpack[Conditions]
    ) -> list[RecordedBroadcast]:
        """
        Fail unless such an event was broadcast. Return the records.

        Args:
            what: The class of the event or notification or a base of it, an equal one, or
                the name that clients listen for.
            times: How often; at least once by default.
            on: A channel or several, to all of which it went; or a function of a channel's
                name that is true of one of them.
            with_: What its data contains, other keys ignored, in nested objects, too; or a
                function of the data. Values as in `broadcast_with`.
            to_others: Whether the sending page was left out.
            via: A connection that it went through.
            queue: Whether it was queued, or in which queue.
            where: A function of the record.
        """
        __tracebackhide__ = True  # Of pytest.
        expectation = Expectation(what, **conditions)
        found = self._found(expectation)
        if (times is None and found) or (times is not None and len(found) == times):
            return found
        if found:
            problem = f"{expectation} was broadcast {_often(len(found))}"
            problem += f" instead of {_often(times or 0)}."
        else:
            problem = f"{expectation} was not broadcast.{self._nearest(expectation)}"
        raise AssertionError(f"{problem}\n{self}")

    def assert_not_broadcast(self, what: Wanted, **conditions: Unpack[Conditions]) -> None:
        """Fail if such an event was broadcast. Arguments as of `assert_broadcast`."""
        __tracebackhide__ = True
        expectation = Expectation(what, **conditions)
        if found := self._found(expectation):
            raise AssertionError(f"{expectation} was broadcast {_often(len(found))}.\n{self}")

    def assert_nothing_broadcast(self) -> None:
        """Fail if anything was broadcast."""
        __tracebackhide__ = True
        if sent := self.sent:
            number = "1 event was" if len(sent) == 1 else f"{len(sent)} events were"
            raise AssertionError(f"{number} broadcast.\n{self}")

    def __str__(self) -> str:
        """Return a list of all, which is part of the message of a failed assertion."""
        if not self._records:
            return "Nothing was broadcast."
        lines = [f"  {number}. {record}" for number, record in enumerate(self._records, 1)]
        more = len(lines) - MAX_LISTED
        return "\n".join(
            ["Broadcast so far:", *lines[:MAX_LISTED], *([f"  and {more} more"] * (more > 0))]
        )

    def _found(self, expectation: Expectation) -> list[RecordedBroadcast]:
        return [
            record
            for record in self.sent
            if expectation.is_about(record) and not expectation.misses(record)
        ]

    def _nearest(self, expectation: Expectation) -> str:
        """Return a sentence on the broadcast that differs least from the expected one."""
        about = [record for record in list(self._records) if expectation.is_about(record)]
        if not about:
            return ""
        nearest = min(about, key=lambda r: (len(expectation.misses(r)), not r.is_rolled_back))
        misses = expectation.misses(nearest)
        if nearest.is_rolled_back:
            misses.append("it was rolled back")
        return f" {nearest.event} was, but {' and '.join(misses)}."

    def _record(self, record: RecordedBroadcast) -> None:
        self._records.append(record)


# Named like the functions it is used as, as override_settings is.
class fake_broadcasts:
    """
    Record what is broadcast, and send nothing.

    ``with fake_broadcasts() as broadcasts:`` gives the `Broadcasts`. A decorated function,
    sync or async, receives them as the argument `broadcasts` if it has such a parameter. A
    decorated class has each test faked, and a `unittest.TestCase` finds them in
    ``self.broadcasts``.

    Fakes may be nested. Each records what is broadcast while it lasts.
    """

    def __init__(self) -> None:
        self._entered: list[Broadcasts] = []

    def __enter__(self) -> Broadcasts:
        broadcasts = Broadcasts()
        with _lock:
            if not _active:
                _interception.enter_context(intercept(_record))
            _active.append(broadcasts)
        self._entered.append(broadcasts)
        return broadcasts

    def __exit__(self, *exc_info: object) -> None:
        with _lock:
            _active.remove(self._entered.pop())
            if not _active:
                _interception.close()

    def __call__(self, target: T) -> T:
        if isinstance(target, type):
            _decorate_class(target, self)
            return target
        decorated: T = self._decorated(target)
        return decorated

    def _decorated(self, function: Callable[..., Any]) -> Any:
        signature = inspect.signature(function)
        rest = [p for name, p in signature.parameters.items() if name != "broadcasts"]
        is_asked_for = len(rest) < len(signature.parameters)

        def added(broadcasts: Broadcasts) -> dict[str, Broadcasts]:
            return {"broadcasts": broadcasts} if is_asked_for else {}

        if iscoroutinefunction(function):

            @wraps(function)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self as broadcasts:
                    return await function(*args, **kwargs, **added(broadcasts))

        else:

            @wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self as broadcasts:
                    return function(*args, **kwargs, **added(broadcasts))

        # pytest would look for a fixture of this name.
        wrapper.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
        return wrapper


def is_faking() -> bool:
    """Whether broadcasts are recorded instead of being sent."""
    return bool(_active)


def _record(outgoing: OutgoingEvent, using: str | None, is_now: bool) -> None:
    record = RecordedBroadcast.of(outgoing, using, is_now)
    for broadcasts in list(_active):
        broadcasts._record(record)


def _decorate_class(cls: type, fake: fake_broadcasts) -> None:
    if not issubclass(cls, unittest.TestCase):
        for name in [name for name in dir(cls) if name.startswith("test")]:
            setattr(cls, name, fake(getattr(cls, name)))
        return
    run = cls.run

    def faked(test: Any, result: unittest.TestResult | None = None) -> Any:
        with fake as test.broadcasts:
            return run(test, result)

    cls.run = wraps(run)(faked)  # type: ignore[method-assign,assignment]


def _often(times: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(times, f"{times} times")
