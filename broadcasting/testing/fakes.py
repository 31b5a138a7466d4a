"""
Broadcasts are recorded in place of being sent.

Everything before the sending happens: listeners run, the event is asked, its data is
encoded and its size is checked.

A record counts as sent unless the transaction, or the savepoint, that it waits for was
rolled back; so nothing need be committed, and a `TestCase` can look at once.
"""

import inspect
import threading
import unittest
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction

from ..channel import Channels
from ..events.outgoing import OutgoingEvent, intercept
from .records import Expectation, RecordedBroadcast, Wanted

__unittest = True  # The traceback of a failed assertion ends in the test.

MAX_LISTED = 20

T = TypeVar("T", bound=Callable[..., Any])

_lock = threading.Lock()
_active: "list[Broadcasts]" = []
_taking: list[AbstractContextManager[None]] = []  # One while any fake is active.


class Broadcasts:
    """
    What was broadcast, in order, since a fake began.

    Threads and servers of this process are heard, too. It can be asked after the fake
    has ended.
    """

    def __init__(self) -> None:
        self._records: list[RecordedBroadcast] = []

    @property
    def sent(self) -> list[RecordedBroadcast]:
        """All that was not rolled back: what still waits for a commit is among it."""
        return [record for record in list(self._records) if not record.is_rolled_back]

    @property
    def rolled_back(self) -> list[RecordedBroadcast]:
        """What will never be sent, since its transaction or savepoint was rolled back."""
        return [record for record in list(self._records) if record.is_rolled_back]

    def clear(self) -> None:
        """Forget what was broadcast so far."""
        self._records.clear()

    def assert_broadcast(
        self,
        what: Wanted,
        *,
        on: Channels | Callable[[str], object] | None = None,
        with_: Mapping[str, object] | Callable[[Any], object] | None = None,
        to_others: bool | None = None,
        via: str | None = None,
        queue: str | bool | None = None,
        where: Callable[[RecordedBroadcast], object] | None = None,
        times: int | None = None,
    ) -> list[RecordedBroadcast]:
        """
        Fail unless such an event was broadcast. Return those that were.

        Args:
            what: The class of the event or notification or a base of it, one that is equal,
                or the name that clients listen for.
            on: A channel or several, all of which it went to; or a function of a
                channel's name that is true of one of them.
            with_: What its data holds, other keys left aside, also those of objects in it;
                or a function of the data. Values as in `broadcast_with`.
            to_others: Whether the sending page was left out.
            via: A connection that it went through.
            queue: Whether it was queued, or in which queue.
            where: A function of the record, for whatever else.
            times: How often, at least once unless given.
        """
        __tracebackhide__ = True  # Of pytest.
        expectation = Expectation(what, on, with_, to_others, via, queue, where)
        found = self._found(expectation)
        if (times is None and found) or (times is not None and len(found) == times):
            return found
        if found:
            problem = f"{expectation} was broadcast {_often(len(found))}"
            problem += f" instead of {_often(times or 0)}."
        else:
            problem = f"{expectation} was not broadcast.{self._nearest(expectation)}"
        raise AssertionError(f"{problem}\n{self}")

    def assert_not_broadcast(
        self,
        what: Wanted,
        *,
        on: Channels | Callable[[str], object] | None = None,
        with_: Mapping[str, object] | Callable[[Any], object] | None = None,
        to_others: bool | None = None,
        via: str | None = None,
        queue: str | bool | None = None,
        where: Callable[[RecordedBroadcast], object] | None = None,
    ) -> None:
        """Fail if such an event was broadcast. Arguments as of `assert_broadcast`."""
        __tracebackhide__ = True
        expectation = Expectation(what, on, with_, to_others, via, queue, where)
        if found := self._found(expectation):
            raise AssertionError(f"{expectation} was broadcast {_often(len(found))}.\n{self}")

    def assert_nothing_broadcast(self) -> None:
        """Fail if anything was broadcast."""
        __tracebackhide__ = True
        if sent := self.sent:
            number = "1 event was" if len(sent) == 1 else f"{len(sent)} events were"
            raise AssertionError(f"{number} broadcast.\n{self}")

    def __str__(self) -> str:
        """Return a list of all, as it stands below the reason of a failure."""
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
        """Return a sentence on the broadcast that differs least from what is expected."""
        about = [record for record in list(self._records) if expectation.is_about(record)]
        if not about:
            return ""
        nearest = min(about, key=lambda r: (len(expectation.misses(r)), not r.is_rolled_back))
        misses = expectation.misses(nearest)
        if nearest.is_rolled_back:
            misses.append("it was rolled back")
        return f" {nearest.event} was, but {' and '.join(misses)}."

    def _take(self, record: RecordedBroadcast) -> None:
        self._records.append(record)


# Named like the functions it is used as, as override_settings is.
class fake_broadcasts:
    """
    Record what is broadcast, and send nothing.

    ``with fake_broadcasts() as broadcasts:`` gives the `Broadcasts`. As a decorator of a
    function, sync or async, it passes them as the argument `broadcasts` if there is a
    parameter of this name. Of a class it fakes every test, and a `unittest.TestCase` finds
    them in ``self.broadcasts``.

    Of fakes within each other, each hears what is broadcast while it lasts.
    """

    def __init__(self) -> None:
        self._entered: list[Broadcasts] = []

    def __enter__(self) -> Broadcasts:
        broadcasts = Broadcasts()
        with _lock:
            _active.append(broadcasts)
            if not _taking:
                _taking.append(intercept(_take))
                _taking[0].__enter__()
        self._entered.append(broadcasts)
        return broadcasts

    def __exit__(self, *exc_info: object) -> None:
        with _lock:
            _active.remove(self._entered.pop())
            if not _active:
                _taking.pop().__exit__(None, None, None)

    def __call__(self, target: T) -> T:
        decorated: T = target
        if isinstance(target, type):
            _decorate_class(target, self)
        else:
            decorated = self._decorated(target)
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


def active_fakes() -> int:
    """Return how many fakes are taking what is broadcast."""
    return len(_active)


def _take(outgoing: OutgoingEvent, using: str | None, is_now: bool) -> None:
    record = RecordedBroadcast.of(outgoing, using, is_now)
    for broadcasts in list(_active):
        broadcasts._take(record)


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
