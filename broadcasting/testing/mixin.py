"""Assertions on broadcasts, for test cases of ``unittest`` and Django."""

import unittest
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..channel import Channels
from .fakes import Broadcasts, fake_broadcasts
from .records import RecordedBroadcast, Wanted

__unittest = True  # The traceback of a failed assertion ends in the test.

if TYPE_CHECKING:
    _Base = unittest.TestCase
else:
    _Base = object


class BroadcastTestMixin(_Base):
    """
    Record what each test broadcasts, and send nothing. Write it before the test case's class.

    What ``setUp`` broadcasts counts; what ``setUpTestData`` does, does not.

    Attributes:
        broadcasts: What the test has broadcast so far.
    """

    broadcasts: Broadcasts

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        """Run the test with broadcasts faked, from ``setUp`` to the last cleanup."""
        with fake_broadcasts() as self.broadcasts:
            return super().run(result)

    def assertBroadcast(
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
        """Fail unless such an event was broadcast. See `Broadcasts.assert_broadcast`."""
        __tracebackhide__ = True  # Of pytest.
        return self.broadcasts.assert_broadcast(
            what,
            on=on,
            with_=with_,
            to_others=to_others,
            via=via,
            queue=queue,
            where=where,
            times=times,
        )

    def assertNotBroadcast(
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
        """Fail if such an event was broadcast. See `Broadcasts.assert_broadcast`."""
        __tracebackhide__ = True
        self.broadcasts.assert_not_broadcast(
            what, on=on, with_=with_, to_others=to_others, via=via, queue=queue, where=where
        )

    def assertNothingBroadcast(self) -> None:
        """Fail if anything was broadcast."""
        __tracebackhide__ = True
        self.broadcasts.assert_nothing_broadcast()
